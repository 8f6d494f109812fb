"""Scores and candidates of answers with ids, computed in chunks of logits. N targets, n of a chunk, V ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from omnimask.interfaces.answers import ACCURACY, CROSS_ENTROPY, TOP5
from omnimask.interfaces.batch import Prediction

LARGEST = 1 << 24
"""Maximum number of logits in memory: 64 MiB in float32, and a few times as much in the comparisons."""


@torch.no_grad()
def score_ids(prediction: Prediction, answers: Tensor, num_outputs: int, largest: int = LARGEST) -> dict[str, Tensor]:
    """Return (N,) scores by name: ``accuracy`` and ``top5`` are 1 if the answer is the first or among the first five ids;
    ``cross_entropy`` is in nats, independent of the target's loss.

    Of equal logits the lower id comes first, so a constant model is only correct by chance. Non-finite numbers are never correct.

    Args:
        prediction: its head gives ``num_outputs`` logits.
        answers: (N,) ids in [0, num_outputs).
        num_outputs: V.
        largest: maximum number of logits in a chunk; a chunk has at least one row.
    """
    ranks: list[Tensor] = []
    losses: list[Tensor] = []
    for logits, right in zip(logits_of(prediction, num_outputs, largest), answers.split(_rows(num_outputs, largest)), strict=True):
        # (n, 1), compared with all V logits of its row.
        of_right = logits.gather(1, right[:, None])
        ids = torch.arange(num_outputs, device=logits.device)
        # `~(<=)` instead of `>`: a NaN then ranks before the answer.
        comes_before = ~(logits <= of_right) | ((logits == of_right) & (ids < right[:, None]))
        ranks.append(comes_before.sum(1))
        losses.append(logits.logsumexp(1) - of_right.squeeze(1))
    rank = torch.cat(ranks)
    return {ACCURACY: (rank < 1).float(), TOP5: (rank < 5).float(), CROSS_ENTROPY: torch.cat(losses)}


@torch.no_grad()
def rank_ids(prediction: Prediction, count: int, num_outputs: int, largest: int = LARGEST) -> tuple[Tensor, Tensor]:
    """Return (N, count) ids in descending order of probability, and their probabilities among all ``num_outputs``."""

    def best(logits: Tensor) -> tuple[Tensor, Tensor]:
        values, ids = logits.topk(min(count, num_outputs), dim=1)
        return ids, (values - logits.logsumexp(1, keepdim=True)).exp()

    ids, probabilities = zip(*map(best, logits_of(prediction, num_outputs, largest)), strict=True)
    return torch.cat(ids), torch.cat(probabilities)


@torch.no_grad()
def best_ids(prediction: Prediction, num_outputs: int, largest: int = LARGEST) -> Tensor:
    """Return (N,) most probable ids; the lower one of equals."""
    return torch.cat([logits.argmax(dim=1) for logits in logits_of(prediction, num_outputs, largest)])


def logits_of(prediction: Prediction, num_outputs: int, largest: int = LARGEST) -> Iterator[Tensor]:
    """Yield (n, V) float32 logits of one chunk of targets after another, or one empty chunk without targets."""
    head: Callable[[Tensor], Tensor] = prediction.head
    for part in prediction.features.split(_rows(num_outputs, largest)):
        yield head(part).float()


def _rows(num_outputs: int, largest: int) -> int:
    return max(1, largest // num_outputs)
