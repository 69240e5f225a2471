"""Reports of real runs, complete ones and ones with parts missing."""

import json
import math
import re
import shutil
from itertools import pairwise

import pytest
import torch
from typer.testing import CliRunner

from ganzoo import CodesPrior, GaussianPrior, UniformPrior, load
from ganzoo.api.dataset import to_pil
from ganzoo.cli import app
from ganzoo.errors import GanzooError
from ganzoo.runs.folder import RunFolder
from ganzoo_reports.run_figures import (
    MAX_FRAMES,
    MAX_PLAYED,
    between,
    frames,
    health_plots,
    loss_plots,
    neighbours,
    pictures,
    score_plots,
)
from ganzoo_reports.run_pages import write_report
from ganzoo_reports.scores import final_table
from ganzoo_reports.templates import Picture


def text_of(run, zoo, **options):
    return write_report(run, zoo, **options).read_text("utf-8")


def test_a_whole_run_has_everything(run, toy_zoo):
    page = text_of(run, toy_zoo)
    times = {'class="absent"': 0, 'alt="Samples after': 3, "its nearest training image": 16, "<svg": 6}
    assert {part: page.count(part) for part in times} == times
    for part in (
        "Nobody 2020, A paper &amp; more",
        "averaged (ema)",
        "100 against 200 toy test images, tiny",
        "hidden: [16]",
    ):
        assert part in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_an_interrupted_run_says_what_is_missing(copy, toy_zoo):
    RunFolder.open(copy).update(status="interrupted", saved_images=None)
    (copy / "events.jsonl").write_text('{"event": "start", "images": 0}\n')
    (copy / "scores.jsonl").unlink()
    for folder in ("samples", "checkpoints"):
        shutil.rmtree(copy / folder)
        (copy / folder).mkdir()
    page = text_of(copy, toy_zoo)
    for sentence in (
        "Interrupted; can be resumed",
        "The run has no pictures of samples.",
        "The run has no scores",
        "Fewer than two losses were logged",
        "has no checkpoint yet",
    ):
        assert sentence in page


def test_a_diverged_run_shows_its_diagnosis(copy, toy_zoo):
    run = RunFolder.open(copy)
    run.update(status="failed")
    run.log({"event": "diverged", "images": 320, "broken": ["generator.loss"]})
    page = text_of(copy, toy_zoo, draw=False)
    assert re.search(r'<strong class="bad">diverged</strong>: Training stopped after 320 images', page)


def test_a_run_of_points_shows_its_plots_and_says_why_there_are_no_neighbours(train, tmp_path, toy_zoo):
    settings = ["dataset=ring", "train.images=64", "train.log_every=32", "evaluate.metrics=[modes@ring]"]
    page = text_of(train(tmp_path, *settings), toy_zoo)
    assert page.count("This run draws points of 2 dimensions, not pictures.") == 2
    assert 'width="384" height="384"' in page


def test_sound_beside_a_picture_is_played_and_other_files_are_not(copy, toy_zoo):
    picture = pictures(copy / "samples")[-1]
    picture.with_suffix(".wav").write_bytes(b"a sound")
    picture.with_suffix(".html").write_text("<script>")
    with picture.with_name(f"{int(picture.stem) - 160:012d}.wav").open("wb") as file:
        file.truncate(MAX_PLAYED + 1)  # beside the picture before
    players = re.findall("<(?:audio|video) [^>]*", text_of(copy, toy_zoo, draw=False))
    assert [re.findall("preload=.none. src=.data:audio/[a-z-]+;base64,(YSBzb3VuZA==). ", one) for one in players] == [
        ["YSBzb3VuZA=="]
    ]


def test_the_columns_of_a_conditional_recipe_are_named(copy, toy_zoo):
    recipe = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(recipe.replace("conditional: false", "conditional: true"))
    RunFolder.open(copy).update(recipe_digests=[])
    page = text_of(copy, toy_zoo, draw=False)
    for name in "abcd":
        assert page.count(f'<span title="{name}">{name}</span>') == 3


def test_without_drawing_no_checkpoint_is_read(copy, toy_zoo):
    shutil.rmtree(copy / "checkpoints")
    assert text_of(copy, toy_zoo, draw=False).count("made without drawing samples") == 2


def test_a_description_with_the_least_that_it_may_hold_is_enough(copy, toy_zoo):
    info = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    least = {key: info[key] for key in ("schema", "recipe", "shape", "classes")}
    (copy / "run.json").write_text(json.dumps(least), encoding="utf-8")
    assert "<dt>status</dt>" in text_of(copy, toy_zoo, draw=False)


def test_the_command_says_where_the_report_is(copy):
    # Its dataset is none that is installed, so the page says so instead of drawing.
    done = CliRunner().invoke(app, ["report", str(copy), "--json"])
    assert json.loads(done.stdout) == {"report": str(copy / "report.html")}
    assert "Unknown dataset" in (copy / "report.html").read_text()


