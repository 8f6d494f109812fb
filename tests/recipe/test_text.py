"""YAML text: read by the rules of YAML 1.2, refused where it is ambiguous, written so that it reads back equal."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from omnimask.errors import UserError
from omnimask.recipe.yaml_text import dump, inline, parse

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


def read(text: str):
    return parse(text, "file.yaml").data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2.4e-3", 2.4e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("12", 12),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("2020-01-01", "2020-01-01"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("'1e-3'", "1e-3"),
        ("!!str 12", "12"),
        ("???", "???"),
        ("{a: ???}", {"a": "???"}),
        ("[???, ???, {b: ??? }]", ["???", "???", {"b": "???"}]),
    ],
)
def test_scalars_are_read_as_yaml_1_2_says(text: str, value: object) -> None:
    result = read(text)
    assert result == value
    assert type(result) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(read(".nan"))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "file.yaml:3:1", "duplicate key 'a', first on line 1"),
        ("a:\n  - {b: 1, b: 2}\n", "file.yaml:2:12", "duplicate key 'b', first on line 2"),
        ("a: [1, 2\nb: 3\n", "file.yaml:2:", "expected ',' or ']'"),
        ("a: !!python/object/apply:os.system [ls]\n", "file.yaml:1:4", "is not supported"),
        ("a: !custom x\n", "file.yaml:1:4", "the tag !custom is not supported"),
        ("a: &x 1\nb: *x\n", "file.yaml:2:4", "aliases"),
        ("a: 1\n--- \nb: 1\n", "file.yaml:2:1", "but found another document"),
        ("a: !!int abc\n", "file.yaml:1:4", "'abc' is not a valid int"),
        ("a: 0x" + "F" * 5000, "file.yaml:1:4", "is not a valid int"),
        ("? [a, b]\n: 1\n", "file.yaml:1:3", "a key must be"),
        ("a: 1\n\tb: 2", "file.yaml:2:1", "\\t"),
    ],
)
def test_what_is_refused_names_line_and_column(text: str, place: str, words: str) -> None:
    with pytest.raises(UserError) as info:
        read(text)
    assert info.value.messages[0].startswith(place)
    assert words in info.value.messages[0]


def test_control_characters_and_endless_nesting_are_refused() -> None:
    with pytest.raises(UserError, match=r"file\.yaml.*not allowed"):
        read("a: \x00")
    with pytest.raises(UserError, match="nested too deeply"):
        read("[" * 100_000)


def test_all_duplicate_keys_are_reported_at_once() -> None:
    with pytest.raises(UserError) as info:
        read("a: 1\na: 2\nb: 1\nb: 2\n")
    assert len(info.value.messages) == 2


def test_every_value_keeps_its_line() -> None:
    document = parse("a:\n  b:\n    - {c: 1}\n    -\n      d: 2\n", "file.yaml")
    assert str(document.place(("a", "b", 0, "c"))) == "file.yaml:3"
    assert str(document.place(("a", "b", 1, "d"))) == "file.yaml:5"
    assert str(document.place(("a", "b", 7, "x"))) == "file.yaml:2"


@given(VALUES)
def test_dumped_data_reads_back_equal(value: object) -> None:
    assert read(dump(value)) == value
    assert repr(read(dump(value))) == repr(value)


@given(VALUES)
def test_inline_text_is_one_line_that_reads_back_equal(value: object) -> None:
    text = inline(value)
    assert read(f"a: [{text}]") == {"a": [value]}


@given(st.text())
def test_readers_of_yaml_1_1_see_the_same_text(value: str) -> None:
    assert yaml.safe_load(dump({"key": value})) == {"key": value}
