"""The argument passed to the constructor of every component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnimask.interfaces.tokens import FieldSpec, TokenSpec

if TYPE_CHECKING:
    from omnimask.interfaces.data_protocols import Corpus
    from omnimask.interfaces.model_protocols import EarlierPass, Embedding, TrainedNetwork


@dataclass(frozen=True)
class Context:
    """The one positional constructor argument of every component. New fields never break a plugin.

    Attributes:
        specs: of all modalities, in the recipe's order.
        modalities: served by this component.
        labels: declared by the recipe.
        corpora: of the training samples by modality, for maskers and transforms.
        width: of the encoder whose features are read; 0 on the host.
        depth: number of layers of this encoder.
        summary: number of summary vectors of this encoder.
        embeddings: by modality, for tied heads.
        passes: the earlier passes by name, for what a component reads of their results.
        networks: the networks built so far, by name, for an encoder that follows one.
        layer: the tap to read; None for the last layer.
        label: name of a predictor's loss terms.
        num_heads: of the attention served by a position component; 0 elsewhere.
        head_width: width of one attention head; 0 elsewhere.
    """

    specs: Mapping[str, TokenSpec] = field(default_factory=dict[str, TokenSpec])
    modalities: tuple[str, ...] = ()
    labels: Mapping[str, FieldSpec] = field(default_factory=dict[str, FieldSpec])
    width: int = 0
    depth: int = 0
    summary: int = 0
    corpora: Mapping[str, Corpus] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    passes: Mapping[str, EarlierPass] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    networks: Mapping[str, TrainedNetwork] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    layer: int | None = None
    label: str = ""
    num_heads: int = 0
    head_width: int = 0

    def earlier(self, name: str) -> EarlierPass:
        """Return an earlier pass. Raise ``ValueError`` if there is none of this name."""
        if name not in self.passes:
            known = ", ".join(self.passes) or "none"
            raise ValueError(f"earlier pass {name!r} does not exist; earlier passes: {known}. Add it under passes: before this one")
        return self.passes[name]
