"""Protocols of components on the device, from embeddings to predictors. T slots, N targets, D width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        """Map (n,) ids, including specials, to (n, D). Soft ids (n, vocabulary + specials) are optional."""
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
    pass read nothing else. It may also accept ``mlps``, numbers of blocks whose MLP outputs it then returns in
    :attr:`Encoded.mlps`.

    Optional attributes: ``embedding_width``, the width of the embeddings it maps to D itself (default: D); ``embedding_modules``,
    names of its modules that complete the embedding of a slot (positions, norm). A network that borrows another network's
    embeddings borrows these too.
    """

    width: int
    depth: int
    num_summary: int

    def __call__(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded: ...


@runtime_checkable
class TrainedNetwork(Protocol):
    """Device, ``nn.Module``. A network: the ``embeddings`` of its modalities, and the ``encoder`` behind them."""

    embeddings: nn.ModuleDict
    encoder: nn.Module


class EarlierPass(Protocol):
    """A pass that runs before, as components see it when they are built. It then computes what they asked for."""

    name: str
    view: str
    width: int
    depth: int
    num_summary: int

    def encoded(self, *, layers: Sequence[int] = (), mlps: Sequence[int] = ()) -> Callable[[Run], Encoded]:
        """Ask for the features of all slots, and for those of layers.

        Args:
            layers: blocks whose outputs are read (:attr:`Encoded.layers`), counted from 1.
            mlps: blocks whose MLP outputs are read (:attr:`Encoded.mlps`).

        Raises:
            ValueError: the encoder has no such layer, or does not return outputs of MLPs.
        """
        ...

    def predictions(self, label: str | None = None) -> Callable[[Run], Mapping[str, Prediction]]:
        """Ask for a predictor's predictions by modality. Without a label it is the pass's only predictor.

        Raises:
            ValueError: the pass has no such predictor.
        """
        ...


@runtime_checkable
class Replacer(Protocol):
    """Device, ``nn.Module``. Changes which ids the slots of a pass's stream show, before it is embedded.

    It may change literals of slots that show an id, and nothing else (:func:`omnimask.modules.with_ids`): layouts, targets and
    divisors are known on the host before. Chance comes from ``Stream.noise``, which it receives if ``needs_noise`` is True.
    """

    def __call__(self, stream: Stream, run: Run) -> Stream: ...


@runtime_checkable
class Target(Protocol):
    """Correct answers and their loss, used inside a predictor. An ``nn.Module`` if it has weights.

    A target whose ``content`` includes more than the prediction describes this in an attribute ``content_note``, for figures.
    Optional capabilities: :class:`Scores`, :class:`RanksIds` and :class:`LearnsVectors`.
    """

    num_outputs: int

    def answers(self, prediction: Prediction, run: Run) -> Any:
        """Return the correct answers, usually a tensor (N, ...), in the form that :meth:`loss` takes."""
        ...

    def loss(self, prediction: Prediction, answers: Any) -> Tensor:
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
