"""A training in the plane, replayed: what is kept while it trains, and what its report makes of it."""

import base64
import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

from ganzoo.config.loading import load_recipe
from ganzoo.evaluation.sampling import PLANE, discriminator_field
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load
from ganzoo.runs.loop import TrainingLoop
from ganzoo.runs.start import start
from ganzoo_reports import export
from ganzoo_reports.run_figures import NOTHING, levels, planes, replay, surroundings
from ganzoo_reports.run_pages import write_report

SMALL = ["train.images=2560", "train.log_every=512", "evaluate.metrics=[]", "evaluate.every_images=null"]
SMALL += ["train.device=cpu", "train.engine=eager", "train.threads=1"]

SHOWN = "all => all.flatMap((line, at) => line.style.visibility === 'visible' ? [at] : [])"
"""Which moments have their line among the losses."""


def ring(zoo, folder, recipe="vanilla-ring", *more):
    return start(load_recipe(recipe, zoo, [*SMALL, *more]), zoo, folder / "run")


@pytest.fixture(scope="module")
def run(zoo, tmp_path_factory):
    return ring(zoo, tmp_path_factory.mktemp("ring"))


def test_each_log_point_keeps_samples_and_the_field_that_the_discriminator_has(run):
    kept = dict(run.planes())
    assert list(kept) == list(range(0, 2561, 512))
    generator = load(run.path)
    last = kept[2560]
    assert torch.equal(last["samples"], generator.sample(500, seed=0).flatten(1).half())
    discriminator = generator.assembly.networks["discriminator"]
    discriminator.load_state_dict(generator.checkpoint.weights("networks.discriminator"))
    corners = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])  # the first row is the top
    with torch.no_grad():
        said = discriminator.eval()(corners.view(3, 1, 1, 2)).flatten()
    assert last["field"].shape == (PLANE, PLANE)
    field = last["field"].float()
    assert torch.stack([field[0, 0], field[0, -1], field[-1, 0]]) == pytest.approx(said, abs=1e-2)
    assert not torch.equal(kept[0]["samples"], last["samples"])


def test_a_long_training_keeps_about_sixty_points_whatever_its_log_points(zoo, tmp_path):
    tiny = ["networks.generator.hidden=[8]", "networks.discriminator.hidden=[8]", "train.batch_size=8"]
    run = ring(zoo, tmp_path, "vanilla-ring", *tiny, "train.images=800", "train.log_every=8")
    kept = list(dict(run.planes()))
    assert 55 <= len(kept) <= 62
    assert max(later - earlier for earlier, later in pairwise(kept)) <= 24


def test_a_discriminator_of_packs_judges_each_point_beside_its_copies(zoo, tmp_path):
    run = ring(zoo, tmp_path, "pacgan-ring", "train.images=256", "train.log_every=256")
    generator = load(run.path)
    networks = dict(generator.assembly.networks.items())
    discriminator = networks["discriminator"]
    field = discriminator_field(generator.assembly.objective, networks, torch.device("cpu"))
    point = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2).repeat(discriminator.packing, 1, 1, 1)
    with torch.no_grad():
        assert field[0, 0] == pytest.approx(discriminator.eval()(point)[0].item(), abs=1e-5)


def test_keeping_it_disturbs_no_weight(run, zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingLoop, "_record_plane", lambda self: None)
    other = ring(zoo, tmp_path)
    assert not list(other.planes())
    ours, theirs = (one.checkpoint().tensors for one in (run, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_the_page_is_given_is_small_and_leaves_damaged_files_out(run, zoo, tmp_path):
    damaged = run.path / "samples" / "000000000001.safetensors"
    damaged.write_bytes(b"\xff" * 100)
    facts = replay(planes(run), surroundings(run, zoo))
    damaged.unlink()
    assert len(json.dumps(facts)) < 60_000
    assert [frame["images"] for frame in facts["frames"]] == list(range(0, 2561, 512))
    raw = torch.frombuffer(bytearray(base64.b64decode(facts["frames"][-1]["samples"])), dtype=torch.uint16)
    points = raw.float().view(-1, 2) / 65535 * 2 - 1
    assert torch.allclose(points, dict(run.planes())[2560]["samples"].float(), atol=1e-4)
    modes = torch.frombuffer(bytearray(base64.b64decode(facts["modes"])), dtype=torch.uint16).float().view(-1, 2)
    radii = (modes / 65535 * 2 - 1).norm(dim=1) * 2.5
    assert radii == pytest.approx([2.0] * 8, abs=0.01)
    gone = shutil.copytree(run.path, tmp_path / "gone")
    (gone / "recipe.yaml").unlink()
    assert surroundings(RunFolder.open(gone), zoo) is NOTHING


def shown(frames, x, y):
    """The colour of a frame at a point of the plane."""
    place = ((x + 1) / 2 * (export.SMALL - 1), (1 - y) / 2 * (export.SMALL - 1))
    return frames[-1].getpixel(tuple(map(round, place)))


def test_an_animation_shows_each_log_point_s_samples_over_modes_and_field(run, zoo):
    frames, _ = export.training(run, zoo)
    assert len(frames) == 6
    last = dict(run.planes())[2560]
    x, y = last["samples"][0].float().tolist()
    assert shown(frames, x, y) == (0xE7, 0xE6, 0xE1)
    ring = 2 / 2.5 + 9 * 2 / export.SMALL  # the edge of the ring around the first mode
    assert shown(frames, ring, 0) == (0x7F, 0xCF, 0x9D)
    field = levels(last["field"])
    for wanted, other in ((2, 0), (0, 2)):  # where it is high, more blue than red; where it is low, more red
        row, column = np.argwhere(field == (255 if wanted else 0))[0]
        at = (2 * column / (len(field) - 1) - 1, 1 - 2 * row / (len(field) - 1))
        assert shown(frames, *at)[wanted] > shown(frames, *at)[other]


def test_pictures_have_no_replay(tmp_path):
    assert planes(RunFolder(tmp_path, {})) == []


def test_the_report_replays_it_in_a_browser(visit, run, zoo):
    page = visit(write_report(run.path, zoo, draw=False), width=390, scheme="dark").page
    step, picture = page.get_by_label("Training progress in points"), "document.getElementById('plane').toDataURL()"
    assert page.locator("#stage").inner_text() == "After 2,560 points"
    last = page.evaluate(picture)
    lines = page.locator(".effects [id$=moments] path")
    assert lines.evaluate_all(SHOWN) == [5]
    step.focus()
    page.keyboard.press("Home")
    assert lines.evaluate_all(SHOWN) == [0]
    assert page.locator("#stage").inner_text() == "After 0 points"
    assert page.evaluate(picture) != last
    page.locator("#play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Play").wait_for()
    assert page.evaluate(picture) == last
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
