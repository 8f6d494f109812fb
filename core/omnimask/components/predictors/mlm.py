"""Output layer of masked language models. N targets, D width."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.component import Component, named
from omnimask.components.predictors.base import PredictorModule
from omnimask.interfaces import Context, Target, Targets
from omnimask.network.blocks import initialise_normal
from omnimask.network.heads import heads_over_ids, tied_width


class MaskedLM(PredictorModule):
    """Linear, GELU, norm, then a logit for every id with tied embedding weights (BERT [0]), at the targets only.

    Serves any modality with ids. Several modalities share the linear layer and the norm.

    Args:
        target: correct answers and their loss.
        tied: whether output weights are tied to the embedding, or are the head's own. The linear layer maps to the embedding's
            width.
        bias: whether the linear layer and the norm before the logits have biases (BERT: yes, ModernBERT: no); the logits have one.
        norm_eps: epsilon of the norm.

    [0] Devlin et al.: BERT, 2018.
    """

    reads: ClassVar[Literal["context", "query"]] = "context"

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target] = named("target", "ids"),  # noqa: B008
        tied: bool = True,
        bias: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
    ) -> None:
        super().__init__(context, target)
        width, self.reads_asked = tied_width(context) if tied else context.width, context.layer is None
        self.dense = nn.Linear(context.width, width, bias=bias)
        self.norm = nn.LayerNorm(width, eps=norm_eps, bias=bias)
        self.heads = heads_over_ids(context, {m: self.target(m).num_outputs for m in context.modalities}, tied=tied)
        initialise_normal(self)

    def head_input(self, features: Tensor, table: Targets) -> Tensor:
        return self.norm(functional.gelu(self.dense(features)))
