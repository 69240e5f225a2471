"""`ganzoo export` of runs that translate: other programs translate the same as torch, and so does a page to draw on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import GanzooError, TrainedGenerator, load
from ganzoo.config.loading import load_recipe, recipe_for
from ganzoo.runs.start import start
from ganzoo_reports import export
from ganzoo_reports.export import EXAMPLES, to_html, to_onnx

onnxruntime = pytest.importorskip("onnxruntime")
SHORT = ["train.images=64", "train.batch_size=16", "train.threads=1", "train.device=cpu", "evaluate.metrics=[]"]
EDGES, SMALL, CYCLES = "pix2pix-edges-to-digits", "pix2pix-small-to-large", "cyclegan-printed-to-handwritten"
PHOTOS = "pix2pix"
READ = """(id) => {
    const canvas = document.getElementById(id), { width, height } = canvas;
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return [height, width, Array.from(copy.getImageData(0, 0, width, height).data)];
}"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, zoo):
    """Trains a recipe for a moment, once; ``pix2pix`` on pictures of one's own, in colour and twice as wide as high."""
    runs: dict[str, Path] = {}

    def _trained(name: str) -> TrainedGenerator:
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            roles = ["generator", "discriminator"]
            roles += ["source_generator", "source_discriminator"] if name.startswith("cyclegan") else []
            settings = [*SHORT, *(f"networks.{role}.width=4" for role in roles)]
            if name == PHOTOS:
                pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 16, 3), np.uint8)
                for side, pictures in zip("AB", pixels, strict=True):
                    (folder / "mine" / side).mkdir(parents=True)
                    for number, picture in enumerate(pictures):
                        Image.fromarray(picture).save(folder / "mine" / side / f"{number}.png")
                recipe = recipe_for(folder / "mine", PHOTOS, zoo, [*settings, "train.batch_size=4"])
            else:
                recipe = load_recipe(name, zoo, [*settings, "dataset.count=64"])
            runs[name] = start(recipe, zoo, folder / "run").path
        return load(runs[name], device="cpu")

    return _trained


def session_of(generator: TrainedGenerator) -> Any:
    return onnxruntime.InferenceSession(to_onnx(generator), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", [EDGES, *(pytest.param(name, marks=pytest.mark.full) for name in (SMALL, CYCLES))])
def test_the_graph_translates_any_number_of_sources_as_torch_does(trained, name: str) -> None:
    generator = trained(name)
    modality, sources = generator.assembly.spec.modality, generator.sources()["source"][:5]
    session = session_of(generator)
    assert [one.name for one in session.get_inputs()] == ["source"]  # it has no use for codes
    described = session.get_modelmeta().custom_metadata_map
    assert (described["z"], described["source"].partition(", pixels")[0]) == (
        "none",
        f"float32 (n, {', '.join(map(str, generator.source_shape))})",
    )
    (results,) = session.run(None, {"source": modality.to_network(sources).numpy()})
    apart = modality.from_network(torch.from_numpy(results)).int() - generator.translate(sources).int()
    assert apart.abs().max() <= 1
    assert np.abs(results[0] - results[1]).max() > 0.01  # it does look at the sources


def test_what_cannot_be_exported_is_refused_in_a_sentence(trained, monkeypatch) -> None:
    generator = trained(EDGES)
    with pytest.raises(GanzooError, match="this run translates pictures"):
        export.walk(generator)
    with monkeypatch.context() as patch:
        patch.setattr(TrainedGenerator, "sources", lambda _: {"source": torch.zeros(9, 2)})
        patch.setattr(export, "to_onnx", lambda *_: b"")
        with pytest.raises(GanzooError, match=r"starts from something else\. Export FILE\.onnx"):
            to_html(generator)
    monkeypatch.setattr(type(generator.assembly.objective), "generates_from", ("source", "mask"))
    with pytest.raises(GanzooError, match=r"generates from the column 'mask'\. Export a run whose generator starts"):
        to_onnx(generator)


class Fingers:
    """Draws on the page with simulated touches, at the pixels of its sources."""

    def __init__(self, page: Any) -> None:
        self.page, self.session = page, page.context.new_cdp_session(page)

    def draw(self, *spots: tuple[int, int]) -> None:
        """One stroke, which does not move the page."""
        self.page.locator("#source").scroll_into_view_if_needed()
        before = self.page.evaluate("scrollY")
        box = self.page.locator("#source").bounding_box()
        height, width, _ = self.page.evaluate(READ, "source")
        for number, (x, y) in enumerate(spots):
            place = {
                "x": box["x"] + (x + 0.5) * box["width"] / width,
                "y": box["y"] + (y + 0.5) * box["height"] / height,
            }
            kind = "touchMove" if number else "touchStart"
            self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
        self.session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert self.page.evaluate("scrollY") == before

    def tap(self, button: str) -> None:
        box = self.page.get_by_role("button", name=button).bounding_box()
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        self.session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [place]})
        self.session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def shown(page: Any, name: str) -> torch.Tensor:
    """The pixels of a canvas: uint8 (3, height, width)."""
    height, width, pixels = page.evaluate(READ, name)
    return torch.tensor(pixels, dtype=torch.uint8).view(height, width, 4)[..., :3].permute(2, 0, 1)


