"""``ganzoo export``: other programs and browsers draw the same as torch."""

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import load
from ganzoo.config.loading import load_recipe, recipe_for
from ganzoo.errors import GanzooError, RunError
from ganzoo.runs.start import start
from ganzoo_reports.export import TOLERANCE, to_html, to_onnx

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, zoo):
    """A conditional run on two classes of small pictures in colour."""
    folder = tmp_path_factory.mktemp("export")
    for kind, colour in (("<cat>", (200, 30, 30)), ("dog", (20, 40, 220))):
        (folder / "pets" / kind).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 12), colour).save(folder / "pets" / kind / f"{number}.png")
    settings = ["train.images=160", "train.batch_size=8", "train.threads=1", "train.device=cpu", "train.engine=eager"]
    recipe = recipe_for(folder / "pets", "cgan", zoo, settings)
    return start(recipe, zoo, folder / "run").path


def test_the_graph_draws_what_torch_draws_for_any_number_of_samples(trained):
    generator = load(trained)
    session = onnxruntime.InferenceSession(to_onnx(generator), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["z", "label"]
    codes = generator.assembly.spec.prior.sample(5, torch.Generator().manual_seed(3), torch.device("cpu"))
    labels = torch.tensor([0, 1, 1, 0, 1])
    (drawn,) = session.run(None, {"z": codes.numpy(), "label": labels.numpy()})
    model = generator.model("ema")
    for network in model.networks.values():
        network.eval()
    with torch.no_grad():
        ours = model.objective.generate_from(model.networks, codes, labels, {}).numpy()
    assert np.abs(drawn - ours).max() <= TOLERANCE
    assert np.abs(drawn[0] - drawn[1]).max() > TOLERANCE  # it does look at the codes and labels


def test_a_generator_that_draws_random_numbers_of_its_own_is_refused(trained, monkeypatch):
    generator = load(trained)
    network = generator.assembly.networks["generator"]
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda *given: forward(*given) + torch.randn(1, 1, 1, 1))
    with pytest.raises(RunError, match="differs from torch by .*their own random numbers"):
        to_onnx(generator)


def test_the_command_and_its_refusals(trained, tmp_path, call):
    sentence = "Cannot export to model.pt. Give --out FILE.onnx, FILE.html or NAME.safetensors, or --format hub for a "
    assert call("export", trained, "--out", tmp_path / "model.pt") == (2, "", f"{sentence}folder.\n")
    code, _, err = call("export", trained, "--out", tmp_path / "model.onnx")
    assert code == 0
    assert err.startswith(f"Saved to {tmp_path / 'model.onnx'}")
    assert (tmp_path / "model.onnx").read_bytes() == to_onnx(load(trained))


def test_a_strangers_class_names_do_not_steer_the_page(trained):
    generator = load(trained)
    generator.run.info["class_names"] = ["\u202eevil", "\x1b[31mred"]
    page = to_html(generator)
    assert r"<button>\u202eevil</button><button>\x1b[31mred</button>" in page


def test_points_have_no_page(zoo, tmp_path):
    settings = ["train.images=256", "train.device=cpu", "evaluate.metrics=[]", "train.threads=1"]
    run = start(load_recipe("vanilla-ring", zoo, settings), zoo, tmp_path / "ring")
    with pytest.raises(GanzooError, match=r"The page shows images, but this run draws .*FILE\.onnx"):
        to_html(load(run))


def test_a_page_without_classes_has_no_group_of_them(run, toy_zoo, tmp_path, visit):
    path = tmp_path / "page.html"
    path.write_text(to_html(load(run, zoo=toy_zoo)))
    page = visit(path).page
    page.wait_for_selector("body[data-ready=true]", timeout=120_000)
    assert page.get_by_role("group").count() == 0


@pytest.mark.slow
def test_the_page_draws_in_a_browser_what_torch_draws(trained, tmp_path, visit):
    generator, path = load(trained), tmp_path / "page.html"
    path.write_text(to_html(generator))
    assert path.stat().st_size < 20e6
    page = visit(path, width=390, scheme="dark").page
    page.wait_for_selector("body[data-ready=true]", timeout=120_000)
    assert page.locator("#status").inner_text() == ""
    assert page.locator("#classes button").all_inner_texts() == ["<cat>", "dog"]
    codes = generator.assembly.spec.prior.sample(6, torch.Generator().manual_seed(7), torch.device("cpu"))
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    script = "async ([z, labels]) => Array.from(await explorer.draw(Float32Array.from(z), labels))"
    drawn = torch.tensor(page.evaluate(script, [codes.flatten().tolist(), labels.tolist()])).view(6, 3, 12, 8)
    assert (drawn - generator.decode(codes, labels).int()).abs().max() <= 2

    read = """() => {
        const copy = new OffscreenCanvas(8, 12).getContext("2d", { willReadFrequently: true });
        copy.drawImage(document.getElementById("image"), 0, 0);
        return Array.from(copy.getImageData(0, 0, 8, 12).data);
    }"""
    first = page.evaluate(read)
    page.locator("#grid").press("ArrowRight")  # to the next sample of the grid
    assert float(page.get_by_role("slider", name="Direction 1").input_value()) == pytest.approx(4 / 7, abs=0.05)
    page.get_by_role("button", name="Back to the centre").click()
    page.wait_for_function(f"first => ({read})().join() === first.join()", arg=first)
    page.locator("#pin-a").click()
    page.get_by_role("button", name="dog").click()
    page.get_by_role("slider", name="Direction 1").fill("2")
    page.wait_for_function(f"first => ({read})().join() !== first.join()", arg=first)
    page.locator("#pin-b").click()
    page.get_by_role("slider", name="Between A and B").fill("0")
    page.wait_for_function(f"first => ({read})().join() === first.join()", arg=first)
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save GIF").click()
    saving.value.save_as(tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as gif:
        assert (gif.size, gif.n_frames) == ((80, 120), 32)
        shown = torch.tensor(first).view(12, 8, 4)[..., :3]
        frame = torch.from_numpy(np.array(gif.convert("RGB")))[5::10, 5::10].int()
        assert (frame - shown).abs().max() <= 26  # the GIF has six levels a channel
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save PNG").click()
    saving.value.save_as(tmp_path / "sample.png")
    with Image.open(tmp_path / "sample.png") as png:
        assert torch.equal(torch.from_numpy(np.array(png.convert("RGB"))).int(), shown.int())
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
