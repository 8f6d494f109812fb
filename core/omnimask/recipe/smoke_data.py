"""Data of a smoke run: given by the recipe or the command line, else the embedded data set of the tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from omnimask.component import Component
from omnimask.recipe.config import ModalityConfig
from omnimask.recipe.document import Document
from omnimask.recipe.options import Resolver
from omnimask.recipe.problems import Problems


class SmokeData:
    """Selection of the data set for a document's smoke runs.

    Args:
        document: with overrides applied.
        resolver: of the document.
        problems: collects all problems.
    """

    def __init__(self, document: Document, resolver: Resolver, problems: Problems) -> None:
        self.document, self.resolver, self.problems = document, resolver, problems

    def given(self) -> Component[Any] | None:
        """Return the data set of the recipe's ``smoke: {data: ...}``; None if there is none, or a problem was reported."""
        raw = self.document.data.get("smoke")
        if raw is None:
            return None
        if not isinstance(raw, Mapping) or set(raw) != {"data"}:
            self.problems.add(self.document, ("smoke",), "must be {data: {name: ...}}: the data set of smoke runs")
            return None
        return self.resolver.component("dataset", raw["data"], ("smoke", "data"))

    def chosen(
        self, modalities: Mapping[str, ModalityConfig], own: Component[Any] | None, apart: Collection[str]
    ) -> Component[Any] | None:
        """Return the recipe's own data set or the embedded one. Report and return None if neither is suitable.

        The own one is used if the command line sets it, if it needs no options, or if the tokenizers have no common embedded one.

        Args:
            modalities: resolved.
            own: the recipe's data set; None if it is incomplete.
            apart: keys of ``data:`` that belong to the framework.
        """
        section = self.document.data.get("data")
        written = section if isinstance(section, Mapping) else {}
        needs_nothing = set(written) <= {"name", "group", *apart}
        if own is not None and (needs_nothing or any(self.document.is_override(path) for path in (("data",), ("data", "name")))):
            return own
        if not modalities or len(modalities) < len(self.document.data.get("modalities") or ()):
            return None
        names = {name: _embedded_of(modality.tokenizer) for name, modality in modalities.items()}
        embedded = next(iter(names.values()))
        if embedded is not None and set(names.values()) == {embedded}:
            return own if own is not None and own.name == embedded else self._resolved(embedded)
        if own is not None:
            return own
        held = ", ".join(f"{name}: {embedded or 'none'}" for name, embedded in names.items())
        self.problems.add(
            self.document,
            ("modalities",),
            f"a smoke run needs one embedded data set with all modalities, but the tokenizers declare {held}; "
            f"complete the recipe's data, or set smoke data: smoke: {{data: {{name: ...}}}}",
        )
        return None

    def _resolved(self, embedded: str) -> Component[Any] | None:
        return self.resolver.component("dataset", {"name": embedded}, ("data",))


def _embedded_of(tokenizer: Component[Any]) -> str | None:
    """Return the embedded data set of a tokenizer's class: a name, or the result of a function of its options."""
    found: str | Callable[[Mapping[str, Any]], str | None] | None = getattr(tokenizer.cls, "embedded", None)
    return found if found is None or isinstance(found, str) else found(tokenizer.options)
