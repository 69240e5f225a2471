"""Pictures from `module:function`: it is called as documented, and refused with a message if anything is unclear."""

import json
import signal
import sys

import pytest
import torch

from ganzoo import cli
from ganzoo.errors import GanzooError
from ganzoo.evaluation.evaluate import call, is_function

MODULE = """
import os
import sys
import warnings

import numpy as np
import torch


def grey(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 8), dtype=np.uint8)


def last(n, seed):
    return np.stack([grey(n, seed)] * 3, axis=3)


def first(n, seed):
    return torch.from_numpy(np.stack([grey(n, seed)] * 3, axis=1))


def labelled(n, seed):
    return grey(n, seed), [seed] * n


class Made:
    @staticmethod
    def here(n, seed):
        return grey(n, seed)[:, ::-1]


def ambiguous(n, seed):
    return np.zeros((n, 3, 8, 3), np.uint8)


def few(n, seed):
    return grey(n - 1, seed)


def points(n, seed):
    return torch.rand(n, 1, 1, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def points_as_saved(n, seed):
    return points(n, seed)[:, 0].numpy()


def floats(n, seed):
    return torch.zeros(n, 6, 8)


def array_of_floats(n, seed):
    return np.zeros((n, 6, 8))


def flat(n, seed):
    return grey(n, seed).reshape(n, 48)


def five(n, seed):
    return np.zeros((n, 5, 6, 8), np.uint8)


def nothing(n, seed):
    return None


def half_labels(n, seed):
    return grey(n, seed), [0.5] * n


def broken(n, seed):
    raise ValueError("no luck today.")


def careless(n):
    return grey(n, 0)


number = 3


def exits(n, seed):
    sys.exit(0)


def generator(n, seed):
    yield from grey(n, seed)


def meta(n, seed):
    return torch.zeros(n, 1, 6, 8, dtype=torch.uint8, device="meta")


def nested(n, seed):
    warnings.simplefilter("ignore")
    return torch.nested.nested_tensor([torch.zeros(6, 8, dtype=torch.uint8)] * n)


def named_labels(n, seed):
    return grey(n, seed), ["seven"] * n


def large_labels(n, seed):
    return grey(n, seed), [2**70] * n


def ragged_labels(n, seed):
    return grey(n, seed), [[0], [0, 1]] * n


def meta_labels(n, seed):
    return grey(n, seed), torch.zeros(n, dtype=torch.int64, device="meta")


def complex_labels(n, seed):
    return grey(n, seed), [1j] * n


def true_labels(n, seed):
    return grey(n, seed), [True] * n


class Odd:
    def __getattr__(self, name):
        raise ValueError("no attributes")


odd = Odd()


def careful(n, seed):
    print("on standard output")
    return np.random.default_rng(seed).uniform(-1, 1, (n, 1, 2)).astype(np.float32)


def reckless(n, seed):
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    sys.path.clear()
    os.chdir("/")
    return careful(n, seed)
"""


