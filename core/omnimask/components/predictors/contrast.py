"""Contrast of whole sequences over the samples of a group. S sequences, D width, W projected width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.components.predictors.of_sequences import OfSequences
from omnimask.interfaces import Context, EarlierPass, Layout, LearnedVectors, MaskedBatch, Module, Prediction, Run, View
from omnimask.network.pooling import SequencePool, check_pool, pooled
from omnimask.packed import index_tensor

_REMEDY = "Raise the number of negatives (`data.group.size`), or lower the temperature or the learning rate"


class Contrast(OfSequences):
    """A sequence must be more similar to its counterpart in an earlier pass than to other samples of its group (InfoNCE [0]).

    Negatives are the sequences of the same group (``data.group.size``), which is never divided over micro-batches or ranks, so a
    step is the same however it is divided. Without groups there are no negatives. Sequences of the same sample, as in a view with
    ``repeat``, are never negatives of each other. The loss is symmetric: the mean of both directions. ``accuracy`` is the share
    of sequences whose counterpart is the most similar one.

    Args:
        other: the earlier pass. A sequence's counterpart is the sequence of the same number there.
        width: W of the space in which vectors are compared, reached by a linear map for each pass; 0: the features themselves.
        temperature: divides the cosine similarities.
        pool: the first slot, the mean of all slots, or the encoder's summary tokens; auto: the summary if available, else the first
            slot.
        classes: a label of integers, as declared in ``labels:``. All samples of a group with a sequence's label are its positives,
            averaged outside of the logarithm [1].
        own_negatives: whether other samples' sequences of its own pass are negatives, too (NT-Xent [2]).

    [0] van den Oord et al.: Representation Learning with Contrastive Predictive Coding, 2018. [1] Khosla et al.: Supervised
    Contrastive Learning, 2020. [2] Chen et al.: A Simple Framework for Contrastive Learning of Visual Representations, 2020.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"width": 16}

    def __init__(
        self,
        context: Context,
        *,
        other: str,
        width: Annotated[int, Field(ge=0)] = 128,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        pool: SequencePool = "auto",
        classes: str | None = None,
        own_negatives: bool = False,
    ) -> None:
        earlier = context.earlier(other)
        if not width and context.width != earlier.width:
            raise ValueError(f"features of width {context.width} and {earlier.width} need a common width; set width")
        if classes is not None and (classes not in context.labels or context.labels[classes].classes is None):
            raise ValueError(f"predictor contrast compares label {classes!r}; declare it with classes under labels:")
        check_pool(pool, earlier.num_summary)
        target = GroupContrast(earlier, width, temperature, pool, classes, own_negatives)
        super().__init__(context, target, pool=pool, pooler=False, bias=False)
        if not width:
            self.head = nn.Identity()

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        return {self.term: float(len(self.answers.rows(batch, view.context.layout)))}


class Counterparts(NamedTuple):
    """Compared sequences: ``marks`` (n, 4) their numbers, samples, groups and classes, and ``vectors`` (n, W) of their
    counterparts."""

    marks: Tensor
    vectors: Tensor


