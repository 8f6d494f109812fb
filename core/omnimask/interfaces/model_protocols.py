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
    """Device, ``nn.Module``. If ``is_local`` is False it mixes tokens and must run as a pass on the clean view."""

    is_local: bool

    def __call__(self, content: Tensor) -> Tensor:
        """Map (n,) ids, (n, vocabulary) soft ids or (n, *width) content in storage type to (n, D)."""
        ...

    def ids(self, literal: Tensor) -> Tensor:
        """Map (n,) ids, including specials, to (n, D)."""
        ...


@runtime_checkable
class Position(Protocol):
    """Device, ``nn.Module``. Encodes the positions of slots. Slots without ``has_position`` get nothing.

    Optional boolean attribute ``needs_positions``, of any module of an encoder: "nothing" cannot be told from position 0, as with
    rotations by an angle of 0. Recipes whose corruptor ``withholds_positions`` are then refused.
    """

    def __call__(self, stream: Stream) -> Placement: ...


@runtime_checkable
class Encoder(Protocol):
    """Device, ``nn.Module``. Maps a view to features. ``width`` D, ``depth`` number of layers, ``num_summary`` R.

    An encoder may accept another keyword, ``only_asked``. If it is True, the encoder may compute the last layer for the stream's
    asked slots alone (:class:`Asked`), and then sets the flag in :class:`Encoded`. The keyword is passed if all predictors of the
    pass read nothing else.
    """

    width: int
    depth: int
    num_summary: int

    def __call__(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded: ...


@runtime_checkable
class Target(Protocol):
    """Correct answers and their loss, used inside a predictor. An ``nn.Module`` if it has weights.

    A target whose ``content`` includes more than the prediction describes this in an attribute ``content_note``, for figures.
    Optional capabilities: :class:`Scores` and :class:`RanksIds`.
    """

    num_outputs: int

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, ...) correct answers."""
        ...

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        """Return (N,) losses, unweighted and unreduced."""
        ...

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        """Return the predicted (N, *width) content or (N,) ids for display; None if the prediction cannot be shown as content."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """Device, ``nn.Module``. Decoder, head and target. ``reads`` is the stream of a view in which it answers.

    Optional boolean attributes:

    - ``answers_sequences``: it answers labels of whole sequences, independent of the corruptor's targets.
    - ``needs_noise``: it draws on the device from ``Stream.noise`` of the stream it reads.
    - ``reads_asked``: of the encoder's last layer it reads only the asked slots, through :meth:`Encoded.at_slots`.
    """

    reads: ClassVar[Literal["context", "query"]]
    layers: Sequence[int]

    def target(self, modality: str) -> Target: ...

    def select(self, view: View) -> Mapping[str, Targets]:
        """Return the rows to answer, by term; known on the host."""
        ...

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        """Return denominators by term, known before any forward pass."""
        ...

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        """Return predictions by term. Reads no answers, so generation and export use it too."""
        ...

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]: ...


class Module(nn.Module):
    """Base class of device components: an ``nn.Module`` whose class may declare ``smoke``, its reduced options for a smoke run.

    Any component class may declare it: a mapping from options to small values (the smaller of two numbers applies), or a static
    method from the recipe's options to the changed ones, if options depend on each other.
    """

    smoke: ClassVar[Mapping[str, Any]] = {}