@pytest.fixture(autouse=True)
def cache():
    """The session's cache, which other tests have filled: features of real images are not tested here."""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the working folder."""
    (tmp_path / "made_up.py").write_text(MODULE)
    (tmp_path / "made_wrong.py").write_text("import there_is_no_such_thing")
    (tmp_path / "made_main.py").write_text("import sys\nsys.exit('usage: made_main')")
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("made_up", "made_wrong", "made_main"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("a:b", True),
        ("a.b.c:D.e", True),
        ("runs/a", False),
        ("a", False),
        ("C:/x", False),
        ("a:b:c", False),
        (":", False),
    ],
)
def test_what_names_a_function(what, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_function(what) is named


def test_a_folder_of_that_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").mkdir()
    assert not is_function("a:b")


def test_every_layout_gives_the_same_pixels(module):
    before = list(sys.path)
    grey = call("made_up:grey", 5, 2)
    assert sys.path == before
    assert grey.images.shape == (5, 1, 6, 8)
    assert grey.notes == ("5 images, 6x8 grey, from made_up:grey, seed 2.",)
    assert grey.labels is None
    for name in ("first", "last"):
        assert torch.equal(call(f"made_up:{name}", 5, 2).images, grey.images.repeat(1, 3, 1, 1))
    assert not torch.equal(call("made_up:grey", 5, 3).images, grey.images)
    assert torch.equal(call("made_up:Made.here", 5, 2).images, grey.images.flip(2))


def test_a_function_may_return_points(module):
    found = call("made_up:points", 5, 2)
    assert found.images.shape == (5, 1, 1, 2)
    assert found.images.dtype == torch.float32
    assert found.notes == ("5 points, 2 dimensions, from made_up:points, seed 2.",)
    assert torch.equal(call("made_up:points_as_saved", 5, 2).images, found.images)


def test_labels_may_be_returned_with_the_images(module):
    assert call("made_up:labelled", 4, 7).labels.tolist() == [7, 7, 7, 7]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("made_down:grey", "made_down:grey cannot be imported: ModuleNotFoundError: No module named 'made_down'"),
        ("made_wrong:grey", "cannot be imported: ModuleNotFoundError: No module named 'there_is_no_such_thing'"),
        ("made_up:gray", "made_up:gray cannot be imported: AttributeError: module 'made_up' has no attribute 'gray'"),
        ("made_up:Made.there", "has no attribute 'there'"),
        ("made_up:number", r"made_up:number\(5, 0\) failed: TypeError: 'int' object is not callable"),
        ("made_up:ambiguous", r"shape \(5, 3, 8, 3\), in which the channels could be the second axis or the last"),
        ("made_up:few", "returned 4 images, but 5 were requested"),
        ("made_up:floats", "values of type float32"),
        ("made_up:array_of_floats", "values of type float64"),
        ("made_up:flat", r"returned shape \(5, 48\)"),
        ("made_up:five", r"returned shape \(5, 5, 6, 8\)"),
        ("made_up:nothing", "returned NoneType instead of"),
        ("made_up:half_labels", "labels of type torch.float32"),
        ("made_up:broken", r"made_up:broken\(5, 0\) failed: ValueError: no luck today\. It is called as"),
        ("made_up:careless", "failed: TypeError: careless"),
    ],
)
def test_anything_but_a_set_of_images_is_refused(module, what, sentence):
    with pytest.raises(GanzooError, match=sentence):
        call(what, 5, 0)


@pytest.fixture
def command(module, monkeypatch, capsys):
    """Runs ``ganzoo eval`` on a function in this process: its exit code, standard output and standard error."""
    before = signal.getsignal(signal.SIGTERM)

    def evaluate(what, *options):
        words = ["ganzoo", "eval", what, "--samples", "5", "--device", "cpu", "--json", *options]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    yield evaluate
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("made_main:grey", "made_main:grey cannot be imported: SystemExit: usage: made_main."),
        ("made_up:exits", "made_up:exits(5, 0) failed: SystemExit: 0."),
        ("made_up:odd.there", "made_up:odd.there cannot be imported: ValueError: no attributes."),
        ("made_up:generator", "returned generator instead of an array or tensor."),
        ("made_up:meta", "returned images that cannot be read: NotImplementedError: "),
        ("made_up:nested", "returned images that cannot be read: "),
        ("made_up:named_labels", "returned labels that cannot be read: ValueError: "),
        ("made_up:large_labels", "returned labels that cannot be read: "),
        ("made_up:ragged_labels", "returned labels that cannot be read: ValueError: "),
        ("made_up:meta_labels", "returned labels that cannot be read: NotImplementedError: "),
        ("made_up:complex_labels", "returned labels of type torch.complex64"),
        ("made_up:true_labels", "returned labels of type torch.bool"),
    ],
)
def test_an_odd_function_is_a_one_line_error_of_the_command(command, what, sentence):
    code, out, err = command(what)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_what_a_function_prints_or_changes_does_not_reach_the_scores(command):
    told = [command(f"made_up:{name}", "--metric", "fid@ring", "--dataset", "ring") for name in ("careful", "reckless")]
    assert [code for code, _, _ in told] == [0, 0], told
    careful, reckless = (json.loads(out)["scores"] for _, out, _ in told)
    assert careful == reckless
    assert all("on standard output" in err for _, _, err in told)
