"""Comparing scores with others: the newest one measured in the same way, or the reason why there is none."""

import json
from pathlib import Path

import pytest

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.evaluation.protocol import counterparts
from ganzoo.runs.folder import RunFolder, scores_in

ELSEWHERE = Path("elsewhere")


def record(metric="fid@tiny", value=1.0, weights=None, n=100, seed=0):
    protocol = {"metric": metric.partition("@")[0], "n_fake": n, "sample_seed": seed, "weights": weights}
    return {"metric": metric, "value": value, "floor": 0.1, "weights": weights, "protocol": protocol}


def values(records, others, where=ELSEWHERE):
    return counterparts([(one["metric"], one["protocol"]) for one in records], others, where)[0]


def with_options(digest, **options):
    one = record()
    return {**one, "protocol": {**one["protocol"], "dataset_options": options, "reference_digest": digest}}


EMA, RAW = record(weights="ema"), record(weights="raw")
UNWEIGHTED = {key: value for key, value in record(value=4.0).items() if key != "weights"}


@pytest.mark.parametrize(
    ("ours", "others", "expected"),
    [
        (
            [record(), record("is@tiny")],
            [record(value=2.0), record(value=3.0), record("kid@tiny", 4.0), record(value=5.0, n=200)],
            [3.0, None],
        ),
        (
            [EMA, RAW, record()],
            [record(value=2.0, weights="ema"), record(value=3.0, weights="raw")],
            [2.0, 3.0, 2.0],
        ),
        ([EMA], [record(value=2.0, weights="raw"), record(value=3.0, weights="ema", n=200)], [2.0]),
        ([EMA], [UNWEIGHTED], [4.0]),
        ([RAW], [record(value=5.0, weights="raw"), UNWEIGHTED], [5.0]),
        (
            [with_options("a" * 64, path="/home/me/pictures", size=32)],
            [with_options("a" * 64, path="/home/you/pictures", size=32)],
            [1.0],
        ),
        ([record("modes@tiny")], [record("modes@tiny", 8)], [8.0]),
    ],
    ids=[
        "the newest of the same metric and protocol",
        "the same kind of weights comes first",
        "other weights if there are none better",
        "no weights",
        "its own weights before none",
        "the same pictures in another folder",
        "an integer is found as a float",
    ],
)
def test_the_score_to_compare_with(ours, others, expected):
    found = values(ours, others)
    assert found == expected
    assert {type(value) for value in found} <= {float, type(None)}


def said(records, others):
    """The single message about scores none of which can be compared."""
    found, (sentence,) = counterparts([(one["metric"], one["protocol"]) for one in records], others, ELSEWHERE)
    assert found == [None] * len(records)
    return sentence


def test_other_protocols_are_reported_with_what_differs():
    sentence = (
        "fid@tiny: measured differently in elsewhere, so not compared (n_fake: 100 here, 200 there). "
        "Add --samples 200 to measure as there."
    )
    assert said([record()], [record(n=300), record(n=200)]) == sentence


def test_what_follows_from_another_difference_is_not_listed_and_metrics_share_a_message():
    def on(split, metric, n, **more):
        one = record(metric, n=n)
        reference = {"dataset": "mnist", "split": split, "reference_digest": split * 5, "n_real": len(split), **more}
        return {**one, "protocol": {**one["protocol"], **reference}}

    ours = [on("validation", metric, 300, validation=5_000) for metric in ("fid@tiny", "kid@tiny")]
    theirs = [on("test", metric, 500) for metric in ("fid@tiny", "kid@tiny")]
    assert said(ours, theirs) == (
        "fid@tiny, kid@tiny: measured differently in elsewhere, so not compared (n_fake: 300 here, 500 there; "
        "split: validation here, test there). Add --samples 500 --split test to measure as there."
    )
    # No option holds out other images, or returns those that a dataset has lost.
    fewer = on("validation", "fid@tiny", 300, validation=1_000, n_real=1_000)
    assert "(validation: 5000 here, 1000 there). Score both" in said(ours[:1], [fewer])
    assert "(n_real: 10 here, 9 there). Score both" in said(
        ours[:1], [on("validation", "fid@tiny", 300, validation=5_000, n_real=9, reference_digest="other")]
    )
    assert "(reference_digest: " in said(
        ours[:1], [on("validation", "fid@tiny", 300, validation=5_000, reference_digest="x")]
    )


