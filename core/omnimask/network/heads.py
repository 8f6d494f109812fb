"""Output layers with one logit per id. N targets, D width, V ids."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from omnimask.interfaces import Context, Embedding


class TiedHead(nn.Module):
    """Output layer with weights tied to the embedding [0] and a bias of its own.

    Args:
        embedding: has a ``weight`` (ids, D), which the head references but does not own.
        num_outputs: V, the first ids.
        bias: whether there is one, initialized to zero.

    Raises:
        ValueError: the embedding has no table of ids, or a smaller one.

    [0] Press, Wolf: Using the Output Embedding to Improve Language Models, 2017.
    """

    def __init__(self, embedding: Embedding, num_outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        weight = getattr(embedding, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2 or len(weight) < num_outputs:
            raise ValueError(
                f"a tied head scores {num_outputs} ids with the embedding table, but {type(embedding).__name__} has none; "
                "set tied: false, or use the embedding table"
            )
        # A tuple keeps the embedding out of this module's parameters.
        self._tied_to = (embedding,)
        self.out_features = num_outputs
        self.bias = nn.Parameter(torch.zeros(num_outputs)) if bias else None

    @property
    def weight(self) -> Tensor:
        """Embedding rows, (V, D)."""
        weight: Tensor = self._tied_to[0].weight  # pyright: ignore[reportAttributeAccessIssue]
        return weight if len(weight) == self.out_features else weight[: self.out_features]

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.weight, self.bias)


def heads_over_ids(context: Context, num_outputs: Mapping[str, int], *, tied: bool) -> nn.ModuleDict:
    """Return a head for every modality in ``num_outputs``: tied to the modality's embedding, or a linear layer from D.

    Tied heads take the width of the embedding; see :func:`tied_width`.
    """
    return nn.ModuleDict(
        {m: TiedHead(context.embeddings[m], n) if tied else nn.Linear(context.width, n) for m, n in num_outputs.items()}
    )


def tied_width(context: Context) -> int:
    """Return the width of the tables to which heads of the context's modalities are tied, D if there are none.

    It differs from the encoder's width for an encoder that maps narrower or wider embeddings to its own width.

    Raises:
        ValueError: the tables have several widths.
    """
    tables = [getattr(context.embeddings.get(m), "weight", None) for m in context.modalities]
    widths = {table.shape[1] for table in tables if isinstance(table, Tensor) and table.ndim == 2}
    if len(widths) > 1:
        raise ValueError(f"tied heads share one layer, but the embedding tables have widths {sorted(widths)}; set tied: false")
    return widths.pop() if widths else context.width
