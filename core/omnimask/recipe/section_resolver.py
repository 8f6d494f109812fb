"""What resolvers of sections share: reading values, and reporting names that are unknown or taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omnimask.messages.hints import listed, nearest
from omnimask.recipe import keys
from omnimask.recipe.document import Document, KeyPath
from omnimask.recipe.options import INVALID, Resolver
from omnimask.recipe.problems import Problems
from omnimask.registry import Registry


class SectionResolver:
    """Base class of resolvers of sections of one document.

    Args:
        document: with overrides applied.
        registry: source of components.
        resolver: of the document.
        problems: collects all problems.
    """

    def __init__(self, document: Document, registry: Registry, resolver: Resolver, problems: Problems) -> None:
        self.document, self.registry, self.resolver, self.problems = document, registry, resolver, problems
        self.data: Mapping[str, Any] = document.data

    def _section(self, key: str, kind: Callable[[], Any]) -> Any:
        value = self.data.get(key)
        empty = kind()
        if value is None:
            return empty
        if not isinstance(value, type(empty)):
            self.problems.add(self.document, (key,), "must be " + ("a list" if isinstance(empty, list) else "a mapping by name"))
            return empty
        return value

    def _modalities(self) -> list[str]:
        section = self.data.get("modalities")
        return list(section) if isinstance(section, Mapping) else []

    def _options(
        self, section: type, raw: Any, path: KeyPath, owner: str, form: str, nested: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        """Return the values that a section declares; its components, and ``nested`` keys, are resolved elsewhere."""
        if not isinstance(raw, Mapping):
            self.problems.add(self.document, path, f"must be a mapping: {form}")
            return None
        apart = (*keys.kinds(section), *nested)
        given = {key: value for key, value in raw.items() if key not in apart}
        return self.resolver.options(keys.values(section), given, path, owner, apart)

    def _name(self, name: str, path: KeyPath, what: str, taken: Sequence[str]) -> None:
        if not name.isidentifier():
            self.problems.add(self.document, path, f"{name!r} is not a valid {what} name: use letters, digits and _")
        if name in taken:
            self.problems.add(self.document, path, f"{name!r} is already the name of a modality; rename the {what}")

    def _known(self, raw: Mapping[str, Any], known: Sequence[str], path: KeyPath, owner: str, what: str = "key") -> None:
        for key in raw:
            if key not in known:
                message = f"unknown {what}{nearest(key, known)}; {what}s of {owner}: {listed(known)}"
                self.problems.add(self.document, (*path, key), message.replace("modalitys", "modalities"))

    def _one_of(self, name: str, known: Sequence[str], path: KeyPath, what: str) -> None:
        if name not in known:
            many = f"{what}s".replace("modalitys", "modalities")
            there = f"{many}: {listed(known)}" if known else f"the recipe has no {many}"
            self.problems.add(self.document, path, f"unknown {what} {name!r}{nearest(name, known)}; {there}")

    def _of(self, value: Any, path: KeyPath) -> tuple[str, ...] | None:
        """Return the modalities that ``of`` of a section names, all if it is None; None for an invalid value."""
        known = self._modalities()
        if value is INVALID:
            return None
        if value == []:
            self.problems.add(self.document, (*path, "of"), f"empty list; modalities: {listed(known)}")
        names = known if value is None else [value] if isinstance(value, str) else value
        for index, name in enumerate(names):
            place = (*path, "of", index) if isinstance(value, list) else (*path, "of")
            if name not in known:
                message = f"unknown modality {name!r}{nearest(name, known)}; modalities: {listed(known)}"
                self.problems.add(self.document, place, message)
            elif name in names[:index]:
                self.problems.add(self.document, place, f"duplicate modality {name!r}")
        return tuple(names)
