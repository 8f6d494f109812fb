"""A decoder with cross-attention from hidden positions to visible features only. T slots, S sequences, D width, K feature maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.predictors.queries import QueryPredictor, Served
from omnimask.interfaces import Context, Encoded, Position, Stream, Target
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import Block, check_heads
from omnimask.network.embed import ModalitySlots
from omnimask.network.layers import MLPKind, NormKind, make_norm
from omnimask.packed import index_tensor


def _smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return one small block, and at most as many feature maps as the smallest encoder has layers."""
    maps = options["feature_maps"]
    return {"width": 32, "depth": 1, "heads": 2, "feature_maps": maps if maps == "all" else min(maps, 2)}


class CrossDecoder(QueryPredictor):
    """Hidden positions attend to the visible tokens' features (CrossMAE [0]), so cost grows with the number of answers only.

    A slot of the query stream shows a learned mask vector and its position. It does not see the other slots unless
    ``self_attention`` is set; the answers then depend on the other targets. Keys and values come from the encoder's features of
    visible tokens, without its summary tokens.

    Args:
        target: correct answers and their loss.
        width, depth, heads: of the decoder's transformer.
        mlp_ratio: hidden width of its MLPs in units of ``width``.
        position: position component of its slots.
        self_attention: whether hidden positions also attend to each other.
        feature_maps: number of the encoder's last layers to read, or ``all``. With more than one, every decoder block reads its own
            mixture: a sum with learned weights, initially equal, and a norm.
        norm, norm_eps: kind (``layer`` or ``rms``) and epsilon of its norms.
        mlp: ``gelu`` or ``swiglu``, as in the encoder ``transformer``.
        qk_norm: normalizes queries and keys, as in the encoder.
        modality_embedding: in recipes with several modalities, each has its own mask vector (``hidden`` and ``all`` are equivalent
            here), unless this is ``none``.

    [0] Fu, Lian et al.: Rethinking Patch Dependence for Masked Autoencoders, 2024.
    """

    smoke: ClassVar[Any] = staticmethod(_smoke)

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target],
        width: Annotated[int, Field(gt=0)] = 512,
        depth: Annotated[int, Field(gt=0)] = 12,
        heads: Annotated[int, Field(gt=0)] = 16,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        self_attention: bool = False,
        feature_maps: Annotated[int, Field(gt=0)] | Literal["all"] = 1,
        norm: NormKind = "layer",
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
        mlp: MLPKind = "gelu",
        qk_norm: bool = False,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__(context, target)
        check_heads(width, heads)
        count = _num_maps(feature_maps, context)
        if count > 1:
            self.layers: Sequence[int] = tuple(range(context.depth - count + 1, context.depth))
        blocks = [
            Block(
                width,
                heads,
                mlp_ratio=mlp_ratio,
                norm_eps=norm_eps,
                norm=norm,
                mlp=mlp,
                qk_norm=qk_norm,
                context_width=context.width,
                self_attention=self_attention,
            )
            for _ in range(depth)
        ]
        final_norm = make_norm(norm, width, norm_eps)
        self.assemble(blocks, final_norm, position, width=width, heads=heads, modality_embedding=modality_embedding)
        self.mixture = nn.Parameter(torch.full((depth, count), 1 / count)) if count > 1 else None
        norms = [make_norm(norm, context.width, norm_eps) for _ in range(depth if count > 1 else 0)]
        self.mixture_norms = nn.ModuleList(norms)
        self.no_weight_decay |= {"mixture"}

    def run_blocks(self, encoded: Encoded, query: Stream, served: Served) -> Tensor:
        visible = encoded.features.layout
        slots = index_tensor(served.slots, encoded.features.data.device)
        here, there = (self.position(stream).unbiased("predictor cross_decoder") for stream in (query, encoded.stream))
        # (n, D): slots of other predictors never enter the blocks.
        x_TD = self.hidden(query)[slots]
        if here.added is not None:
            x_TD = x_TD + here.added[slots]
        rotation = None if here.rotation is None else (here.rotation[0][slots], here.rotation[1][slots])
        x_TD, _ = self.stack(
            x_TD,
            AttentionPlan(served.layout),
            rotation,
            self._read(encoded),
            AttentionPlan(served.layout, visible),
            there.rotation,
        )
        return x_TD

    def _read(self, encoded: Encoded) -> Tensor | Sequence[Tensor]:
        """Return (T, D) context features for all blocks, or one tensor for each block."""
        if self.mixture is None:
            return encoded.at(self.context.layer)
        maps_KTD = torch.stack([*(encoded.layers[layer] for layer in self.layers), encoded.features.data])
        # (blocks, T, D): every block reads its own sum over the K maps.
        mixed = torch.einsum("bk,ktd->btd", self.mixture.to(maps_KTD.dtype), maps_KTD)
        return [norm(one) for norm, one in zip(self.mixture_norms, mixed, strict=True)]


def _num_maps(wanted: int | Literal["all"], context: Context) -> int:
    """Return K. Raise ``ValueError`` if the encoder has fewer layers, or the recipe also sets ``layer``."""
    count = context.depth if wanted == "all" else wanted
    if count > 1 and context.layer is not None:
        raise ValueError(f"feature_maps {wanted} and layer {context.layer} conflict; remove one of the two")
    if count > max(context.depth, 1):
        raise ValueError(f"feature_maps {wanted}: the encoder has {context.depth} layers; choose at most as many, or all")
    return max(count, 1)