def test_differing_options_of_a_dataset_are_reported():
    here, there = with_options("a" * 64, path="/pictures", size=32), with_options("b" * 64, path="/pictures", size=64)
    sentence = said([here], [there])
    assert "(dataset_options.size: 32 here, 64 there). Score both with `ganzoo eval`" in sentence
    unknown = with_options(None, path="/a"), with_options(None, path="/b")
    assert "dataset_options.path: /a here, /b there" in said([unknown[0]], [unknown[1]])


def test_having_nothing_in_common_is_reported():
    sentence = "elsewhere has no score by fid@tiny, is@tiny. Score it first with `ganzoo eval`."
    assert said([record(), record("is@tiny")], [record("kid@tiny")]) == sentence


def refused(read):
    """The refusal and its remedy."""
    with pytest.raises(GanzooError) as caught:
        read()
    return caught.value.sentence, caught.value.remedy


def test_refusals_name_the_file_and_the_remedy(tmp_path):
    other, broken = tmp_path / "other.jsonl", tmp_path / "broken.jsonl"
    other.write_text("[1]")
    broken.write_text('{"metric"')
    remedy = "Give a run or a scores file."
    assert refused(lambda: scores_in(other)) == (f"{other} holds something other than scores.", remedy)
    assert refused(lambda: scores_in(broken)) == (f"{broken} holds something other than scores.", remedy)
    assert refused(lambda: scores_in(tmp_path / "nothing")) == (
        f"No such run or scores file: {tmp_path}/nothing.",
        remedy,
    )


@pytest.mark.parametrize("key", ["metric", "value", "protocol"])
@pytest.mark.parametrize("other", [None, "absent", [1]])
def test_incomplete_lines_of_a_file_of_scores_are_skipped(tmp_path, key, other):
    damaged = record()
    if other == "absent":
        del damaged[key]
    else:
        damaged[key] = other
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record()) + "\n" + json.dumps(damaged))
    assert scores_in(path) == [record()]


def test_an_integer_is_a_score_and_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(f"\n  \n{json.dumps(record('modes@tiny', 8))}\n\t\n{json.dumps(record(value=0.5))}")
    assert [one["value"] for one in scores_in(path)] == [8, 0.5]


def test_the_scores_of_a_run_are_those_in_its_folder(zoo, tmp_path):
    info = {"recipe": "vanilla-ring", "shape": [1, 1, 2], "classes": 8}
    run = RunFolder.create(tmp_path / "run", load_recipe("vanilla-ring", zoo), info)
    run.append_score(*({**record(value=value, weights="raw"), "images": 64} for value in (0.5, 8.0)))
    assert [one["value"] for one in scores_in(run.path)] == [0.5, 8.0]


def test_the_refusal_is_about_the_score_that_would_have_matched_best():
    others = [record(n=200, weights="raw"), record(n=300, weights="ema"), record(n=400, weights="raw")]
    assert "n_fake: 100 here, 300 there" in said([record(weights="ema")], others)


def test_scores_that_are_missing_or_measured_only_differently_are_left_out_with_a_message():
    coming = [(one["metric"], one["protocol"]) for one in (record(), record("kid@tiny"), record("is@tiny"))]
    found, sentences = counterparts(coming, [record(value=2.0), record("kid@tiny", 4.0, n=200)], ELSEWHERE)
    assert found == [2.0, None, None]
    differently, missing = sentences
    assert differently.startswith("kid@tiny: measured differently in elsewhere")
    assert missing == "elsewhere has no score by is@tiny. Score it first with `ganzoo eval`."
