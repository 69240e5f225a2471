"""The blind comparison: the pairs of sets, the agreement with the answers, and the page made from committed files."""

import json

import numpy as np
import pytest

import blind
from blind import NAMES, QUESTIONS, ROUNDS, agreement, pairs, strengths

PAGE = blind.RESULTS.parents[1] / "docs" / "metrics.md"


def answered(order):
    """Answers of somebody who ranks the sets like that, from the best on."""
    rank = {name: i for i, name in enumerate(order)}
    return [dict.fromkeys(QUESTIONS, "left" if rank[a] < rank[b] else "right") for a, b in pairs()]


def test_every_set_meets_ten_others_once():
    met = pairs()
    assert len(NAMES) == len(set(NAMES)) == 20
    assert len({frozenset(pair) for pair in met}) == len(met) == ROUNDS * 10
    assert {name: sum(name in pair for pair in met) for name in NAMES} == dict.fromkeys(NAMES, ROUNDS)
    assert pairs() == met


def test_answers_of_somebody_who_is_sure_give_that_order_back():
    order = list(np.random.default_rng(1).permutation(NAMES))
    found = strengths(answered(order), "variety")
    recovered = sorted(NAMES, key=lambda name: -found[name])
    assert abs(np.subtract([recovered.index(name) for name in order], range(20))).mean() < 2
    scores = {name: {"fid@a": float(i), "coverage@a": -float(i), "fid@b": -float(i)} for i, name in enumerate(order)}
    agreed = agreement(answered(order), scores)
    for view, sign in {"fid@a": 1, "coverage@a": 1, "fid@b": -1}.items():
        assert agreed[view]["legibility"]["pairs"] == (1 if sign == 1 else 0)
        assert sign * agreed[view]["legibility"]["spearman"] > 0.9
        assert sign * agreed[view]["variety"]["kendall"] > 0.8


def test_questions_are_kept_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(blind, "RESULTS", tmp_path)
    said = iter(["me", "l", "", "x", "r", "Right", "look", "left"])

    def answer(prompt):
        try:
            return next(said)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(KeyboardInterrupt):
        blind.ask(tmp_path)
    kept = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert kept["viewer"] == "me"
    assert kept["answers"] == [
        {"legibility": "left", "variety": "right"},
        {"legibility": "right", "variety": "left"},
    ]
    monkeypatch.setattr("builtins.input", lambda prompt: "somebody else")
    with pytest.raises(SystemExit, match="has the answers of 'me'"):
        blind.ask(tmp_path)
    assert json.loads((tmp_path / "answers.json").read_text(encoding="utf-8")) == kept


class TestCommitted:
    def test_every_pair_has_an_answer_and_every_set_a_score(self):
        answers = json.loads((blind.RESULTS / "answers.json").read_text(encoding="utf-8"))
        assert len(answers["answers"]) == len(pairs())
        assert {side for answer in answers["answers"] for side in answer.values()} == {"left", "right"}
        scores = json.loads((blind.RESULTS / "scores.json").read_text(encoding="utf-8"))
        assert tuple(scores) == NAMES

    def test_the_page_says_what_was_found(self):
        page = PAGE.read_text(encoding="utf-8")
        assert page.partition(blind.BEGIN)[2].partition(blind.END)[0].strip() == blind.report()