@pytest.fixture
def opened(visit, tmp_path):
    def _opened(generator: TrainedGenerator, **how: Any) -> Any:
        path = tmp_path / "page.html"
        path.write_text(to_html(generator))
        page = visit(path, touch=True, **how).page
        page.wait_for_selector("body[data-ready=true]", timeout=120_000)
        return page

    return _opened


def translated(page: Any, generator: TrainedGenerator) -> torch.Tensor:
    """The drawing, once the page shows what torch makes of it, to one grey level."""
    for _ in range(20):
        page.wait_for_timeout(100)
        drawing, result = shown(page, "source"), shown(page, "image")
        ours = generator.translate(drawing[None, : generator.source_shape[0]])[0]
        apart = (result.int() - ours.int()).abs().max()
        if apart <= 1:
            return drawing
    raise AssertionError(f"The page's translation differs from torch's by {apart} levels.")


@pytest.mark.slow
def test_digits_are_drawn_with_a_finger(trained, opened, tmp_path) -> None:
    generator = trained(EDGES)
    page = opened(generator, width=390, scheme="dark")
    examples = generator.sources()["source"][:EXAMPLES]
    assert torch.equal(translated(page, generator)[:1], examples[0])
    page.get_by_role("button", name="Example 3").click()
    assert torch.equal(translated(page, generator)[:1], examples[2])
    page.get_by_role("button", name="Clear").click()
    assert translated(page, generator).max() == 0

    fingers, wanted = Fingers(page), torch.zeros(28, 28)
    fingers.draw((6, 5), (20, 5), (20, 9))
    wanted[5, 6:21] = wanted[5:10, 20] = 255
    assert torch.equal(translated(page, generator)[0], wanted.to(torch.uint8))
    page.get_by_label("Brush size").fill("3")
    page.get_by_label("Brightness").fill("100")
    fingers.draw((3, 20), (10, 20))
    wanted[19:22, 2:12] = 100
    assert torch.equal(translated(page, generator)[0], wanted.to(torch.uint8))

    fingers.tap("Undo")
    wanted[19:22, 2:12] = 0
    fingers.draw((2, 2), (2, 20), (20, 20))
    fingers.tap("Undo")  # at once after a swift stroke
    assert torch.equal(translated(page, generator)[0], wanted.to(torch.uint8))
    page.get_by_label("Brush size").fill("1")
    page.locator("#source").focus()
    for key in ("ArrowDown", "Space", "Shift+ArrowRight"):
        page.keyboard.press(key)
    wanted[21, 20:22] = 100
    assert torch.equal(translated(page, generator)[0], wanted.to(torch.uint8))
    sheet = page.locator("#source").bounding_box()
    page.mouse.move(sheet["x"] - 8, sheet["y"] + 40)
    page.mouse.down()  # beside the sheet, so that nothing is drawn
    page.mouse.move(sheet["x"] + 80, sheet["y"] + 80, steps=4)
    page.mouse.up()
    assert torch.equal(translated(page, generator)[0], wanted.to(torch.uint8))
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save PNG").click()
    saving.value.save_as(tmp_path / "result.png")
    with Image.open(tmp_path / "result.png") as png:
        assert torch.equal(torch.from_numpy(np.array(png.convert("RGB"))).permute(2, 0, 1), shown(page, "image"))
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.full
def test_a_picture_in_colour_is_opened_and_painted_on(trained, opened, tmp_path, monkeypatch) -> None:
    generator = trained(PHOTOS)
    network = generator.assembly.networks["generator"]
    forward = network.forward  # that of a generator that also looks at codes:
    monkeypatch.setattr(network, "forward", lambda z, source: forward(z, source=source) + z.mean(1).view(-1, 1, 1, 1))
    page = opened(generator)
    fingers = Fingers(page)
    page.get_by_label("Colour").fill("#3264c8")
    fingers.draw((2, 1), (9, 1))
    assert (translated(page, generator)[:, 1, 2:10] == torch.tensor([[50], [100], [200]])).all()
    Image.new("RGB", (300, 300), (10, 20, 30)).save(tmp_path / "photo.png")
    page.get_by_label("A picture, scaled to 16x8 pixels").set_input_files(tmp_path / "photo.png")
    page.wait_for_function(f"() => ({READ})('source')[2].slice(0, 3).join() === '10,20,30'")
    assert (translated(page, generator) == torch.tensor([10, 20, 30]).view(3, 1, 1)).all()
    (tmp_path / "text.png").write_text("no picture")
    page.get_by_label("A picture, scaled to 16x8 pixels").set_input_files(tmp_path / "text.png")
    page.wait_for_function("() => document.getElementById('status').textContent.includes('cannot read the picture')")
