"""Protocols of components on the device, from embeddings to predictors. T slots, N targets, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from omnimask.interfaces.batch import (
    Encoded,
    LossTerm,
    MaskedBatch,
    Packed,
    Placement,
    Prediction,
    Run,
    Stream,
    Targets,
    View,
)


@runtime_checkable
class Embedding(Protocol):
    """Device, ``nn.Module``. ``is_local`` False: it mixes tokens, so it must run as a pass on the clean view."""

    is_local: bool

    def __call__(self, content: Tensor) -> Tensor:
        """(n,) ids, (n, vocabulary) soft ids or (n, *width) content in storage type -> (n, D)."""
        ...

    def ids(self, literal: Tensor) -> Tensor:
        """(n,) ids, specials included -> (n, D)."""
        ...


@runtime_checkable
class Position(Protocol):
    """Device, ``nn.Module``: where a slot is. Slots without ``has_position`` get nothing."""

    def __call__(self, stream: Stream) -> Placement: ...


@runtime_checkable
class Encoder(Protocol):
    """Device, ``nn.Module``: a view -> features. ``width`` D, ``depth`` its number of layers, ``num_summary`` R.

    An encoder may take one more keyword, ``only_asked``: where that is True, it may give the last layer's features of the stream's
    asked slots alone (:class:`Asked`), and then says so in :class:`Encoded`. It is asked to where all predictors of its pass read
    nothing else.
    """

    width: int
    depth: int
    num_summary: int

    def __call__(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded: ...


@runtime_checkable
class Target(Protocol):
    """Inside a predictor: what is the right answer, and which loss measures it? An ``nn.Module`` when it has weights.

    A target whose ``content`` is not the prediction's alone says so in an attribute ``content_note``, for pictures. See also
    :class:`Scores` and :class:`RanksIds`, which it may offer.
    """

    num_outputs: int

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """(N, ...) what is right."""
        ...

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        """(N,) unweighted, unreduced."""
        ...

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        """(N, *width) content or (N,) ids that the prediction stands for, to look at; None if it is no content."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """Device, ``nn.Module``: decoder, head and target. ``reads`` says in which stream of a view it answers.

    One with an attribute ``answers_sequences`` that is True answers for labels of whole sequences, whatever the corruptor asks.

    A predictor with an attribute ``needs_noise`` that is True draws on the device by ``Stream.noise`` of the stream that it reads.

    A predictor with an attribute ``reads_asked`` that is True reads the encoder's last layer at the slots that its targets ask, by
    :meth:`Encoded.at_slots`, and nothing else of it.
    """

    reads: ClassVar[Literal["context", "query"]]
    layers: Sequence[int]

    def target(self, modality: str) -> Target: ...

    def select(self, view: View) -> Mapping[str, Targets]:
        """The rows that it answers, by term; host-known."""
        ...

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        """Denominators by term, known before any forward."""
        ...

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        """Predictions by term; reads no answers, so that generation and export use it too."""
        ...

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]: ...


class Module(nn.Module):
    """Base of device components: an ``nn.Module`` whose class may declare ``smoke``, its shrunken options for a smoke run.

    Any component class may: a mapping from options to small values (numbers become the smaller of the two), or a static method from
    the recipe's options to those that change, where several options depend on each other.
    """

    smoke: ClassVar[Mapping[str, Any]] = {}