def test_neighbours_are_the_nearest_by_brute_force(run, toy_zoo):
    generator, extractor = load(run, zoo=toy_zoo), toy_zoo.extractors.get("tiny").create()
    found = neighbours(generator, toy_zoo)["pairs"]
    real = toy_zoo.datasets.get("toy").create("train", None).images
    seen, among = (extractor(images)[0].double() for images in (generator.sample(16, seed=1), real))
    distances, index = (seen[:, None] - among[None]).norm(dim=2).min(1)
    apart = (among[:, None] - among[None]).norm(dim=2).fill_diagonal_(math.inf).min(1).values
    assert [pair["distance"] for pair in found] == pytest.approx(distances.tolist(), rel=1e-5)
    assert [pair["near"] for pair in found] == (distances <= apart[index]).tolist()
    picture = generator.assembly.spec.modality.picture
    assert [pair["real"] for pair in found] == [(Picture.of(to_pil(picture(real[one][None]))), None) for one in index]


def test_given_codes_are_drawn_as_the_seed_draws_them(run, toy_zoo):
    generator = load(run, zoo=toy_zoo)
    codes = generator.assembly.spec.prior.sample(5, torch.Generator().manual_seed(3), torch.device("cpu"))
    assert torch.equal(generator.decode(codes), generator.sample(5, seed=3))
    assert torch.equal(generator.decode(codes, weights="raw"), generator.sample(5, seed=3, weights="raw"))
    with pytest.raises(GanzooError, match="is unconditional: it cannot be asked for class 2"):
        generator.decode(codes, torch.full((5,), 2))


def test_gaussian_codes_are_led_around_the_sphere_by_equal_angles():
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    path = between(GaussianPrior(dim=3), a, b, 4)
    assert path.norm(dim=1).tolist() == pytest.approx([2.0] * 4)
    assert torch.atan2(path[:, 1], path[:, 0]).rad2deg().tolist() == pytest.approx([0, 30, 60, 90], abs=1e-4)
    assert between(GaussianPrior(dim=3), a, -a, 3).isfinite().all()


def test_uniform_codes_go_straight_and_categories_stay():
    assert between(UniformPrior(dim=2), torch.tensor([0.0, 1.0]), torch.tensor([1.0, -1.0]), 3)[1].tolist() == [
        0.5,
        0.0,
    ]
    prior = CodesPrior(dim=2, categorical=(2,), continuous=1)
    path = between(prior, torch.tensor([1.0, 0, 1, 0, -1]), torch.tensor([0.0, 1, 0, 1, 1]), 3)
    assert path[1].tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 1, 0, 0])


def test_many_pictures_are_thinned_evenly_and_a_torn_one_is_left_out(run, tmp_path):
    (picture, *_) = sorted((run / "samples").glob("*.png"))
    for number in range(200):
        shutil.copy(picture, tmp_path / f"{number:012d}.png")
    (tmp_path / "000000000000.png").write_bytes(picture.read_bytes()[:50])
    found = frames(tmp_path, [{"event": "train", "images": 199, "seconds": 7.5}])
    assert len(pictures(tmp_path)) == 200
    assert len(found) == MAX_FRAMES - 1
    assert (found[-1]["images"], found[-1]["seconds"], found[-2]["seconds"]) == (199, 7.5, None)
    steps = [b["images"] - a["images"] for a, b in pairwise(found)]
    assert set(steps) == {3, 4}


def test_kinds_of_weights_share_a_row_and_other_protocols_and_sample_seeds_have_their_own(score):
    made = final_table([score(4.0), score(5.0, weights="raw"), score(3.0, split="train"), score(4.4, sample_seed=7)])
    assert (made[0].values, made[0].reported, made[0].excess) == ({"ema": 4.0, "raw": 5.0}, "ema", "+3.9")
    assert [row.values for row in made[1:]] == [{"ema": 3.0}, {"ema": 4.4}]
    assert "mnist train images" in made[1].metric.protocol
    assert made[2].metric.protocol == f"{made[0].metric.protocol}, sample seed 7"
    assert final_table([]) == []


def test_scoring_a_finished_run_in_another_way_replaces_nothing_in_its_report(copy, toy_zoo):
    run = RunFolder.open(copy)
    before = final_table(run.final_scores())
    (own, *_) = run.final_scores()
    for changes in ({"split": "train"}, {"n_fake": 50}, {"sample_seed": 3}):
        run.append_score({**own, "value": 12345.0, "protocol": {**own["protocol"], **changes}})
    after = final_table(run.final_scores())
    assert after[: len(before)] == before
    assert [row.values for row in after[len(before) :]] == [{"ema": 12345.0}] * 3
    assert "sample seed 3" in text_of(copy, toy_zoo, draw=False)


def test_one_evaluation_is_no_curve_and_a_repeated_one_counts_once(score):
    assert score_plots({"ema": [score(4.0), score(4.1)]}) == []
    (plots,) = score_plots({"ema": [{**score(9.0), "images": 500}, score(4.0)]})
    assert len(plots["pictures"]) == 2
    assert loss_plots([{"event": "train", "images": 1, "seconds": 1.0, "d.loss": 1.0}]) == []
    assert health_plots([]) == []
