"""Optional capabilities of targets, and records of their answers for display. N targets.

Capabilities are tested with ``isinstance(target, Scores)``. A target without one still trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces.batch import Prediction, Run

ACCURACY, TOP5, CROSS_ENTROPY = "accuracy", "top5", "cross_entropy"
"""Names of scores shown for every target that returns them: top-1 and top-5 accuracy as shares, and the negative natural
logarithm of the correct answer's probability."""


@runtime_checkable
class Scores(Protocol):
    """Optional capability of a target: human-readable quality of each answer."""

    def scores(self, prediction: Prediction, answers: Any) -> Mapping[str, Tensor]:
        """Return values (n,) by score name, for the targets to which a score applies.

        These are all N or a subset (cells of one kind, for example). The mean of each score is shown and
        logged. ``answers`` come from this target's :meth:`Target.answers`.
        """
        ...


@dataclass(frozen=True)
class LearnedVectors:
    """Learned vectors of a batch's targets, and their predictions.

    Attributes:
        source: name of the pass that computes the answers.
        answers: (n, D) of the n targets, before any normalization that divides by a spread over targets and so would hide a
            collapse.
        predictions: (n, W) for the same targets.
        remedy: what to change in a recipe if the answers collapse, a sentence without its full stop.
    """

    source: str
    answers: Tensor
    predictions: Tensor
    remedy: str = "Lower the learning rate, or let no gradient reach the answers"


@runtime_checkable
class LearnsVectors(Protocol):
    """Optional capability of a target whose answers are learned, and so could become one constant that any network predicts.

    Every validation measures the vectors, and a run warns if they collapse. The scores ``rankme``, ``spread`` and
    ``prediction_spread`` of the term are those of the validation.
    """

    def learned_vectors(self, prediction: Prediction, run: Run) -> LearnedVectors: ...


@runtime_checkable
class OfSamples(Protocol):
    """Optional capability of a target whose answers are labels of samples instead of tokens: reports the labelled samples."""

    def is_known(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return (B,) from a batch's labels (B, ...) by name. Host data, so divisors are known before any forward pass."""
        ...


@runtime_checkable
class RanksIds(Protocol):
    """Optional capability of a target whose answers are ids of the modality: ids of tokens, or literal ids after the vocabulary."""

    def candidates(self, prediction: Prediction, count: int) -> tuple[Tensor, Tensor]:
        """Return the most probable ids (N, count) in descending order, and their probabilities. Fewer columns if there are fewer
        ids."""
        ...


@dataclass(frozen=True)
class Candidate:
    """An id proposed by the model for a slot: its text ``shown`` (a description for ids without text) and its ``probability``
    among all ids."""

    shown: str
    probability: float


@dataclass(frozen=True)
class Blank:
    """A token of a sample to be predicted by the model.

    ``at`` is its index in the sample's tokens. ``truth`` is its text, None if the input itself left it open. ``seen`` is the text
    shown to the network instead: None for a mask or nothing, ``truth`` if the token stayed. ``candidates`` are in order and exclude
    ids that stand for no token. Texts are pieces of the sample's text, including their spaces, like ``Reconstruction.pieces``.
    """

    at: int
    truth: str | None
    seen: str | None
    candidates: tuple[Candidate, ...]
