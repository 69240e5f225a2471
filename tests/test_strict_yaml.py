"""YAML is read as people write it, without the features that surprise them."""

import math

import pytest

from ganzoo.errors import GanzooError
from ganzoo.registry.strict import MAX_BYTES, dump, parse, quoted, read_mapping


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2E+3", 2000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-3", -3),
        ("1_200_000", 1_200_000),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
    ],
)
def test_plain_values(text, value):
    found = parse(f"key: {text}", "here")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "010", "1:30", "2024-01-01", "1e", "e5", "1.2.3", "=", "<<"]
)
def test_what_yaml_1_1_would_turn_into_something_else_is_text(text):
    assert parse(f"key: {text}", "here") == {"key": text}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ["line 3, column 1", "'a'", "duplicate"]),
        ("a:\n  b: {c: 1, c: 2}", ["line 2, column 13", "'c'"]),
        ("a: &x 1", ["line 1, column 4", "anchors"]),
        ("a: *x", ["line 1, column 4", "anchors"]),
        ("a: !!python/name:os.system", ["line 1", "tag", "os.system"]),
        ("a: !!int '3'", ["line 1, column 4", "tag"]),
        ("a: 1\n---\nb: 2", ["line 2, column 1", "another document"]),
        ("1: a", ["line 1, column 1", "keys must be text"]),
        ("{[1]: a}", ["keys must be text"]),
        ("a: [1, 2\nb: 3", ["line 2", "expected"]),
        ("a: b: c", ["line 1, column 5"]),
        ("a: \x07", ["here"]),
        ("a: " + "[" * 40 + "]" * 40, ["line 1", "levels"]),
        ("a: " + "9" * 5000, ["here", "not valid YAML"]),
    ],
)
def test_refusals_say_where_and_what(text, words):
    with pytest.raises(GanzooError) as caught:
        parse(text, "here")
    sentence = str(caught.value)
    assert sentence.startswith("here")
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


def test_nesting_is_refused_before_it_costs_anything():
    with pytest.raises(GanzooError, match="nest"):
        parse("[" * 400_000, "here")


def test_files(tmp_path):
    path = tmp_path / "recipe.yaml"

    def refusal(content):
        path.write_bytes(content)
        with pytest.raises(GanzooError) as caught:
            read_mapping(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    assert "it is empty" in refusal(b"")
    assert "it is empty" in refusal(b"# only a comment\n")
    assert "a list" in refusal(b"- 1\n- 2\n")
    assert "a single value" in refusal(b"word\n")
    assert "not valid UTF-8" in refusal(b"a: \xff\n")
    assert "byte 3" in refusal(b"a: \xff\n")
    assert "more than 1,000,000" in refusal(b"#" * (MAX_BYTES + 1))
    path.write_bytes(b"\xef\xbb\xbfa: 1\n" + b"#" * 10)
    assert read_mapping(path) == {"a": 1}
    path.write_bytes(b"a: 1\n#" + b"#" * (MAX_BYTES - 6))
    assert read_mapping(path) == {"a": 1}


@pytest.mark.parametrize(("name", "words"), [("missing.yaml", "No such file: "), ("", "is not a regular file")])
def test_what_is_no_file_is_said(tmp_path, name, words):
    with pytest.raises(GanzooError, match=words):
        read_mapping(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["a\x85b", "\x85", "a\x7fb\x9fc", "a\u2028b\u2029", "a\r\nb\t", "\ufeffé 😀", '"\\', "x" * 200 + "\x85 y"]
)
def test_characters_that_yaml_takes_for_something_else_are_read_back(text):
    value = {"key": text, text: [text]}
    assert parse(dump(value), "dumped") == value
    assert parse(quoted(text), "quoted") == text
    assert quoted(text).isprintable()


def test_numbers_that_json_spells_differently_are_read_back():
    value = {"NaN": [math.inf, -math.inf, 'Infinity "NaN" \\'], "-Infinity": math.nan}
    found = parse(quoted(value), "quoted")
    assert math.isnan(found.pop("-Infinity"))
    assert found == {"NaN": value["NaN"]}


def test_everything_that_is_dumped_is_read_back():
    """Whatever else there is, tests/test_laws.py draws."""
    texts = ["1e-4", "yes", "no", "010", "1:30", "null", "", "~", "a: b", "# no", "- x", "true", "1", "<<", " x "]
    value = {
        "texts": texts,
        "keys": {text: index for index, text in enumerate(texts)},
        "numbers": [1e-5, 2e-4, 1e22, -1.5e-300, 0.0, 1, 10**12, 2**63 - 1, True, False, None],
        "nested": {"list": [], "mapping": {}, "deep": [{"a": [1, {"b": 2}]}]},
    }
    again = parse(dump(value), "dumped")
    assert again == value
    assert [type(number) for number in again["numbers"]] == [type(number) for number in value["numbers"]]
