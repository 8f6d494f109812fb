"""Models of transformers as encoders. T slots, S sequences, L slots of the longest, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omnimask.interfaces import Context, Encoded, MaskedBatch, Packed, Stream
from omnimask.modules import ModalitySlots, grid_place, grid_size, make_modality_embedding, with_modality
from omnimask_adapters.padded import Padded
from omnimask_adapters.transformers_model import (
    check_reads_both_ways,
    goes_by_position_ids,
    model_from_config,
    model_from_folder,
    position_offset,
)

_SMOKE = {
    ("hidden_size", "dim", "d_model"): 32,
    ("num_hidden_layers", "n_layers"): 2,
    ("num_attention_heads", "n_heads"): 2,
    ("intermediate_size", "hidden_dim"): 64,
}


class TransformersEncoder(nn.Module):
    """Any bidirectional encoder of transformers that takes ``inputs_embeds``, on tokens of any modality.

    The recipe embeds tokens; the model's own word embedding is removed. The model keeps its own positions: ``position_ids``
    contains the index of each token's place on the modality's grid, so tokens keep their places if others are dropped. Models that
    depend on the order of their input (relative positions as in DeBERTa, convolutions) are detected by a trial. With them, dropping
    tokens would shift all that follow and is an error. Windows of local attention (ModernBERT) count the tokens that are read.
    Sequences are padded to the longest one, with an ``attention_mask``.

    Args:
        model_type: kind of model by transformers' name: bert, roberta, electra, modernbert, deberta-v2, ...; null with a folder.
        options: of this kind's configuration: hidden_size, num_hidden_layers, ...; weights are then initialized by transformers.
        folder: a local folder with ``config.json`` and ``model.safetensors``, whose weights are used; null with a kind.
        trust_remote_code: run the Python files named in the folder's configuration; read them first.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.
    """

    num_summary = 0
    needs_positions = True

    def __init__(
        self,
        context: Context,
        *,
        model_type: str | None = None,
        options: dict[str, Any] | None = None,
        folder: Path | None = None,
        trust_remote_code: bool = False,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__()
        if (model_type is None) == (folder is None) or (folder is not None and options):
            raise ValueError("give either model_type with its options, or folder")
        if folder is not None:
            self.model = model_from_folder(folder, trust_remote_code=trust_remote_code)
        else:
            self.model = model_from_config(str(model_type), options or {})
        config: Any = self.model.config
        self.width, self.depth = int(config.hidden_size), int(config.num_hidden_layers)
        self.modalities = make_modality_embedding(context, self.width, modality_embedding)
        self.grids = [grid_size(context.specs[name]) for name in context.modalities]
        self.axes = [context.specs[name].axes for name in context.modalities]
        self.numbers = [list(context.specs).index(name) for name in context.modalities]
        self.offset, self.most = position_offset(self.model), _table_size(config)
        for name, grid, axes in zip(context.modalities, self.grids, self.axes, strict=True):
            if grid is None and axes > 1:
                raise ValueError(
                    f"positions of {name!r} have {axes} unbounded axes, but the model's have one; use a tokenizer "
                    "with a fixed grid, or an encoder of omnimask"
                )
        check_reads_both_ways(self.model, self.width)
        self.goes_by_position_ids = goes_by_position_ids(self.model, self.width)

    @staticmethod
    def smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a narrow and shallow model of the same kind; a folder stays unchanged."""
        if options["model_type"] is None:
            return {}
        given = dict(options["options"] or {})
        for names, size in _SMOKE.items():
            name = next((name for name in names if name in given), names[0])
            given[name] = min(size, given.get(name, size))
        return {"options": given}

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Keep only each block's input for the backward pass, and recompute its activations there.

        Raises:
            ValueError: the model does not support it.
        """
        if not self.model.supports_gradient_checkpointing:
            raise ValueError(f"{type(self.model).__name__} does not support gradient checkpointing; set it to false")
        verb, arguments = ("enable", ({"use_reentrant": False},)) if enabled else ("disable", ())
        names = (f"activation_checkpointing_{verb}", f"gradient_checkpointing_{verb}")  # the second is the former name
        next(getattr(self.model, name) for name in names if hasattr(self.model, name))(*arguments)

    def forward(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded:
        if context is not None:
            raise ValueError("encoder transformers has no cross-attention; use an encoder with cross-attention to read a context")
        padded = Padded.of(with_modality(embedded.data, stream, self.modalities), stream)
        given: dict[str, Any] = {"inputs_embeds": padded.data, "output_hidden_states": bool(layers)}
        if padded.is_real is not None:
            given["attention_mask"] = padded.is_real.long()
        places = padded.beside(self.places(stream))
        if self.goes_by_position_ids:
            given["position_ids"] = places + self.offset
        else:
            self._check_in_place(places, padded)
        if not padded.data.numel():
            return Encoded(embedded, stream, dict.fromkeys(layers, embedded.data))
        out: Any = self.model(**given)
        taps = {number: padded.packed(out.hidden_states[number]) for number in layers}
        return Encoded(Packed(padded.packed(out.last_hidden_state), stream.layout), stream, taps)

    def places(self, stream: Stream) -> Tensor:
        """Return (T,) index of each slot's place on its modality's grid; 0 for slots without a position."""
        places = torch.zeros_like(stream.source)
        for number, grid in zip(self.numbers, self.grids, strict=True):
            own = stream.positions[:, 0].long() if grid is None else grid_place(stream.positions[:, : len(grid)], grid)
            places = torch.where(stream.modality == number, own, places)
        places = torch.where(stream.has_position, places, 0)
        if self.most is not None and places.device.type == "cpu" and len(places) and int(places.max()) + self.offset >= self.most:
            raise ValueError(
                f"a token has position {int(places.max())}, but the model has {self.most - self.offset} positions; raise "
                "max_position_embeddings in options"
            )
        return places

    def _check_in_place(self, places: Tensor, padded: Padded) -> None:
        """Check on CPU, where it costs nothing, whether the i-th token of every sequence lies at place i."""
        if places.device.type != "cpu":
            return
        expected = torch.arange(places.shape[1]).expand_as(places)
        wrong = places != expected if padded.is_real is None else (places != expected) & padded.is_real
        if bool(wrong.any()):
            raise ValueError(
                f"{type(self.model).__name__} needs consecutive tokens; use a corruptor that keeps masked tokens "
                "(mask_token), or another model type"
            )


def _table_size(config: Any) -> int | None:
    """Return the number of the model's positions, or None if it has no table of limited size."""
    size = getattr(config, "max_position_embeddings", None)
    return size if isinstance(size, int) and size > 0 and getattr(config, "rope_parameters", None) is None else None