class GroupContrast(Module):
    """The target: counterparts of sequences in an earlier pass.

    Args:
        earlier: the pass.
        width: W of the compared vectors; 0: the features themselves.
        temperature, pool, classes, own_negatives: of the predictor.
    """

    def __init__(
        self, earlier: EarlierPass, width: int, temperature: float, pool: SequencePool, classes: str | None, own_negatives: bool
    ) -> None:
        super().__init__()
        self._source, self._encoded, self.view = earlier.name, earlier.encoded(), earlier.view
        self.num_outputs, self.temperature = width or earlier.width, temperature
        self.pool: SequencePool = pool
        self.classes, self.own_negatives = classes, own_negatives
        self.project = nn.Linear(earlier.width, width, bias=False) if width else nn.Identity()

    def rows(self, batch: MaskedBatch, layout: Layout) -> NDArray[np.int64]:
        """Return the sequences (n,) of which both passes read something; host data.

        Raises:
            ValueError: the two views have other sequences.
        """
        other = batch.views[self.view].context.layout
        if not np.array_equal(other.parent, layout.parent):
            raise ValueError(f"view {self.view!r} cannot be contrasted: its sequences differ from those of the predictor's view")
        return np.flatnonzero((layout.lengths > 0) & (other.lengths > 0))

    def answers(self, prediction: Prediction, run: Run) -> Counterparts:
        layout = prediction.stream.layout
        rows = self.rows(run.batch, layout)
        samples = layout.parent[rows]
        # Without labels every sample is a class of its own.
        classes = samples if self.classes is None else np.asarray(run.batch.labels[self.classes])[samples].astype(np.int64)
        device = prediction.features.device
        marks = np.stack([rows, samples, run.batch.group[samples], classes], axis=1)
        return Counterparts(index_tensor(marks, device), functional.normalize(self._theirs(index_tensor(rows, device), run), dim=1))

    def _theirs(self, rows: Tensor, run: Run) -> Tensor:
        """Return (n, W) float32 of the counterparts of these sequences."""
        return self.project(pooled(self._encoded(run), self.pool))[rows].float()

    def learned_vectors(self, prediction: Prediction, run: Run) -> LearnedVectors:
        """Return the counterparts' vectors and the own ones, before their lengths are divided out."""
        rows = index_tensor(self.rows(run.batch, prediction.stream.layout), prediction.features.device)
        own = prediction.head(prediction.features)[rows]
        return LearnedVectors(self._source, self._theirs(rows, run), own, _REMEDY)

    def loss(self, prediction: Prediction, answers: Counterparts) -> Tensor:
        """Return (n,) the mean of both directions."""
        mine, theirs = self._own(prediction, answers), answers.vectors
        relations = self._relations(answers)
        return 0.5 * (self._direction(mine, theirs, *relations) + self._direction(theirs, mine, *relations))

    def _direction(self, queries: Tensor, keys: Tensor, is_candidate: Tensor, is_positive: Tensor, is_negative: Tensor) -> Tensor:
        similar = queries @ keys.t() / self.temperature
        logits = similar.masked_fill(~is_candidate, -torch.inf)
        if self.own_negatives:
            own = (queries @ queries.t() / self.temperature).masked_fill(~is_negative, -torch.inf)
            total = torch.cat([logits, own], dim=1).logsumexp(1)
        else:
            total = logits.logsumexp(1)
        return total - (similar * is_positive).sum(1) / is_positive.sum(1)

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: vectors cannot be rendered."""

    def scores(self, prediction: Prediction, answers: Counterparts) -> Mapping[str, Tensor]:
        """Return ``accuracy`` (m,) of the sequences with another sample in their group; ties are not right."""
        is_candidate, is_positive, is_negative = self._relations(answers)
        similar = (self._own(prediction, answers) @ answers.vectors.t()).masked_fill(~is_candidate, -torch.inf)
        best_right = similar.masked_fill(~is_positive, -torch.inf)
        best_wrong = similar.masked_fill(~is_negative, -torch.inf)
        has_others = is_negative.any(1)
        return {"accuracy": (best_right[has_others].amax(1) > best_wrong[has_others].amax(1)).float()}

    def _own(self, prediction: Prediction, answers: Counterparts) -> Tensor:
        return functional.normalize(prediction.head(prediction.features)[answers.marks[:, 0]].float(), dim=1)

    def _relations(self, answers: Counterparts) -> tuple[Tensor, Tensor, Tensor]:
        """Return (n, n) whether a key is compared, is a positive, or is a negative of a query."""
        number, sample, group, label = answers.marks.unbind(1)
        is_counterpart = number[:, None] == number
        is_other = (group[:, None] == group) & (sample[:, None] != sample)
        is_alike = is_other & (label[:, None] == label) if self.classes is not None else torch.zeros_like(is_other)
        return is_counterpart | is_other, is_counterpart | is_alike, is_other & ~is_alike
