"""The blocks of timm's vision transformers. T slots, D width."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import timm
from timm.models import model_entrypoint
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from omnimask.component import Component, named
from omnimask.interfaces import Context, Encoded, MaskedBatch, Packed, Position, Stream
from omnimask.modules import ModalitySlots, check_placement, make_modality_embedding, with_modality
from omnimask_adapters.padded import Padded

_REPLACED = {"num_classes": 0, "global_pool": "", "class_token": False, "reg_tokens": 0, "pos_embed": "none", "pretrained": False}
"""Settings that remove unused parts: heads, and everything between patches and blocks."""
_SMOKE = {"embed_dim": 32, "depth": 2, "num_heads": 2}


class TimmEncoder(nn.Module):
    """The blocks and the last norm of a timm vision transformer, on tokens of any modality.

    The model's own patch embedding, class token, registers and positions are removed: the recipe embeds tokens, and ``position``
    encodes their positions. Weights are initialized by timm; nothing is downloaded. Sequences are padded to the longest one, and
    padding is masked.

    Args:
        model: name of a timm model of class ``VisionTransformer``: vit_tiny_patch16_224, vit_base_patch14_dinov2, ...
        options: other arguments of this class: embed_dim, depth, num_heads, mlp_ratio, qk_norm, init_values, drop_path_rate, ...
        position: position component; only additions to the embeddings are supported.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.
    """

    num_summary = 0

    def __init__(
        self,
        context: Context,
        *,
        model: str = "vit_tiny_patch16_224",
        options: dict[str, Any] | None = None,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__()
        whole = _vision_transformer(model, options or {})
        self.width, self.depth = whole.embed_dim, len(whole.blocks)
        self.blocks, self.norm = nn.ModuleList(whole.blocks), cast(nn.Module, whole.norm)
        self.norm_before = cast(nn.Module, whole.norm_pre)
        self.position = position(dataclasses.replace(context, width=self.width))
        check_placement(self.position, context.specs, "encoder timm", "added")
        self.modalities = make_modality_embedding(context, self.width, modality_embedding)
        self._checkpoints = False

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Keep only each block's input for the backward pass, and recompute its activations there."""
        self._checkpoints = enabled

    @staticmethod
    def smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a narrow and shallow model of the same kind."""
        given = options["options"] or {}
        return {"options": {**given, **{name: min(size, given.get(name, size)) for name, size in _SMOKE.items()}}}

    def forward(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded:
        if context is not None:
            raise ValueError("encoder timm has no cross-attention; use an encoder with cross-attention to read a context")
        placement = self.position(stream)
        if placement.rotation is not None or placement.bias is not None:
            raise ValueError("timm's blocks do not support positions that rotate or bias attention; use sincos, learned or none")
        x_TD = with_modality(embedded.data, stream, self.modalities)
        padded = Padded.of(x_TD if placement.added is None else x_TD + placement.added, stream)
        bias, x_SLD = padded.bias(), self.norm_before(padded.data)
        taps: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            arguments = (x_SLD, None if bias is None else bias.to(x_SLD.dtype))
            is_kept = not (self._checkpoints and self.training)
            x_SLD = block(*arguments) if is_kept else cast(Tensor, checkpoint(block, *arguments, use_reentrant=False))
            if number in layers:
                taps[number] = padded.packed(x_SLD)
        return Encoded(Packed(padded.packed(self.norm(x_SLD)), stream.layout), stream, taps)


def _vision_transformer(name: str, options: Mapping[str, Any]) -> Any:
    """Return the model by its name.

    Raises:
        ValueError: timm has no model of this name, it isn't a plain vision transformer, or it does not take the options.
    """
    if not timm.is_model(name):
        raise ValueError(f"timm {timm.__version__} has no model {name!r}; names of its vision transformers start with vit_")
    if model_entrypoint(name).__module__ != VisionTransformer.__module__:
        raise ValueError(f"{name} is not a plain vision transformer of timm; supported names start with vit_")
    taken = set(inspect.signature(VisionTransformer.__init__).parameters) - {"self", *_REPLACED}
    unknown = sorted(set(options) - taken)
    if unknown:
        raise ValueError(
            f"options: timm's VisionTransformer has no option {unknown[0]!r} here; options: {', '.join(sorted(taken))}"
        )
    try:
        model = timm.create_model(name, **{**_REPLACED, **options})
    except (TypeError, AssertionError, RuntimeError) as error:
        raise ValueError(f"timm cannot make {name} with these options: {error}") from error
    if type(model) is not VisionTransformer:
        raise ValueError(f"{name} is a {type(model).__name__}; only VisionTransformer is supported")
    return model
