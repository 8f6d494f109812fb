"""Reconstructions, and the renderers that draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from omnimask.interfaces.answers import Blank
from omnimask.interfaces.tokens import Array


@dataclass(frozen=True)
class Reconstruction:
    """One sample to look at: raw values of the original, of what the network could see, and of the filled-in whole
    (None where no model filled anything in). ``note`` says what of ``filled`` is not the model's answer; a renderer shows it.

    Where tokens are ids and their raw value is a text, ``pieces`` is what each token adds to the text (nothing for those that frame
    it), so that joined they are ``original``. ``blanks`` are the tokens that a model was asked for, in order, where tokens are ids.

    Where tokens are continuous and raw values are arrays, ``is_hidden`` is a boolean array of the shape of ``visible``: True for
    numbers that the network does not see.
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
    """Draws reconstructions of one modality into a file (a picture, a page) and returns its path."""

    suffix: ClassVar[str]

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path: ...
