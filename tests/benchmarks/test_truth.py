"""Known truth: its errors in closed form, the reader, and the rank statistics."""

import json
from itertools import combinations

import pytest
import torch

import truth
from ganzoo_plugins.datasets.worlds import CHARACTERS, FACES
from truth import ALL, ERRORS, VIEWS, Pictures, copies, correlations, errors, lies, nearness, read

N = 20_000


@pytest.fixture(params=[FACES, CHARACTERS], ids=lambda world: world.name)
def world(request):
    return request.param


def law_of(world, weights, *axes):
    """The joint law of some attributes under any weights."""
    others = [axis for axis in range(weights.dim()) if axis not in axes]
    return weights.double().sum(others) / weights.sum()


@pytest.fixture(scope="module")
def toys():
    """A square in one of three colours, in the left or right half."""
    generator = torch.Generator().manual_seed(0)
    values = torch.stack([torch.randint(3, (2_000,), generator=generator), torch.arange(2_000) % 2], 1)
    images = torch.full((2_000, 3, 32, 32), 60, dtype=torch.uint8)
    down = torch.randint(4, 20, (2_000,), generator=generator)
    for image, (colour, side), y in zip(images, values.tolist(), down.tolist(), strict=True):
        image[colour, y : y + 8, 4 + 14 * side : 12 + 14 * side] = 230
    return Pictures(images, values)


