"""No first-party module or recipe has a measured number typed by hand: such numbers hold only for one day's code.

The test reads prose: comments of recipes, comments and docstrings of modules. A sentence breaks the rule if

- a measure is followed by a number, with at most three words and the signs ``, : = ( ~ @`` between
  ("a Fréchet distance of 122", "accuracy 0.91"), unless it is a section's or an equation's,
- or a number has a unit of results: per cent, seconds, minutes, hours, images a second, or "times" with a comparison
  ("40 %", "112 s", "1.75 times as long"),
- or it says how far into a training something was seen ("after 120,000 images").

A sentence that names its source, the paper or the authors, may quote their number. Names of metrics (``fid@mnist-cnn``)
have no number of their own.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import ganzoo_plugins

FOLDER = Path(ganzoo_plugins.__file__).parent
FILES = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".py", ".yaml"))

MEASURES = (
    r"(?:IS|(?i:accuracy|coverage|density|distance|errors?|fid|inception score|kid|kl|precision|recall|scored?|scores))"
)
NUMBER = r"(?<![\w.^_-])(?<!section )(?<!equation )\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w^'-])"
BETWEEN = r"(?:[ ,:=(~@`]+[a-z-]+){0,3}[ ,:=(~`]+"
MEASURED = (
    re.compile(rf"\b{MEASURES}\b{BETWEEN}{NUMBER}"),
    re.compile(rf"{NUMBER} ?(?:%|percent\b|per cent\b|(?:milli)?seconds?\b|minutes?\b|hours?\b|ms\b|s\b|h\b)"),
    re.compile(rf"{NUMBER} images (?:a|per) second\b"),
    re.compile(rf"\bafter {NUMBER} (?:images|steps|epochs|batches)\b"),
    re.compile(rf"(?:{NUMBER} times|\b\d+(?:\.\d+)?x) (?:as|more|less|fewer|[a-z]+er)\b"),
)
QUOTES = re.compile(r"\b(?:paper|papers|authors)\b")


def measured(prose: str) -> list[str]:
    """The sentences of a text that have a measured number."""
    sentences = re.split(r"(?<=[.;!?])\s+|\n\s*\n", prose)
    return [
        " ".join(sentence.split())
        for sentence in sentences
        if not QUOTES.search(sentence) and any(rule.search(" ".join(sentence.split())) for rule in MEASURED)
    ]


def prose(path: Path) -> Iterator[str]:
    """Each block of comments, and each docstring."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        lines = [line.partition("#")[2] if re.search(r"(?:^|\s)#", line) else "\n" for line in text.splitlines()]
        yield from "\n".join(lines).split("\n\n")
        return
    block = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            block += token.string.lstrip("# ") + "\n"
        elif block and token.type not in (tokenize.NL, tokenize.NEWLINE):
            yield block
            block = ""
        if token.type == tokenize.STRING and token.string.startswith('"""'):
            yield token.string.strip('"')
    yield block


def test_no_number_was_typed_after_a_measurement() -> None:
    assert len(FILES) > 100
    assert [(path.name, sentence) for path in FILES for text in prose(path) for sentence in measured(text)] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Without it G never moves (a Fréchet distance of 122 after 120,000 images).",
        "G draws one image for each label (an accuracy of 0.91 and more).",
        "the Fréchet distance is 11 with 32 numbers, 6.3 with 16, 4.9 with 10.",
        "Summed over all parameters the distance is 7 after 200 steps.",
        "It scores 1.38 here.",
        "FID: 4.3",
        "fid@mnist-cnn 0.69 at the end",
        "an IS of 9.1",
        "recall = 0.5",
        "A test error of 3 is what it reaches.",
        "The samples are 40% better.",
        "It is trained in 112 s.",
        "ready after 10 minutes",
        "It sees 3,600 images a second.",
        "It costs 1.75 times as much time an image.",
        "2x faster than eager",
        "the more G keeps to the easy ones (after 50,000 images 13 with 0.5 and 7.4 with 0.75).",
    ],
)
def test_a_planted_number_is_found(sentence: str) -> None:
    assert measured(f"First it learns. {sentence}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("planted-mnist.yaml", "loss: hinge\n# First it learns. An accuracy of 0.91.\nema: 0.999\n"),
        ("planted.py", '"""A page.\n\nFirst it learns. An accuracy of 0.91.\n"""\n\nx = 1\n'),
        ("commented.py", "x = 1\n# First it learns. An accuracy\n# of 0.91.\n"),
    ],
)
def test_it_is_found_in_comments_and_docstrings(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert [found for text in prose(tmp_path / name) for found in measured(text)] == ["An accuracy of 0.91."]


@pytest.mark.parametrize(
    "sentence",
    [
        "The paper reports an accuracy of 0.95.",
        "The metrics are fid@mnist-cnn and accuracy@mnist-cnn.",
        "The distance is a sum over all parameters, hence the small default of 1e-3.",
        "Where D is best, D/(1 - D) is the density ratio of data to fakes.",
        "r_t is 0 while D cannot tell.",
        "Images uint8 (n, 1, h, w) or float from 0 to 255.",
        "The averages begin after 1,000 steps in the authors' code.",
        "Each step is 4 times repeated, and 28x28 becomes 14x14.",
        "Squared distance of each logit to its label. 1 is the default.",
        "Chosen for these networks; 2e-4, [0.5, 0.999] and batches of 32.",
    ],
)
def test_settings_and_equations_are_no_measurements(sentence: str) -> None:
    assert measured(sentence) == []
