"""Overrides and extension, on documents alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from omnimask.errors import UserError
from omnimask.recipe.overrides import apply
from omnimask.recipe.problems import Problems
from omnimask.recipe.yaml_text import inline, parse

KEYS = st.text("abc", min_size=1, max_size=3)
TREES = st.dictionaries(KEYS, st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=3)), max_size=4)


def override(text: str, *overrides: str):
    problems = Problems()
    document = apply(parse(text, "file.yaml"), overrides, problems)
    return document, problems


def test_values_are_replaced_added_and_created() -> None:
    document, problems = override("a: {b: 1, c: [1, {d: 2}]}", "a.b=1e-3", "a.c.1.d=[x, 2]", "e.f.g=true", "a.c.0=")
    problems.check()
    assert document.data == {"a": {"b": 1e-3, "c": [None, {"d": ["x", 2]}]}, "e": {"f": {"g": True}}}


def test_places_of_overridden_values_are_the_command_line() -> None:
    document, _ = override("a: {b: {c: 1}}\nz: 0", "a.b={d: 2}", "new.key=1")
    assert str(document.place(("a", "b", "d"))) == "command line: a.b={d: 2}"
    assert str(document.place(("new",))) == "command line: new.key=1"
    assert str(document.place(("a",))) == "file.yaml:1"
    assert document.is_override(("a", "b", "d"))
    assert not document.is_override(("a", "x"))
    assert ("a", "b", "c") not in document.places


def test_every_bad_override_is_reported_in_order() -> None:
    _, problems = override("a: {b: 1, c: [1]}", "foo", "a.b.x=1", "a.c.5=1", "a.c.x=1", "a..b=1", "=1", "a.b=[1")
    try:
        problems.check()
    except UserError as error:
        messages = error.messages
    assert [message.partition(": ")[2].partition(":")[0] for message in messages] == [
        "foo",
        "a.b.x=1",
        "a.c.5=1",
        "a.c.x=1",
        "a..b=1",
        "=1",
        "a.b=[1",
    ]
    assert "a.c has 1 entries (the first is 0); entry 5 does not exist" in messages[2]


def test_a_value_may_hold_an_equals_sign() -> None:
    document, problems = override("a: 1", "a=b=c")
    problems.check()
    assert document.data == {"a": "b=c"}


def merged(base: str, over: str):
    return parse(over, "over.yaml").merged_into(parse(base, "base.yaml", 1))


def test_mappings_merge_and_lists_are_replaced() -> None:
    document = merged("a: {b: 1, c: [1, 2]}\nd: 1", "a: {c: [3], e: 4}")
    assert document.data == {"a": {"b": 1, "c": [3], "e": 4}, "d": 1}
    assert str(document.place(("a", "b"))) == "base.yaml:1"
    assert str(document.place(("a", "c", 0))) == "over.yaml:1"
    assert ("a", "c", 1) not in document.places


def test_a_component_of_another_name_replaces_and_of_the_same_name_merges() -> None:
    assert merged("m: {name: random, ratio: 0.5}", "m: {name: span}").data == {"m": {"name": "span"}}
    assert merged("m: {name: random, ratio: 0.5}", "m: {ratio: 0.6}").data == {"m": {"name": "random", "ratio": 0.6}}
    assert merged("m: {ratio: 0.5}", "m: {name: random}").data == {"m": {"ratio": 0.5, "name": "random"}}


@given(TREES, TREES)
def test_what_the_extending_recipe_says_holds_and_every_value_has_a_place(base: dict, over: dict) -> None:
    document = merged("{" + inline(base)[1:], "{" + inline(over)[1:])

    def check(data, expected, path) -> None:
        assert path in document.places
        if isinstance(expected, dict):
            for key, value in expected.items():
                check(data[key], value, (*path, key))
        else:
            assert data == expected
            assert document.places[path].source == "over.yaml"

    check(document.data, over, ())

    def placed(data, path) -> None:
        assert path in document.places
        for key, value in data.items() if isinstance(data, dict) else ():
            placed(value, (*path, key))

    placed(document.data, ())


@given(TREES, KEYS, KEYS, st.integers())
def test_an_override_changes_only_its_own_key(tree: dict, first: str, second: str, value: int) -> None:
    before = {**tree, "zz": {"kept": 1}}
    document, problems = override(inline(before), f"zz.{first}.{second}={value}")
    problems.check()
    assert document.data == {**tree, "zz": {"kept": 1, first: {second: value}}}
