"""Which of a run's scores are final."""

from ganzoo.config.loading import load_recipe
from ganzoo.runs.records import final_scores, is_own, own_protocol

OWN = {"dataset": "mnist", "split": "test", "n_fake": 500, "sample_seed": 0}


def score(value, images=1000, weights="ema", metric="fid@x", **protocol):
    told = {**OWN, "extractor_digest": "fc64", "n_floor": 500, "weights": weights, **protocol}
    return {"metric": metric, "value": value, "weights": weights, "images": images, "protocol": told}


def values(*scores, own=OWN):
    return [one["value"] for one in final_scores(scores, own)]


def test_the_final_scores_are_the_newest_of_each_at_the_last_point(zoo):
    assert values(score(9.0, images=500), score(4.0), score(5.0, weights="raw"), score(4.5)) == [4.5, 5.0]
    assert values(score(4.0), score(0.9, metric="recall@x"), score(4.5, n_floor=7)) == [4.5, 0.9]
    assert values() == []


def test_the_recipes_own_scores_come_first_alongside_other_protocols():
    others = [score(1.0, split="train"), score(2.0, n_fake=50), score(3.0, sample_seed=7), score(3.5, dataset="rings")]
    assert values(*others, score(4.0)) == [4.0, 1.0, 2.0, 3.0, 3.5]
    assert values(score(4.0), *others) == [4.0, 1.0, 2.0, 3.0, 3.5]


def test_averaged_weights_come_first_whichever_were_scored_first():
    assert values(score(5.0, weights="raw"), score(4.0)) == [4.0, 5.0]


def test_a_score_of_the_model_itself_has_no_samples_and_may_be_the_recipe_s_own():
    def of_model(value, **protocol):
        found = score(value, metric="test-error", **protocol)
        del found["protocol"]["n_fake"], found["protocol"]["sample_seed"]
        return found

    assert is_own(of_model(0.1), OWN)
    assert not is_own(of_model(0.1, split="train"), OWN)
    assert values(of_model(0.3, split="train"), of_model(0.2), score(4.0)) == [0.2, 4.0, 0.3]


def test_another_extractor_with_the_same_name_is_another_protocol():
    assert values(score(4.0), score(5.0, extractor_digest="0000")) == [4.0, 5.0]


def test_a_recipes_own_protocol_is_the_one_it_requests(zoo):
    recipe = load_recipe("vanilla-mnist", zoo, ["evaluate.samples=500"])
    assert own_protocol(recipe) == OWN
