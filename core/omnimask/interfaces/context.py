"""The argument that every component is built with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnimask.interfaces.tokens import FieldSpec, TokenSpec

if TYPE_CHECKING:
    from omnimask.interfaces.data_protocols import Corpus
    from omnimask.interfaces.model_protocols import Embedding


@dataclass(frozen=True)
class Context:
    """The one positional constructor argument of every component; new fields never break a plugin.

    ``specs`` of all modalities in the recipe's order; ``modalities`` this component serves; ``labels`` declared by the recipe;
    ``corpora`` of the training samples by modality, for maskers and transforms;
    ``width`` of the encoder whose features are read (0 on the host), ``depth`` how many layers and ``summary`` how many summary
    vectors it has;
    ``embeddings`` by modality, for heads tied to them; ``passes`` widths of the earlier passes; ``layer`` the tap that is read,
    None for the last layer; ``label`` the name of a predictor's loss terms; ``num_heads`` of the attention that a position
    component serves and ``head_width`` the width of one head (0 elsewhere).
    """

    specs: Mapping[str, TokenSpec] = field(default_factory=dict[str, TokenSpec])
    modalities: tuple[str, ...] = ()
    labels: Mapping[str, FieldSpec] = field(default_factory=dict[str, FieldSpec])
    width: int = 0
    depth: int = 0
    summary: int = 0
    corpora: Mapping[str, Corpus] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    passes: Mapping[str, int] = field(default_factory=dict[str, int])
    layer: int | None = None
    label: str = ""
    num_heads: int = 0
    head_width: int = 0
