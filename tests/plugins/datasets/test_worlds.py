"""Worlds whose truth is known: the law, what is drawn from it, and what is kept of the drawn pictures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare

from ganzoo import GanzooError
from ganzoo_plugins.datasets import worlds
from ganzoo_plugins.datasets.worlds import CHARACTERS, CHECKED, FACES, JITTER, PACKAGES, Attribute, World

ROOT = Path(__file__).parents[3]
BOTH = pytest.mark.parametrize("world", [FACES, CHARACTERS], ids=lambda world: world.name)


@pytest.fixture
def drawing():
    """Skip without the packages that draw."""
    for module in ("dicebear", "dicebear_styles", "resvg_py"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install 'ganzoo-bench[worlds]'.")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; pictures beyond those asked for are not drawn, so they do not match the digest."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(worlds, "CHECKED", 3)
    return tmp_path / "cache" / "worlds"


class TestLaw:
    def test_is_the_product_of_weights_and_factors(self):
        x = Attribute("x", {"a": (1, ""), "b": (2, "")})
        y = Attribute("y", {"c": (3, ""), "d": (1, "")})
        world = World("w", "s", {"x": x, "y": y}, {("x", "a", "y", "c"): 0, ("y", "d", "x", "b"): 4}, {})
        assert world.weights.tolist() == [[0, 1], [6, 8]]
        assert world.probabilities("x").tolist() == [1 / 15, 14 / 15]
        assert world.probabilities("y").tolist() == [6 / 15, 9 / 15]
        assert world.probabilities("x", "y").tolist() == [[0, 1 / 15], [6 / 15, 8 / 15]]
        assert world.forbidden == [("x", "a", "y", "c")]

    @BOTH
    @pytest.mark.parametrize("split", ["train", "test"])
    def test_each_attribute_and_each_pair_is_drawn_as_often_as_it_says(self, world, split):
        values, shifts = world.draw_attributes(split, 10_000)
        names = list(world.attributes)
        groups = [*combinations(names, 1), *combinations(names, 2)]
        for group in groups:
            expected = world.probabilities(*group).flatten() * len(values)
            drawn = values[:, [names.index(name) for name in group]]
            shape = [len(world.attributes[name].values) for name in group]
            cells = drawn[:, 0] if len(group) == 1 else drawn[:, 0] * shape[1] + drawn[:, 1]
            counts = cells.bincount(minlength=len(expected))
            possible = expected > 0
            assert counts[~possible].sum() == 0
            # By chance, one of the groups is below this with a probability of 0.001.
            assert chisquare(counts[possible], expected[possible]).pvalue > 0.001 / len(groups), group
        assert shifts.flatten().unique().tolist() == list(range(-JITTER, JITTER + 1))

    @BOTH
    def test_has_forbidden_and_frequent_pairs_and_no_value_that_is_hardly_drawn(self, world):
        names = list(world.attributes)
        values, _ = world.draw_attributes("train", 10_000)
        for one, first, other, second in world.forbidden:
            at = [list(world.attributes[name].values).index(value) for name, value in ((one, first), (other, second))]
            has = [values[:, names.index(name)] == index for name, index in zip((one, other), at, strict=True)]
            assert not (has[0] & has[1]).any()
            assert has[0].any()
            assert has[1].any()
        assert len(world.forbidden) >= 5
        assert max(world.factors.values()) > 1
        assert all(world.probabilities(name).min() > 0.04 for name in names)

    @BOTH
    def test_a_picture_has_the_same_attributes_however_many_are_drawn(self, world):
        few, many = world.draw_attributes("train", 20), world.draw_attributes("train", 3000)
        assert torch.equal(few[0], many[0][:20])
        assert torch.equal(few[1], many[1][:20])
        assert not torch.equal(few[0], world.draw_attributes("test", 20)[0])

    @BOTH
    def test_no_two_of_all_pictures_have_the_same_colours(self, world):
        """So no two are equal: background, skin and clothes are seen in each."""
        axes = [list(world.attributes).index(name) for name in ("background", "skin", "clothes")]
        drawn = [world.draw_attributes("train", 10_000), world.draw_attributes("test", 2_000)]
        colours = torch.cat(
            [torch.cat([values[:, axes, None], shifts[:, axes]], 2).flatten(1) for values, shifts in drawn]
        )
        assert len(colours.unique(dim=0)) == 12_000


@pytest.mark.usefixtures("drawing")
class TestPictures:
    @BOTH
    @pytest.mark.parametrize("size", [32, pytest.param(64, marks=pytest.mark.full)])
    def test_are_those_of_the_committed_digest_and_all_different(self, world, size, zoo, caplog):
        entry = zoo.datasets.get(world.name)
        options = entry.options.check({"size": size, "train_images": CHECKED, "test_images": CHECKED})
        train, test = (entry.create(split, None, **options) for split in ("train", "test"))
        assert caplog.messages == []
        assert train.images.shape == (CHECKED, 3, size, size)
        assert len({image.numpy().tobytes() for image in [*train.images, *test.images]}) == 2 * CHECKED

    @BOTH
    def test_show_what_the_columns_say(self, world):
        dataset = world.load("test", CHECKED, 32)
        label, *others = world.attributes
        values, shifts = world.draw_attributes("test", CHECKED)
        assert torch.equal(torch.stack([dataset.labels, *dataset.columns.values()], 1), values)
        assert list(dataset.columns) == others
        assert dataset.classes == tuple(world.attributes[label].values)
        assert {column.dtype for column in dataset.columns.values()} == {torch.int64}
        axis = list(world.attributes).index("background")
        looks = [bytes.fromhex(look[1:]) for _, look in world.attributes["background"].values.values()]
        colours = torch.tensor([list(look) for look in looks])[dataset.columns["background"]]
        assert torch.equal(dataset.images[:, :, 0, 0].long(), (colours + shifts[:, axis]).clamp(0, 255))

    def test_another_digest_is_named(self, cache, caplog):
        assert len(FACES.load("test", 2, 32)) == 2
        (message,) = caplog.messages
        assert message.startswith("This machine draws dataset 'faces' (test, 32 pixels) differently")

    def test_other_versions_are_refused_before_anything_is_drawn(self, cache, monkeypatch):
        monkeypatch.setitem(PACKAGES, "resvg-py", "0.0.1")
        with pytest.raises(GanzooError, match=r"drawn by .* and resvg-py 0\.0\.1, but .* are installed") as caught:
            FACES.load("test", 3, 32)
        assert caught.value.remedy == "pip install 'ganzoo-bench[worlds]'"


@pytest.mark.usefixtures("drawing")
class TestCache:
    def test_a_process_killed_while_it_draws_leaves_nothing_that_is_used(self, cache):
        script = "from ganzoo_plugins.datasets.worlds import FACES; FACES.load('test', 100_000, 32)"
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 240
        while not list(cache.glob("*.lock")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
        assert [path.suffix for path in cache.iterdir()] == [".lock"]

    def test_half_of_a_file_is_drawn_again(self, cache):
        before = FACES.load("test", 3, 32)
        (path,) = cache.glob("*.rgb")
        os.truncate(path, 5_000)
        path.with_suffix(".tmp").write_bytes(b"left by a killed process")
        assert torch.equal(FACES.load("test", 3, 32).images, before.images)
        assert sorted(path.suffix for path in cache.iterdir() if path.suffix != ".lock") == [".rgb"]

    def test_of_several_at_once_one_draws(self, cache, monkeypatch):
        drawn = []
        draw = World.draw
        monkeypatch.setattr(World, "draw", lambda self, *which: drawn.append(which) or draw(self, *which))
        with ThreadPoolExecutor(4) as threads:
            loaded = list(threads.map(lambda _: FACES.load("test", 3, 32), range(4)))
        assert drawn == [("test", 3, 32)]
        assert all(torch.equal(one.images, loaded[0].images) for one in loaded)

    def test_what_is_kept_needs_no_packages(self, cache, monkeypatch):
        before = FACES.load("test", 3, 32)
        monkeypatch.setitem(sys.modules, "resvg_py", None)
        assert torch.equal(FACES.load("test", 3, 32).images, before.images)


@pytest.mark.parametrize("recipe", ["vanilla-mnist", "cgan-mnist"])
def test_recipes_train_on_them(recipe, call, tmp_path, drawing):
    out = tmp_path / "run"
    dataset = "dataset={name: faces, train_images: 200, test_images: 200}"
    few = ("train.images=128", "train.batch_size=32", "evaluate.metrics=[]")
    code, _, err = call("run", recipe, "--device", "cpu", "--out", out, *(f"--set={part}" for part in (dataset, *few)))
    assert code == 0, err
    assert json.loads((out / "run.json").read_text())["status"] == "done"


def test_without_the_packages_a_sentence_says_what_to_install(call, cache, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)  # makes its import fail, also where it is installed
    code, out, err = call("run", "vanilla-mnist", "--set", "dataset=characters", "--out", tmp_path / "run")
    assert code == 2
    assert out == ""
    assert "Dataset 'characters' is drawn by dicebear-core 10.7.0, dicebear-styles 10.6.0 and resvg-py 0.5.0" in err
    assert "pip install 'ganzoo-bench[worlds]'" in err
    assert "Traceback" not in err


def test_the_extra_pins_what_draws():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert extras["worlds"] == [f"{name}=={number}" for name, number in PACKAGES.items()]
