"""Ranks, seeds and protocols."""

import pytest

from ganzoo_studies.ranking import BETTER, WORSE, rankings

GPU = {"cpu": "Test CPU", "gpu": "Test GPU"}


def table(records):
    return rankings(records)[0].tables[0]


def standing(made):
    return [(place.contender.newest.recipe, place.rank) for place in made.places]


def test_the_reported_weights_rank_and_equals_share_a_rank(record, score):
    made = table(
        [
            record("a", score(3.0), score(1.0, weights="raw")),
            record("b", score(2.0), score(9.0, weights="raw")),
            record("c", score(3.0)),
            record("d", score(2.5, weights="raw")),
            record("e", score(4.0)),
        ]
    )
    assert standing(made) == [("b", 1), ("d", 2), ("a", 3), ("c", 3), ("e", 5)]
    assert [place.mean for place in made.places] == [2.0, 2.5, 3.0, 3.0, 4.0]


def test_seeds_are_one_contender_with_a_mean_and_a_range(record):
    made = table([record("a", 4.0), record("a", 8.0, seed=1), record("a", 6.0, seed=2), record("b", 5.0)])
    assert standing(made) == [("b", 1), ("a", 2)]
    assert made.places[1].values == (4.0, 8.0, 6.0)
    assert made.places[1].mean == 6
    assert made.places[1].excess_in_words == "+5.9"


def test_another_machine_precision_engine_or_recipe_of_that_name_is_another_contender(record):
    others = [
        {"environment": GPU},
        {"environment": {"cpu": "Test CPU", "gpu": None, "instructions": ["AMX"]}},
        {"digest": "ab" * 32},
        {"precision": "bf16"},
        {"threads": 2},
        {"engine": "compile"},
    ]
    made = table([record("a", 4.0), *(record("a", 5.0 + n, **facts) for n, facts in enumerate(others))])
    assert [(place.rank, len(place.values)) for place in made.places] == [(rank, 1) for rank in range(1, 8)]


def test_on_a_gpu_another_number_of_threads_is_another_seed(record):
    (place,) = table([record("a", 4.0, environment=GPU), record("a", 5.0, seed=1, environment=GPU, threads=8)]).places
    assert len(place.values) == 2


def test_other_samples_of_a_run_are_no_other_seed_and_do_not_replace_its_own_score(record, score):
    made = table([record("a", score(9.0, sample_seed=1), score(4.0)), record("b", 5.0)])
    assert standing(made) == [("a", 1), ("b", 2)]
    assert made.places[0].values == (4.0,)


def test_scores_of_two_protocols_never_share_a_table(record, score):
    (ranking,) = rankings([record("a", score(4.0)), record("b", score(1.0, n_fake=500)), record("c", score(3.0))])
    assert [standing(made) for made in ranking.tables] == [
        [("c", 1), ("a", 2), ("b", None)],
        [("b", 1), ("a", None), ("c", None)],
    ]


def test_what_may_differ_between_comparable_scores_may_differ_in_a_table(record, score):
    (ranking,) = rankings([record("a", score(4.0, sample_seed=1)), record("b", score(3.0, n_floor=7))])
    assert len(ranking.tables) == 1


@pytest.mark.parametrize(("digest", "tables"), [("a", 1), ("b", 2)])
def test_a_folder_of_pictures_that_moved_is_the_same_reference(record, score, digest, tables):
    here = score(4.0, reference_digest="a" * 64, dataset_options={"path": "/a"})
    there = score(3.0, reference_digest=digest * 64, dataset_options={"path": "/b"})
    (ranking,) = rankings([record("a", here), record("b", there)])
    assert len(ranking.tables) == tables


@pytest.mark.parametrize(
    ("metric", "floor", "a", "b"), [("precision@x", 0.1, 0.2, 0.9), ("class-entropy@x", 2.3, 2.9, 2.0)]
)
def test_higher_is_better_where_it_is_and_the_floor_where_neither_is(record, score, metric, floor, a, b):
    scored = (record(name, score(value, metric=metric, floor=floor)) for name, value in (("a", a), ("b", b)))
    assert standing(table(list(scored))) == [("b", 1), ("a", 2)]


