"""The data of a smoke run: what the recipe or the command line gives for it, else a data set that the tokenizers bring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from omnimask.component import Component
from omnimask.recipe.config import ModalityConfig
from omnimask.recipe.document import Document
from omnimask.recipe.options import Resolver
from omnimask.recipe.problems import Problems


class SmokeData:
    """Chooses the data set of a document's smoke runs.

    Args:
        document: with overrides applied.
        resolver: of the document.
        problems: collects what is wrong.
    """

    def __init__(self, document: Document, resolver: Resolver, problems: Problems) -> None:
        self.document, self.resolver, self.problems = document, resolver, problems

    def given(self) -> Component[Any] | None:
        """The data set of the recipe's ``smoke: {data: ...}``; None where there is none, or something was reported."""
        raw = self.document.data.get("smoke")
        if raw is None:
            return None
        if not isinstance(raw, Mapping) or set(raw) != {"data"}:
            self.problems.add(self.document, ("smoke",), "should be {data: {name: ...}}: the data set of smoke runs")
            return None
        return self.resolver.component("dataset", raw["data"], ("smoke", "data"))

    def chosen(
        self, modalities: Mapping[str, ModalityConfig], own: Component[Any] | None, apart: Collection[str]
    ) -> Component[Any] | None:
        """The recipe's own data set, or the embedded one; None where neither can serve, which is reported.

        The own one is taken where the command line gives it, where it needs no option, and where the tokenizers bring no common
        one.

        Args:
            modalities: resolved.
            own: the recipe's data set; None where it is incomplete.
            apart: keys of ``data:`` that are the framework's.
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
            f"a smoke run needs one embedded data set that holds all modalities, and the tokenizers name {held}; complete the "
            "recipe's data, or give some for smoke runs: smoke: {data: {name: ...}}",
        )
        return None

    def _resolved(self, embedded: str) -> Component[Any] | None:
        return self.resolver.component("dataset", {"name": embedded}, ("data",))


def _embedded_of(tokenizer: Component[Any]) -> str | None:
    """What a tokenizer's class says of embedded data: a name, or a function of its options."""
    found: str | Callable[[Mapping[str, Any]], str | None] | None = getattr(tokenizer.cls, "embedded", None)
    return found if found is None or isinstance(found, str) else found(tokenizer.options)
