"""Names to classes: lazy, checked, with errors that say what to do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from omnimask.component import Component, named
from omnimask.errors import UserError
from omnimask.registry import KINDS, Failure, Plugin, Registrar, Registry


class Random:
    def __init__(self, context: Any, *, ratio: float = 0.5) -> None:
        if not 0 < ratio < 1:
            raise ValueError(f"ratio {ratio} must lie between 0 and 1")
        self.context, self.ratio = context, ratio


class Swallows:
    def __init__(self, context: Any, **options: Any) -> None: ...


def registrar_of(name: str = "a", version: str = "1.0") -> Registrar:
    return Registrar(Plugin(name, f"{name}-dist", version))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes an importable module."""
    monkeypatch.syspath_prepend(tmp_path)

    def package(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)

    return package


def refusal(registry: Registry, kind: str = "masker", name: str = "random") -> str:
    with pytest.raises(UserError) as info:
        registry.load(kind, name)
    return str(info.value)


def test_every_kind_has_its_method() -> None:
    registrar = registrar_of()
    for kind in KINDS:
        getattr(registrar, f"add_{kind}")("x", "module:Class")
    assert [(entry.kind, entry.name) for entry in Registry([registrar]).entries()] == [(kind, "x") for kind in KINDS]
    assert {entry.distribution for entry in Registry([registrar]).entries("masker")} == {"a-dist"}


def test_references_are_imported_when_first_used(package) -> None:
    package("lazy_component", "class Holder:\n    class Inner:\n        def __init__(self, context): ...\n")
    registrar = registrar_of()
    registrar.add_masker("nested", "lazy_component:Holder.Inner")
    registrar.add_masker("gone", "lazy_componentt:Inner")
    registry = Registry([registrar])
    assert registry.load("masker", "nested").__name__ == "Inner"
    assert "cannot be imported from lazy_componentt:Inner: ModuleNotFoundError: No module named" in refusal(registry, name="gone")


@pytest.mark.parametrize("reference", ["module", "module:", ":Class", ""])
def test_references_have_one_form(reference: str) -> None:
    with pytest.raises(ValueError, match="must have the form"):
        registrar_of().add_masker("x", reference)


def test_a_plugin_registers_a_name_once_and_known_kinds_only() -> None:
    registrar = registrar_of()
    registrar.add_masker("x", "m:C")
    registrar.add_target("x", "m:C")
    with pytest.raises(ValueError, match=r"registered twice by plugin 'a' of a-dist 1.0"):
        registrar.add_masker("x", "m:D")
    with pytest.raises(ValueError, match="did you mean 'masker'"):
        registrar.add("maskr", "x", "m:D")


def test_unknown_names_get_a_hint_and_the_list() -> None:
    registrar = registrar_of()
    registrar.add_masker("random", Random)
    registrar.add_joint_masker("together", Random)
    registry = Registry([registrar], left_out=["text"])
    message = refusal(registry, name="randm")
    assert message == "unknown masker 'randm' (did you mean 'random'?); installed: random; disabled by OMNIMASK_PLUGINS: text"
    assert "a joint_masker has this name" in refusal(registry, name="together")
    assert "installed: none" in refusal(registry, kind="target", name="x")


def test_unknown_names_show_why_plugins_failed() -> None:
    failures = [
        Failure(Plugin("text", "text-dist", "3"), "ImportError: boom", "Traceback 1\nImportError: boom"),
        Failure(Plugin("b", "b-dist", "4"), "ValueError: late", "Traceback 2", names=("early",)),
    ]
    registry = Registry([], failures)
    message = refusal(registry, name="text.words")
    assert "plugin 'text' of text-dist 3 could not be loaded: ImportError: boom" in message
    assert "plugin 'b' of b-dist 4 could not be loaded: ValueError: late" in message
    assert "Traceback 1" in message
    assert "Traceback 2" not in message
    assert "Traceback 2" in refusal(registry, name="early")


def test_an_ambiguous_name_names_both_plugins_and_spoils_nothing_else() -> None:
    first, second = registrar_of("a"), registrar_of("b", "2.0")
    for registrar in (first, second):
        registrar.add_masker("random", Random)
    second.add_masker("other", Random)
    registry = Registry([first, second])
    message = refusal(registry)
    assert "plugin 'a' of a-dist 1.0 and plugin 'b' of b-dist 2.0 both register it" in message
    assert [[entry.distribution for entry in conflict] for conflict in registry.conflicts()] == [["a-dist", "b-dist"]]
    assert registry.load("masker", "other") is Random


def test_a_missing_extra_is_named_and_other_failures_show_their_traceback(package) -> None:
    package("needs_more", "import a_module_that_nobody_has\n")
    package("broken_inside", "def helper():\n    return 1 / 0\n\nhelper()\n")
    package("no_class", "thing = 3\n")
    registrar = registrar_of()
    registrar.add_masker("extra", "needs_more:C", extra="image")
    registrar.add_masker("bare", "needs_more:C")
    registrar.add_masker("broken", "broken_inside:C", extra="image")
    registrar.add_masker("absent", "no_class:Absent")
    registrar.add_masker("thing", "no_class:thing")
    registry = Registry([registrar])
    assert refusal(registry, name="extra") == (
        "masker 'extra' of a-dist 1.0 needs a_module_that_nobody_has, which is not installed: pip install 'a-dist[image]'"
    )
    assert "cannot be imported from needs_more:C: ModuleNotFoundError: No module named" in refusal(registry, name="bare")
    assert "in helper" in refusal(registry, name="broken")
    assert "has no attribute 'Absent'" in refusal(registry, name="absent")
    assert "no_class:thing is not a class but 3" in refusal(registry, name="thing")


def test_a_constructor_against_the_rule_names_class_and_distribution() -> None:
    registrar = registrar_of()
    registrar.add_masker("random", Swallows)
    message = refusal(Registry([registrar]))
    assert message.startswith("masker 'random' of a-dist 1.0: ")
    assert "Swallows: **options would accept misspelled options" in message


def test_components_compare_by_what_they_are_and_travel_to_workers() -> None:
    component = Component("masker", "random", {"ratio": 0.25}, "r.yaml:3: masker", Random)
    assert component == named("masker", "random", ratio=0.25)
    assert hash(component) == hash(named("masker", "random", ratio=0.25))
    again = pickle.loads(pickle.dumps(component))  # noqa: S301
    assert again == component
    assert again("context").ratio == 0.25
    assert again("context").context == "context"


def test_a_refused_option_names_the_place() -> None:
    with pytest.raises(UserError, match=r"^r.yaml:3: masker: ratio 7 must lie between 0 and 1$"):
        Component("masker", "random", {"ratio": 7}, "r.yaml:3: masker", Random)(None)  # pyright: ignore[reportArgumentType]