def test_failures_stand_last_with_their_sentence(record, failed):
    made = table([failed("a", "It broke."), record("b", 5.0), failed("b", "It broke, too.", seed=1)])
    assert standing(made) == [("b", 1), ("a", None)]
    first, last = made.places
    assert (len(first.values), first.contender.trouble) == (1, "1 of 2 seeds failed: It broke, too.")
    assert last.contender.trouble == "It broke."


def test_a_newest_seed_that_failed_hides_neither_samples_nor_compute(record, failed):
    runs = [record("a", 4.0, samples="samples/a.png"), failed("a", "It broke.", seed=1, flops_per_image=None)]
    ((contender,),) = (ranking.contenders for ranking in rankings(runs))
    assert (contender.newest.samples, contender.flops) == ("samples/a.png", 2e9)


def test_compute_is_that_of_the_whole_training(record):
    (ranking,) = rankings([record("a", 1.0), record("b", 1.0, flops_per_image=None)])
    assert [one.flops for one in ranking.contenders] == [2e9, None]


VIEWS = ("fid@mnist-cnn", "coverage@mnist-cnn", "recall@mnist-cnn")


def seen(score, fid, coverage, recall, **protocol):
    values = zip(VIEWS, (fid, coverage, recall), (0.1, 0.95, 0.86), strict=True)
    return [score(value, metric=name, floor=floor, **protocol) for name, value, floor in values]


def test_the_headline_s_metrics_stand_side_by_side_and_the_first_ranks(record, score):
    good, bad = seen(score, 1.0, 0.5, 0.4), seen(score, 2.0, 0.9, 0.8)
    (ranking,) = rankings([record("a", *reversed(good)), record("b", *bad)])
    assert tuple(view.metric.name for view in ranking.views) == VIEWS
    assert [standing(view)[0][0] for view in ranking.views] == ["a", "b", "b"]
    assert ranking.views[1].places[0].excess_in_words == "-0.05"
    assert not ranking.marks  # two recipes that swap are too few


@pytest.mark.parametrize(("scored", "first"), [("a", "fid@mnist-cnn"), ("abcde", "fid@mnist-ae")])
def test_a_view_that_few_were_scored_in_ranks_nobody(record, score, scored, first):
    newer = score(1.0, metric="fid@mnist-ae", extractor="mnist-ae")
    made = table([record(name, score(2.0), *([newer] if name in scored else [])) for name in "abcde"])
    assert made.metric.name == first


def test_recipes_that_are_given_labels_are_ranked_apart(record):
    plain, told = rankings([record("a", 3.0), record("b", 1.0, conditional=True), record("c", 2.0)])
    assert (plain.title, told.title) == ("mnist", "mnist, with labels")
    assert standing(plain.tables[0]) == [("c", 1), ("a", 2)]
    assert standing(told.tables[0]) == [("b", 1)]


def test_validation_and_test_images_are_never_in_one_column_or_side_by_side(record, score):
    tuned = seen(score, 1.0, 0.9, 0.8, split="validation", validation=10_000)
    (ranking,) = rankings([record("a", *seen(score, 3.0, 0.5, 0.4)), record("b", *tuned), record("c", score(2.0))])
    by_split = {table.metric.protocol: standing(table) for table in ranking.tables if table.metric.name == VIEWS[0]}
    assert sorted([name for name, rank in places if rank] for places in by_split.values()) == [["b"], ["c", "a"]]
    assert all("test images" in view.metric.protocol for view in ranking.views)


def test_a_recipe_whose_rank_differs_by_more_than_a_quarter_is_marked(record, score):
    def marks(runs):
        (ranking,) = rankings(runs)
        return {(one.newest.recipe, view): mark for (one, view), mark in ranking.marks.items()}

    # Ranks by fid are 1 to 8. By coverage the first one is the last, so that the others move up by one, which is no
    # more than a quarter of eight; by recall they agree.
    order = [0.1, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6]
    runs = [record(f"r{n}", *seen(score, n + 1.0, order[n], 0.8 - n / 10)) for n in range(8)]
    assert marks(runs) == {("r0", 1): WORSE}
    assert marks([record("x", *seen(score, 9.0, 0.99, 0.0)), *runs]) == {("r0", 1): WORSE, ("x", 1): BETTER}


def test_an_excess_has_the_deviation_of_real_vs_real(record, score):
    one = {**score(4.0), "sd": 0.0123}
    place = rankings([record("a", one)])[0].tables[0].places[0]
    assert place.excess_in_words == "+3.9 ± 0.012"