class TestErrors:
    def test_draws_from_the_law_have_errors_about_0(self, world):
        values = world.draw_attributes("test", N)[0]
        found = errors(world, values)
        assert found["forbidden"] == found["unreadable"] == 0
        assert found["overall"] == pytest.approx(found["pairs"])
        assert 0 < found["attributes"] < found["pairs"] < 0.02
        assert found["dropped"] < 0.001
        assert abs(found["variety lost"]) < 0.02

    def test_values_that_are_left_out(self, world):
        values = world.draw_attributes("test", N)[0]
        kept = truth.left_out(world, Pictures(torch.empty(N, 0), values), 0, 3).values
        found = errors(world, kept)
        weights = world.weights.clone()
        weights[-3:] = 0
        axes = range(weights.dim())
        one = [(law_of(world, weights, i) - law_of(world, world.weights, i)).abs().sum() / 2 for i in axes]
        pairs = [(law_of(world, weights, *p), law_of(world, world.weights, *p)) for p in combinations(axes, 2)]
        assert found["attributes"] == pytest.approx(float(sum(one) / len(one)), abs=0.005)
        two = sum(float((q - p).abs().sum()) / 2 for q, p in pairs) / len(pairs)
        assert found["pairs"] == pytest.approx(two, abs=0.01)
        dropped = sum(float(p[q < 0.1 * p].sum()) for q, p in pairs) / len(pairs)
        assert found["dropped"] == pytest.approx(dropped, abs=0.005)
        assert dropped > 0.05
        lost = sum(1 - float(p.square().sum() / q.square().sum()) for q, p in pairs) / len(pairs)
        assert found["variety lost"] == pytest.approx(lost, abs=0.02)
        assert lost > 0.1

    def test_forbidden_pairs_of_attributes_that_are_drawn_apart(self, world):
        names = list(world.attributes)
        generator = torch.Generator().manual_seed(0)
        columns = [
            torch.multinomial(world.probabilities(name), N, replacement=True, generator=generator) for name in names
        ]
        values = torch.stack(columns, 1)
        found = errors(world, values)
        never = sum(
            float(
                torch.outer(world.probabilities(one), world.probabilities(other))[
                    world.probabilities(one, other) == 0
                ].sum()
            )
            for one, other in combinations(names, 2)
        )
        assert found["forbidden"] == pytest.approx(never, abs=0.01)
        assert found["attributes"] < 0.01
        assert found["pairs"] > 0.03

    def test_one_picture_repeated_has_no_variety(self, world):
        values = world.draw_attributes("test", 1)[0].expand(1000, -1)
        found = errors(world, values)
        assert found["variety lost"] > 0.85
        assert found["dropped"] > 0.8
        assert found["overall"] > 0.8

    def test_attributes_that_cannot_be_read(self, world):
        values = world.draw_attributes("test", N)[0]
        whole = errors(world, values)
        half = errors(world, values.where(torch.arange(N)[:, None] < N // 2, -1))
        assert half["unreadable"] == 0.5
        assert half["overall"] == pytest.approx(0.5, abs=0.01)
        assert half["pairs"] == pytest.approx(whole["pairs"], abs=0.01)
        hidden = values.clone()
        hidden[::2, 0] = -1
        one, k = errors(world, hidden), len(world.attributes)
        assert one["unreadable"] == pytest.approx(1 / (2 * k))
        assert one["overall"] == pytest.approx(0.5 * (k - 1) / (k * (k - 1) / 2), abs=0.02)  # half of k - 1 pairs
        assert one["attributes"] == pytest.approx(whole["attributes"], abs=0.005)
        nothing = errors(world, torch.full_like(values, -1))
        assert nothing == {"overall": pytest.approx(1), "unreadable": 1}

    def test_a_floor_is_that_of_pictures_read_in_the_same_places(self, world):
        real = world.draw_attributes("test", 6_000)[0]
        rows = torch.arange(5_000)[:, None]
        few, many = (truth.floors(world, real, real[:5_000].where(rows < m, -1)) for m in (300, 5_000))
        assert set(few) == set(ERRORS) - {"copies"}
        assert few["pairs"] > 2 * many["pairs"]
        assert few["overall"] == pytest.approx(many["overall"])

    def test_copies_are_much_nearer_than_the_second_nearest(self):
        generator = torch.Generator().manual_seed(0)
        train, others = torch.randint(256, (2, 50, 3, 32, 32), generator=generator, dtype=torch.uint8)
        noise = torch.randint(-10, 11, train.shape, generator=generator)
        noisy = (train + noise).clamp(0, 255).to(torch.uint8)
        assert nearness(noisy, train).max() < 0.2
        assert nearness(others, train).min() > 0.7
        assert copies(torch.cat([noisy[:10], others[:30]]), others, train) == pytest.approx(0.25, abs=0.05)
        assert copies(others, others, train) < 0.02


class TestReader:
    def test_it_reads_pictures_and_abstains_from_others(self, toys):
        network = truth.fit(toys[:1_500], [3, 2], robust=True, epochs=6)
        values = read(network, toys.images[1_500:])
        assert (values >= 0).double().mean() > 0.95
        assert truth.disagreement(values, toys.values[1_500:]) < 0.001
        both = toys.images[1_500:1_750] // 2 + toys.images[1_750:] // 2
        differ = toys.values[1_500:1_750] != toys.values[1_750:]
        assert (read(network, both) >= 0)[differ].double().mean() < 0.1

    def test_a_shuffled_picture_has_the_same_pixels_elsewhere(self, toys):
        images = toys.images[:10].float()
        found = truth.shuffled(images, torch.Generator().manual_seed(1))
        assert not torch.equal(found, images)
        assert torch.equal(found.flatten(2).sort(2).values, images.flatten(2).sort(2).values)


def outcome(merits, mistakes, trainings):
    """Two worlds with the same sets: how good all views say that they are, and how bad they are."""
    rows = [
        {
            "name": str(i),
            "kind": "good" if bad < 0.5 else "bad",
            "training": training,
            "errors": {**dict.fromkeys(ERRORS, bad), "unreadable": bad / 2},
            "floors": dict.fromkeys(ERRORS, 0.0),
            "scores": {
                view: -good if view.startswith(("fid", "kid", "memorisation", "class-entropy")) else good
                for view in VIEWS
            },
        }
        for i, (good, bad, training) in enumerate(zip(merits, mistakes, trainings, strict=True))
    ]
    real = {"name": "real pictures", "training": None, "scores": dict.fromkeys(VIEWS, 0.0)}
    return {"worlds": {"a": {"sets": [*rows, real]}, "b": {"sets": [*rows, real]}}}


class TestStatistics:
    BAD = (0.9, 0.8, 0.7, 0.3, 0.2, 0.1)

    @pytest.fixture(autouse=True)
    def few_resamples(self, monkeypatch):
        monkeypatch.setattr(truth, "RESAMPLES", 300)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_view_that_agrees_or_lies(self, sign):
        merits = [-sign * bad - (sign == -1) * 2 for bad in self.BAD]
        made = outcome(merits, self.BAD, "abcdef")
        for readable in (True, False):
            found = correlations(made, readable)
            for view in VIEWS:
                of = found[view]["overall"]
                assert (of["value"], of["low"], of["high"]) == pytest.approx((sign, sign, sign))
        share, kinds = lies(made, "fid@pixels")
        assert share == ([0, 0, 0] if sign == 1 else [1, 1, 1])
        assert kinds["bad", "good"] == (18 * (sign == -1), 18)

    def test_a_view_that_sees_nothing_is_right_by_chance(self):
        share, _ = lies(outcome([0.0] * 6, self.BAD, "aabbcc"), "recall@pixels")
        assert share == [0.5, 0.5, 0.5]

    def test_two_lengths_of_one_training_are_no_two_trainings(self):
        merits = [-0.8, -0.9, -0.7, -0.1, -0.3, -0.2]
        apart = correlations(outcome(merits, self.BAD, "abcdef"), readable=True)["fid@pixels"]["overall"]
        together = correlations(outcome(merits, self.BAD, "aabbcc"), readable=True)["fid@pixels"]["overall"]
        assert apart["value"] == together["value"]
        assert together["high"] - together["low"] > apart["high"] - apart["low"]

    def test_what_is_clear(self):
        def row(overall, copies):
            return {"errors": {"overall": overall, "copies": copies}, "floors": {"overall": 0.0, "copies": 0.0}}

        assert truth.clearly_worse(row(0.5, 0.1), row(0.4, 0.1))
        assert truth.clearly_worse(row(0.5, 0.9), row(0.52, 0.1))
        assert not truth.clearly_worse(row(0.5, 0.1), row(0.48, 0.1))
        assert not truth.clearly_worse(row(0.5, 0.9), row(0.9, 0.1))


class TestCommitted:
    def test_the_pages_say_what_was_found(self):
        found = json.loads(truth.RESULTS.read_text("utf-8"))
        assert truth.RESULTS.with_suffix(".md").read_text("utf-8") == truth.everything(found)
        page = truth.PAGE.read_text("utf-8").partition(truth.MARKERS[0])[2].partition(truth.MARKERS[1])[0]
        table = truth.lies_table(found, truth.SHOWN, most=2, counts=False)
        assert page.strip() == f"{truth.facts(found)}\n\n{table}"

    def test_every_generator_has_every_score(self):
        for of in json.loads(truth.RESULTS.read_text("utf-8"))["worlds"].values():
            assert len([row for row in of["sets"] if row["training"]]) >= 20
            for row in of["sets"]:
                assert set(row["scores"]) == set(VIEWS)
                assert set(ALL) <= set(row["errors"]) <= set(ERRORS)
