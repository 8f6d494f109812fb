"""Reconstructions and their renderers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from omnimask.interfaces.answers import Blank
from omnimask.interfaces.tokens import Array


@dataclass(frozen=True)
class Reconstruction:
    """Raw values of one sample for a figure: the original, the visible part, and the filled-in whole.

    ``filled`` is None if no model filled anything in. ``note`` names parts of ``filled`` that the model did not
    predict; a renderer shows it.

    For tokens with ids and text as raw value, ``pieces`` holds each token's contribution to the text (empty for framing tokens), so
    joined they equal ``original``. For tokens with ids, ``blanks`` are the tokens asked of a model, in order.

    For continuous tokens and array values, ``is_hidden`` is a boolean array of the shape of ``visible``: True for values hidden
    from the network.
    """

    key: str
    original: Any
    visible: Any
    filled: Any
    note: str = ""
    pieces: tuple[str, ...] = ()
    blanks: tuple[Blank, ...] = ()
    is_hidden: Array | None = None


@runtime_checkable
class Renderer(Protocol):
    """Figures of one modality's reconstructions: draws a file (a picture, a page) and returns its path."""

    suffix: ClassVar[str]

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path: ...
