"""Token ids with label smoothing as a target. N targets, D width, V outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from omnimask.components.targets.cross_entropy import LARGEST
from omnimask.components.targets.ids import Ids
from omnimask.errors import RunStopped
from omnimask.interfaces import Context, Prediction, Run

_EXACT = 1 << 24
"""Exclusive upper bound of the integers represented exactly in float32."""


class Smoothed(Ids):
    """The token's id with label smoothing, by cross-entropy in float32: a share of the probability goes to other ids.

    With ``probe``, the share follows the same predictor's output for the same tokens in an earlier pass, for example over a view
    that shows them, ``{corruptor: {name: keep}}``. Tokens that are hard even then get softer labels (Vega v2's self-evolution [0],
    token-specific label smoothing [1]). Without it, the share is uniform over all ids [2]. The logits of both passes are computed
    in chunks, and recomputed in the backward pass. No gradient reaches the probe.

    Args:
        share: of the probability given to other ids, in [0, 1).
        probe: name of the earlier pass (``passes``), which includes this target's predictor; None for a uniform share.

    [0] Zhong et al.: Toward Efficient Language Model Pretraining and Downstream Adaptation via Self-Evolution, 2022.
    [1] Zhong et al.: Self-Evolution Learning for Discriminative Language Model Pretraining, 2023.
    [2] Szegedy et al.: Rethinking the Inception Architecture for Computer Vision, 2015.
    """

    def __init__(self, context: Context, *, share: Annotated[float, Field(ge=0, lt=1)] = 0.1, probe: str | None = None) -> None:
        super().__init__(context)
        self.share, self.probe, self.label = share, probe, context.label
        self._is_checked = False
        self._probe = None if probe is None else context.earlier(probe).predictions(context.label)
        if self.num_outputs >= _EXACT:
            raise ValueError(f"target smoothed supports up to {_EXACT - 1} ids, got {self.num_outputs}; use ids")

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N,) ids; with a probe (N, 1 + D) float32, the id and the input features of the predictor's head in the earlier
        pass."""
        ids = super().answers(prediction, run)
        if self.probe is None:
            return ids
        probed = self._probed(prediction, run)
        # Ids below 2^24 are exact in float32, so one tensor (N, 1 + D) holds both.
        return torch.cat([ids.float()[:, None], probed.features.detach().float()], dim=1)

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        ids, probed = self._apart(answers)
        if probed is not None:
            probed = probed.to(prediction.features.dtype)
        return smoothed_cross_entropy(prediction.features, prediction.head, ids, self.share, probed, self.num_outputs)

    def scores(self, prediction: Prediction, answers: Tensor) -> dict[str, Tensor]:
        return super().scores(prediction, self._apart(answers)[0])

    def _apart(self, answers: Tensor) -> tuple[Tensor, Tensor | None]:
        return (answers, None) if self.probe is None else (answers[:, 0].long(), answers[:, 1:])

    def _probed(self, prediction: Prediction, run: Run) -> Prediction:
        """Return this predictor's prediction in the earlier pass.

        Raises:
            RunStopped: it was asked for other tokens there.
        """
        assert self._probe is not None
        found = self._probe(run)[self.name]
        if not self._asks_the_same(found, prediction):
            raise RunStopped(
                f"target smoothed of predictor {self.label!r}: pass {self.probe!r} answers {len(found.targets)} tokens and this "
                f"pass {len(prediction.targets)}, or others; passes: {', '.join(run.results)}. Use the same "
                f"masking in the view of {self.probe!r}: remove its masker and draw"
            )
        return found

    def _asks_the_same(self, found: Prediction, prediction: Prediction) -> bool:
        """Compare lengths always, and tokens always on CPU but only once elsewhere, because it synchronizes with the device."""
        left, right = found.targets, prediction.targets
        if len(left) != len(right):
            return False
        if self._is_checked and left.of.device.type != "cpu":
            return True
        self._is_checked = True
        return torch.equal(left.of, right.of) and torch.equal(left.literal, right.literal)


def smoothed_cross_entropy(
    features: Tensor,
    head: Callable[[Tensor], Tensor],
    answers: Tensor,
    share: float,
    probed: Tensor | None,
    num_outputs: int,
    largest: int = LARGEST,
) -> Tensor:
    """Return (N,) cross-entropy of a head's logits with smoothed answers, natural logarithm, in float32.

    Args:
        features: (N, D).
        head: to V logits; applied in chunks of at most ``largest`` numbers.
        answers: (N,) ids in [0, V).
        share: given to other ids, in [0, 1).
        probed: (N, D) features from which the same head computes the distribution of the share; None for uniform.
        num_outputs: V.
        largest: maximum number of logits in a chunk; a chunk has at least one row.
    """

    def of(part: Tensor, right: Tensor, other: Tensor | None) -> Tensor:
        logits = head(part).float()
        if other is None:
            return functional.cross_entropy(logits, right, reduction="none", label_smoothing=share)
        with torch.no_grad():
            wanted = head(other).float().softmax(1).mul_(share)
            # share * the probed distribution, plus 1 - share at the answer.
            wanted.scatter_add_(1, right[:, None], wanted.new_full((len(right), 1), 1 - share))
        return functional.cross_entropy(logits, wanted, reduction="none")

    rows = max(1, largest // num_outputs)
    # As many parts as ``split`` gives: one, and empty, without targets.
    others = [None] * -(-max(len(features), 1) // rows) if probed is None else probed.split(rows)
    parts = zip(features.split(rows), answers.split(rows), others, strict=True)
    return torch.cat([checkpoint(of, *part, use_reentrant=False) for part in parts])  # pyright: ignore[reportArgumentType]
