"""Trial run of a position component before training, to refuse one that its reader cannot use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import nn

from omnimask.data.collation import collate
from omnimask.interfaces import Draw, Placement, Position, Sample, Stream, Tokens, TokenSpec, View
from omnimask.streams import sequence

_WAYS = {"added": "add to embeddings", "rotation": "rotate queries and keys", "bias": "bias attention"}


def check_placement(position: Position | nn.Module, specs: Mapping[str, TokenSpec], reader: str, *ways: str) -> None:
    """Raise ``ValueError`` if a position returns a part that its reader cannot use.

    Args:
        position: of a reader.
        specs: of all modalities.
        reader: its name in messages.
        ways: parts of :class:`omnimask.interfaces.Placement` used by the reader.
    """
    found = trial_placement(position, specs)
    useless = [way for way in _WAYS if way not in ways and getattr(found, way) is not None]
    if useless:
        given, usable = (" and ".join(_WAYS[way] for way in chosen) for chosen in (useless, ways))
        raise ValueError(
            f"{reader} takes positions that {usable}, but {type(position).__name__.lower()} would {given}; choose another position"
        )


@torch.no_grad()
def trial_placement(position: Position | nn.Module, specs: Mapping[str, TokenSpec]) -> Placement:
    """Return a position component's output for two tokens of every modality."""
    return cast(Position, position)(_stream(specs))


def _stream(specs: Mapping[str, TokenSpec]) -> Stream:
    """Return a stream with two tokens of every modality at the first place."""
    sample = Sample({name: _tokens(spec) for name, spec in specs.items()}, Draw(0, 0, "trial"), tuple(specs))
    view = View(sequence(sample, np.arange(len(sample))))
    return collate([sample], [{"trial": view}], specs).views["trial"].context


def _tokens(spec: TokenSpec) -> Tokens:
    content = np.zeros((2, *(spec.width or ())), np.int64 if spec.width is None else np.dtype(spec.dtype))
    fields = {name: np.zeros((2,) * field.arity + field.shape, np.dtype(field.dtype)) for name, field in spec.fields.items()}
    return Tokens(content, np.zeros((2, spec.axes), np.float32), fields)
