"""What a target may offer beside its loss, and what is shown of an answer. N targets.

Capabilities are asked for (``isinstance(target, Scores)``); a target that lacks one is trained all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces.batch import Prediction

ACCURACY, TOP5, CROSS_ENTROPY = "accuracy", "top5", "cross_entropy"
"""Names of scores that are shown wherever a target gives them: shares of right answers, first or among the first five, and the
negative natural logarithm of the right answer's probability."""


@runtime_checkable
class Scores(Protocol):
    """What a target may offer: how good each answer is, in numbers that a person can read."""

    def scores(self, prediction: Prediction, answers: Tensor) -> Mapping[str, Tensor]:
        """(n,) by name, of the targets that a score applies to: all N, or some (cells of one kind, say). Their mean is shown and
        logged. ``answers`` are the target's own."""
        ...


@runtime_checkable
class OfSamples(Protocol):
    """What a target may offer whose answers are labels of samples and not of tokens: which samples have one."""

    def is_known(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """(B,) from a batch's labels (B, ...) by name; host data, so that divisors are known before any forward pass."""
        ...


@runtime_checkable
class RanksIds(Protocol):
    """What a target may offer whose answers are ids of the modality: the tokens' own, or literal ones after the vocabulary."""

    def candidates(self, prediction: Prediction, count: int) -> tuple[Tensor, Tensor]:
        """(N, count) ids, the most probable first, and their probabilities; fewer columns where there are fewer ids."""
        ...


@dataclass(frozen=True)
class Candidate:
    """An id that the model would put in a place: ``shown`` its text (the id in words where ids stand for no text), and its
    ``probability`` among all ids."""

    shown: str
    probability: float


@dataclass(frozen=True)
class Blank:
    """A token of a sample that the model was asked for.

    ``at`` is its number in the sample's tokens. ``truth`` is its text, None where the input itself left it open. ``seen`` is the
    text that the network read in its place: None where it read a mask or nothing, ``truth`` where the token stayed.
    ``candidates`` are in order; ids that stand for no token are left out of them. Texts are pieces of the sample's text as
    ``Reconstruction.pieces`` are, with the spaces that belong to them.
    """

    at: int
    truth: str | None
    seen: str | None
    candidates: tuple[Candidate, ...]
