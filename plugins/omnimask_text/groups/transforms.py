"""Shared helpers of transforms of groups of texts: their modality and their label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnimask.interfaces import Context


def the_modality(context: Context, name: str | None) -> str:
    """Return the modality with the texts: the named one, or the recipe's only one.

    Raises:
        ValueError: the name is unknown, or there are several modalities and no name.
    """
    known = list(context.modalities)
    if name is None and len(known) != 1:
        raise ValueError(f"the recipe has the modalities {', '.join(known)}; set the one with the texts: modality=...")
    if name is not None and name not in known:
        raise ValueError(f"unknown modality {name!r}; modalities: {', '.join(known)}")
    return name or known[0]


def check_label(context: Context, name: str, *, classes: int | None) -> None:
    """Check whether the recipe declares the label set by a transform.

    Raises:
        ValueError: it is missing, or has another number of classes.
    """
    form = "{}" if classes is None else f"{{classes: {classes}}}"
    if name not in context.labels:
        raise ValueError(f"label {name!r} is not declared; add labels: {{{name}: {form}}}")
    if context.labels[name].classes != classes:
        found = context.labels[name].classes
        raise ValueError(f"label {name!r} has {'no' if found is None else found} classes; set labels: {{{name}: {form}}}")


def text_of(row: Mapping[str, Any], modality: str) -> str:
    """Return the text of a row, empty if it has none.

    Raises:
        ValueError: its value is not a single text.
    """
    value = row.get(modality)
    if value is None:
        return ""
    if not isinstance(value, str):
        what = "a text with annotations, which would not be updated" if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"transforms of texts need single texts, but a sample has {what}")
    return value
