"""The battery: its faults, its arithmetic, what its committed outcome says, and the page made from that."""

import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

import ruler
import ruler_pictures
from ganzoo import Dataset, Features
from ganzoo.registry.loading import load_zoo
from ganzoo_plugins.extractors.pictures_ae_training import scene_batch
from image_faults import FAULTS, INVISIBLE, PICTURE_FAULTS, PICTURE_INVISIBLE
from ruler import RESULTS, by_fault, marks, scorer, section, verdict, verdicts

OUTCOMES = {dataset: RESULTS / f"{dataset}.json" for dataset in ("mnist", "fashion-mnist")}


@pytest.fixture(scope="module")
def pool():
    """Soft discs of ten sizes: a class each."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    labels = torch.arange(400) % 10
    centre = 13.5 + torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    gap = ((x - centre[:, :1, None]) ** 2 + (y - centre[:, 1:, None]) ** 2).sqrt()
    images = ((labels.view(-1, 1, 1) * 0.6 + 3 - gap).clamp(0, 1) * 250).round().to(torch.uint8)[:, None]
    return images, labels


@pytest.mark.full
class TestFaults:
    @pytest.mark.parametrize("fault", [*FAULTS, *INVISIBLE], ids=lambda fault: fault.name)
    def test_a_seed_gives_the_same_uint8_images(self, pool, fault):
        for strength in fault.strengths:
            found = fault.apply(*pool, 200, strength, seed=3)
            assert (found.dtype, found.shape) == (torch.uint8, (200, 1, 28, 28))
            assert torch.equal(fault.apply(*pool, 200, strength, seed=3), found)

    @pytest.mark.parametrize("fault", [one for one in FAULTS if one.change], ids=lambda fault: fault.name)
    def test_stronger_faults_change_pixels_more(self, pool, fault):
        images = pool[0][:200].float()
        errors = [(fault.apply(*pool, 200, s, seed=3).float() - images).square().mean() for s in fault.strengths]
        assert len(errors) == 5
        assert errors[0] > 0
        assert errors == sorted(errors)

    @pytest.mark.parametrize("fault", INVISIBLE, ids=lambda fault: fault.name)
    def test_invisible_changes_are_a_few_levels(self, pool, fault):
        images = pool[0][:200].float()
        error = (fault.apply(*pool, 200, fault.strengths[0], seed=3).float() - images).square().mean().sqrt()
        assert error < 6

    def test_faults_of_the_set(self, pool):
        by_name = {fault.name: fault for fault in FAULTS}
        sizes = {}
        for name, strength in {"classes missing": 2, "imbalanced": 8, "few distinct images": 5}.items():
            images = by_name[name].apply(*pool, 200, strength, seed=0)
            known = {bytes(image.numpy()): int(label) for image, label in zip(*pool, strict=True)}
            sizes[name] = torch.tensor([known[bytes(image.numpy())] for image in images]).bincount(minlength=10)
            if name == "few distinct images":
                assert len(images.flatten(1).unique(dim=0)) == 50
        assert sizes["classes missing"].gt(0).tolist() == [True] * 8 + [False] * 2
        assert sizes["imbalanced"][0] > 3 * sizes["imbalanced"][9]
        means = by_name["towards the class's mean"].apply(*pool, 200, 1.0, seed=0)
        assert len(means.flatten(1).unique(dim=0)) == 10


class TestScores:
    def test_a_distance_is_scipys_and_a_set_is_perfect_against_itself(self, pool):
        real = Dataset("discs", "test", *pool, tuple("0123456789"))
        extractor = ruler.Pixels(pool[0])
        score = scorer("fid@pixels", real, {"pixels": extractor}, load_zoo())
        mine = Features(extractor(pool[0])[0])
        assert score(mine) == pytest.approx(0, abs=1e-6)
        other = Features(extractor(255 - pool[0][:300])[0])
        a, b = (one.values.double().numpy() for one in (other, mine))
        spread = [np.cov(one, rowvar=False) for one in (a, b)]
        # scipy's root of a singular product is not exact; a ridge far below the tolerance makes it regular.
        root = sqrtm((spread[0] + 1e-12 * np.eye(64)) @ (spread[1] + 1e-12 * np.eye(64))).real
        expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(spread[0] + spread[1] - 2 * root)
        assert score(other) == pytest.approx(expected, rel=1e-6)

    def test_verdicts(self):
        def cells(fault, *sds):
            return [{"fault": fault, "strength": i, "views": {"fid@x": {"sds": s}}} for i, s in enumerate(sds)]

        outcome = {"cells": [*cells("good", 1, 6, 7), *cells("flat", 9, 8, 12), *cells("weak", 1, 4.9, 9)]}
        outcome["cells"] += [*cells("unseen", 1.9), *cells("noticed", -2.1)]
        assert verdict(outcome, "fid@x") == {"faults": 3, "falling": ["flat"], "blind": ["weak"], "seen": ["noticed"]}


class TestViewsMeasuredLater:
    @pytest.mark.parametrize(("key", "sentence"), [("dataset", "another dataset"), ("cells", "other faults")])
    def test_a_file_that_they_do_not_belong_into_is_refused_before_they_are_measured(
        self, key, sentence, tmp_path, monkeypatch
    ):
        known = json.loads(OUTCOMES["mnist"].read_text(encoding="utf-8"))
        file = tmp_path / "views.json"
        file.write_text(json.dumps({**known, key: known[key][:3]}), encoding="utf-8")
        monkeypatch.setattr("sys.argv", ["ruler.py", "--view", "fid@pixels", "--out", str(file)])
        monkeypatch.setattr(ruler, "measure", lambda *given: pytest.fail("measured"))
        with pytest.raises(SystemExit, match=sentence):
            ruler.main()

    def test_views_that_stay_say_where_they_were_measured(self):
        def outcome(place, *views):
            cell = {"fault": "noisy", "views": {view: {"sds": 1} for view in views}}
            return {
                "dataset": "mnist",
                "environment": {"cpu": place},
                "views": {view: {"sd": 1} for view in views},
                "cells": [cell],
            }

        found = ruler.merged(outcome("there", "fid@mnist-ae", "fid@pixels"), outcome("here", "fid@pixels", "fid@x"))
        assert found["environment"] == {"cpu": "here"}
        assert found["views"] == {
            "fid@mnist-ae": {"sd": 1, "environment": {"cpu": "there"}},
            "fid@pixels": {"sd": 1},
            "fid@x": {"sd": 1},
        }
        assert set(found["cells"][0]["views"]) == set(found["views"])

    def test_faults_measured_again_replace_their_cells_and_say_where(self):
        cells = [{"fault": name, "strength": s, "views": {}} for name in ("noisy", "few") for s in (1, 2)]
        old = {"environment": {"cpu": "there"}, "views": {"fid@x": {"sd": 1}}, "cells": cells}
        again = [{**cell, "views": {"fid@x": {"sds": 9}}} for cell in cells[2:]]
        found = ruler.with_faults(old, {"environment": {"cpu": "here"}, "views": {}, "cells": again})
        assert found["cells"][:2] == cells[:2]
        assert found["cells"][2:] == [{**cell, "environment": {"cpu": "here"}} for cell in again]
        assert {**found, "cells": cells} == old


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fault", "noisi", "--out", "nowhere.json"], "Unknown fault 'noisi'"),
        (["--dataset", "mnits", "--out", "nowhere.json"], "mnits"),
        (["--dataset", "mnits", "--page"], "mnits.json does not exist. Leave out --page, "),
    ],
)
def test_an_unknown_name_is_a_sentence(monkeypatch, words, sentence):
    monkeypatch.setattr("sys.argv", ["ruler.py", *words])
    with pytest.raises(SystemExit, match=sentence):
        ruler.main()


@pytest.fixture
def outcome(dataset):
    """What is committed for a dataset."""
    return json.loads(OUTCOMES[dataset].read_text(encoding="utf-8"))


@pytest.mark.parametrize("dataset", OUTCOMES)
class TestCommitted:
    def test_the_page_says_what_was_measured(self, dataset, outcome):
        begin, end = marks(dataset)
        page = ruler.PAGE.read_text(encoding="utf-8")
        said = verdicts(outcome)
        assert page.partition(begin)[2].partition(end)[0].strip() == said
        assert (RESULTS / f"{dataset}.md").read_text(encoding="utf-8") == section(dataset)

    def test_the_headline_is_a_ruler(self, dataset, outcome):
        """It rises with every strength, sees 90% of the faults at their second, and nothing that nobody sees."""
        found = verdict(outcome, f"fid@{dataset}-ae")
        assert found["faults"] == 19
        assert found["falling"] == []
        assert len(found["blind"]) <= 0.1 * found["faults"]
        assert found["seen"] == []

    def test_every_cell_follows_from_its_value(self, outcome):
        strengths = {(cell["fault"], cell["strength"]) for cell in outcome["cells"]}
        assert strengths == {(fault.name, s) for fault in (*FAULTS, *INVISIBLE) for s in fault.strengths}
        for cell in outcome["cells"]:
            for view, found in cell["views"].items():
                of = outcome["views"][view]
                assert found["excess"] == pytest.approx(found["value"] - of["untouched"])
                assert found["sds"] == pytest.approx(found["excess"] / of["sd"])

    def test_the_weights_are_those_that_are_shipped(self, dataset, outcome):
        views, zoo = outcome["views"], load_zoo()
        for view in (f"fid@{dataset}-ae", f"fid@{dataset}-cnn"):
            assert views[view]["digest"] == zoo.extractors.get(view.partition("@")[2]).create().digest

    def test_a_loss_of_variety_within_a_class_is_caught_by_neighbours(self, dataset, outcome):
        recall, coverage = (by_fault(outcome, f"{metric}@{dataset}-ae") for metric in ("recall", "coverage"))
        for side, fault in (
            (recall, "few distinct images"),
            (recall, "towards the class's mean"),
            (coverage, "few distinct images"),
        ):
            assert side[fault][1]["sds"] < -5


PICTURES = json.loads(ruler_pictures.FILE.read_text(encoding="utf-8"))
KNOWN = [fault.name for fault in PICTURE_FAULTS if not fault.withheld]
WITHHELD = [*(fault.name for fault in PICTURE_FAULTS if fault.withheld), "memorised"]


@pytest.mark.parametrize("world", ruler_pictures.WORLDS)
class TestPictures:
    def test_nine_of_ten_cells_are_ordered_in_both_halves(self, world):
        for half in (KNOWN, WITHHELD):
            ordered, total, wrong = ruler_pictures.judged(PICTURES["worlds"][world], "fid@pictures-ae", half)
            assert ordered >= 0.9 * total, wrong

    def test_what_nobody_sees_costs_next_to_nothing(self, world):
        cells = PICTURES["worlds"][world]["cells"]
        unseen = [fault.name for fault in PICTURE_INVISIBLE]
        costs = [cell["sds"]["fid@pictures-ae"] for cell in cells if cell["fault"] in unseen]
        assert len(costs) == len(unseen)
        assert max(map(abs, costs)) <= 2

    def test_the_weights_are_those_that_are_shipped(self, world):
        shipped = load_zoo().extractors.get("pictures-ae").create().digest
        assert PICTURES["worlds"][world]["extractors"]["pictures-ae"] == shipped


def test_the_page_has_the_table_of_pictures():
    begin, end = ruler_pictures.MARKS
    page = ruler.PAGE.read_text(encoding="utf-8")
    assert page.partition(begin)[2].partition(end)[0].strip() == ruler_pictures.table(PICTURES)


def test_a_cell_is_ordered_if_it_costs_more_than_the_one_before_and_the_first_more_than_none():
    costs = (("a", 1), ("a", 9), ("b", -1), ("b", -2))
    world = {"cells": [{"fault": name, "strength": 1, "sds": {"v": cost}} for name, cost in costs]}
    assert ruler_pictures.judged(world, "v", ["a", "b", "c"]) == (2, 4, ["b 1", "b 2"])
    assert ruler_pictures.seen(world, "v", ["a", "b", "c"]) == "1/2"


@pytest.mark.parametrize("fault", PICTURE_FAULTS, ids=lambda fault: fault.name)
def test_faults_of_pictures_grow(fault):
    """In pixels, or for faults of the set in the number of pictures that are left."""
    pictures = scene_batch(200, torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 10
    spoiled = [fault.apply(pictures, labels, 100, s, seed=3) for s in fault.strengths]
    assert all((some.dtype, some.shape) == (torch.uint8, (100, 3, 32, 32)) for some in spoiled)
    if fault.change:
        errors = [(some.float() - pictures[:100].float()).square().mean() for some in spoiled]
        assert errors[0] > 0
        assert errors == sorted(errors)
    else:
        left = [len(some.flatten(1).unique(dim=0)) for some in spoiled]
        assert left == sorted(left, reverse=True)
