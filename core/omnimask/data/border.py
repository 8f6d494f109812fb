"""Run-time checks of host components: their results are compared with their interfaces.

Tokens and maskings are inputs of other components. Their types, shapes and counts are checked for each sample. Views, and all
ranges and finiteness, are checked once per packed batch; if this fails, the samples are checked one by one to find the invalid one.
A violation is an error of the component, not of the sample. It therefore ends the run (:class:`~omnimask.errors.BrokenContract`)
and does not count as a bad sample.

L tokens of one sample and modality, n of all its modalities; T slots, S sequences, N targets; A position axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from omnimask.data.answers import beyond_head
from omnimask.data.view_fields import packed_fields, whole_fields
from omnimask.errors import BrokenContract
from omnimask.interfaces import NOTHING, FieldSpec, Masking, Sample, SampleColumns, Stream, Tokens, TokenSpec, View
from omnimask.messages.hints import described
from omnimask.packed import follows_prefix
from omnimask.streams import is_plain

T = TypeVar("T")


class Breach(Exception):
    """Returned value that violates its interface. The message does not contain names yet."""


def refuse(origin: str, breach: Breach, key: str) -> BrokenContract:
    """Return the error that ends the run, with component, sample and violation."""
    return BrokenContract(f"{origin}, sample {key!r}: {breach}")


def row_of(value: Any) -> Mapping[str, Any]:
    """Return a data set's sample after checking its type: a mapping with field names.

    Raises:
        Breach: it is not a mapping.
    """
    if not isinstance(value, Mapping):
        raise Breach(f"a sample must be a mapping from field name to raw value, not {described(value)}")
    return cast(Mapping[str, Any], value)


class TokenBorder:
    """Check of a tokenizer's results against its specification: types, shapes and counts. :func:`check_token_values` checks values.

    Args:
        spec: of the modality.
    """

    def __init__(self, spec: TokenSpec) -> None:
        self.spec = spec
        self._width = spec.width or ()
        self._content = _INT64 if spec.width is None else np.dtype(spec.dtype)
        self._fields = {name: (field.arity, field.shape, np.dtype(field.dtype)) for name, field in spec.fields.items()}

    def __call__(self, value: Any) -> Tokens:
        """Return the tokens unchanged.

        Raises:
            Breach: they differ from the specification.
        """
        if not isinstance(value, Tokens):
            raise Breach(f"it must return Tokens, not {described(value)}")
        length = len(value.positions)
        _has(value.positions, (length, self.spec.axes), _FLOAT32, "positions")
        _has(value.content, (length, *self._width), self._content, "content")
        for name, (arity, shape, dtype) in self._fields.items():
            if name not in value.fields:
                raise Breach(f"field {name!r} is declared in the spec but missing; the tokens have {sorted(value.fields)}")
            _has(value.fields[name], (length,) * arity + shape, dtype, _FIELD, name)
        return value


def check_token_values(tokens: Tokens, spec: TokenSpec, num_specials: int = 0) -> None:
    """Check ranges and finiteness of content, positions and fields of one or several samples' tokens.

    Args:
        tokens: of one or several samples.
        spec: of their modality.
        num_specials: number of ids after the vocabulary, inserted by corruptors, allowed in the content. A tokenizer must not
            return any of them.

    Raises:
        Breach: a value is out of range or not finite.
    """
    if spec.width is None:
        check_range(tokens.content, 0, (spec.vocabulary or 0) + num_specials, "ids")
    else:
        _finite(tokens.content, "content")
    _finite(tokens.positions, "positions")
    for axis, size in enumerate(spec.extent):
        if size is not None:
            check_range(np.asarray(tokens.positions)[:, axis], 0, size, f"positions on axis {axis}")
    for name, field in spec.fields.items():
        check_field_values(tokens.fields[name], field, f"field {name!r}")


def check_field_values(values: ArrayLike, field: FieldSpec, what: str) -> None:
    """Check the values of a field. Absent values (NaN, -1) are allowed.

    Raises:
        Breach: a class is out of range, or a number is infinite.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f" and array.size and bool(np.isinf(array).any()):
        raise Breach(f"{what} is infinite")
    if field.classes is not None:
        check_range(array, -1, field.classes, what)


def check_masking(masking: Any, length: int) -> None:
    """Compare a masking of ``length`` tokens with its interface.

    Raises:
        Breach: a type, shape or range differs.
    """
    if not isinstance(masking, Masking):
        raise Breach(f"it must return a Masking, not {described(masking)}")
    _has(masking.is_visible, (length,), _BOOL, "is_visible")
    _has(masking.is_target, (length,), _BOOL, "is_target")
    if masking.unit is not None:
        _has(masking.unit, (length,), _INT64, "unit")
        check_range(masking.unit, -1, None, "unit")
    if masking.entry is not None:
        _has(masking.entry, (length,), _INT64, "entry")
        check_range(masking.entry, -1, None, "entry")
        if masking.unit is None:
            raise Breach("entry needs unit numbers in unit")
    if masking.weight is not None:
        _has(masking.weight, (length,), _FLOAT32, "weight")
        _weights(masking.weight)
    if masking.groups is not None:
        groups = np.asarray(masking.groups)
        _has(groups, (len(groups) if groups.ndim else 0, length), _BOOL, "groups")
        if not np.array_equal(groups.any(axis=0), masking.is_target):
            raise Breach("the union of groups must be is_target")
    if masking.kind < 0:
        raise Breach(f"kind must be at least 0, got {masking.kind}")
    if not 0 <= masking.level <= 1:
        raise Breach(f"level must be in [0, 1], got {masking.level}")


def view_of(value: Any) -> View:
    """Return a corruptor's result after checking its type; :func:`check_view` checks its contents.

    Raises:
        Breach: it is not a view.
    """
    if not isinstance(value, View):
        raise Breach(f"it must return a View, not {described(value)}")
    for name, stream in (("context", value.context), ("query", value.query)):
        if not isinstance(stream, Stream) and (stream is not None or name == "context"):
            raise Breach(f"{name} must be a Stream, not {described(stream)}")
    return value


def joined(origins: Iterable[str]) -> str:
    """Return the distinct components as text for messages."""
    return " and ".join(dict.fromkeys(origins)) or "the component"


def called_for(call: Callable[[], T], origins: Iterable[str], sample: Sample) -> T:
    """Return the result of a call. Add a note with component and sample to unexpected exceptions (other than ``ValueError``)."""
    try:
        return call()
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        error.add_note(f"raised by {joined(origins)} for the sample {sample.draw.key!r}")
        raise


def check_view(view: View, sample: Sample, specs: Mapping[str, TokenSpec]) -> None:
    """Check types, shapes, counts, ranges and finiteness of one sample's view, in sample coordinates.

    Raises:
        Breach: it differs from its interface.
    """
    check_stream(view.context, "context ")
    if view.query is not None:
        check_stream(view.query, "query ")
    try:
        packed_fields([sample], [view], specs)
    except ValueError as error:
        raise Breach(str(error)) from error
    size = np.array([len(sample)])
    check_stream_values(view.context, specs, size, np.ones(1, np.int64), name="context ")
    if view.query is not None:
        check_stream_values(view.query, specs, size, np.array([view.context.layout.num_sequences]), name="query ")


@dataclass(frozen=True)
class Owners:
    """Sample numbers of each slot (T,), each row of targets (N,) and each sequence (S,) of a stacked stream."""

    slot: NDArray[np.int64]
    row: NDArray[np.int64]
    sequence: NDArray[np.int64]


def check_stream_values(
    stream: Stream,
    specs: Mapping[str, TokenSpec],
    size: NDArray[np.int64],
    num_parents: NDArray[np.int64],
    owners: Owners | None = None,
    *,
    name: str = "",
) -> None:
    """Check ranges and finiteness of the streams of B samples, in sample coordinates except for the slots of their targets.

    Args:
        stream: of one sample, or stacked.
        specs: of the recipe's modalities.
        size: (B,) tokens of every sample.
        num_parents: (B,) possible parents for the sequences of every sample.
        owners: of stacked streams; None for those of one sample.
        name: prefix of the message.

    Raises:
        Breach: a value is out of range or not finite.
    """
    table, layout = stream.targets, stream.layout
    slots, rows, parents = (
        (int(size[0]), int(size[0]), int(num_parents[0]))
        if owners is None
        else (size[owners.slot], size[owners.row], num_parents[owners.sequence])
    )
    check_range(stream.source, -1, slots, f"{name}source")
    check_range(table.of, -1, rows, f"{name}targets.of")
    check_range(layout.parent, 0, parents, f"{name}layout.parent")
    check_range(table.at, 0, layout.num_slots if table.arity else layout.num_sequences, f"{name}targets.at")
    _check_contents(stream, specs, name)
    if owners is not None and bool(((owners.slot if table.arity else owners.sequence)[table.at] != owners.row[:, None]).any()):
        raise Breach(f"{name}targets.at must be inside the sample's stream")
    _weights(table.weight)


def _check_contents(stream: Stream, specs: Mapping[str, TokenSpec], name: str) -> None:
    """Check ranges and finiteness of everything in streams that refers neither to tokens nor to slots."""
    check_range(stream.modality, 0, len(specs), f"{name}modality")
    num_ids = np.array([(spec.vocabulary or 0) + spec.num_special_rows for spec in specs.values()])
    check_range(stream.literal, NOTHING, num_ids[stream.modality] if len(num_ids) > 1 else int(num_ids[0]), f"{name}literal")
    _finite(stream.positions, f"{name}positions")
    _finite(stream.level, f"{name}level")
    check_range(stream.targets.literal, -1, None, f"{name}targets.literal")
    if (prefix := stream.layout.prefix) is not None:
        check_range(prefix, 0, stream.layout.lengths + 1, f"{name}layout.prefix")
        if not follows_prefix(stream.layout, stream.rank, stream.block):
            raise Breach(f"{name}layout.prefix contradicts rank and block; let streams.sequence make the layout from them")
    if beyond := beyond_head(stream, specs):
        raise Breach(f"{name}{beyond}")


def check_whole_view(view: Any, samples: SampleColumns, specs: Mapping[str, TokenSpec]) -> View:
    """Return a view of all samples, in batch coordinates, after checking its types, counts, order, ranges and finiteness.

    Raises:
        Breach: it differs from its interface.
        ValueError: its fields do.
    """
    view = view_of(view)
    if not np.array_equal(view.context.layout.parent, np.arange(samples.num_samples)):
        raise Breach("the context must have one sequence for each sample, in order")
    whole_fields(view, samples, specs)
    for stream in (view.context, view.query):
        if stream is not None:
            _check_whole_stream(stream, samples, specs)
    return view


def _check_whole_stream(stream: Stream, samples: SampleColumns, specs: Mapping[str, TokenSpec]) -> None:
    table, layout, owner = stream.targets, stream.layout, stream.layout.parent
    if not is_plain(stream) or table.arity != 1:
        raise Breach("streams must have the declared types and counts, and targets of single slots")
    check_range(owner, 0, samples.num_samples, "layout.parent")
    check_range(table.at, 0, layout.num_slots, "targets.at")
    check_range(stream.source, -1, len(samples.owner), "source")
    check_range(table.of, -1, len(samples.owner), "targets.of")
    of_slot = np.repeat(owner, layout.lengths)
    of_row = of_slot[table.at[:, 0]]
    if bool((owner[1:] < owner[:-1]).any() or (of_row[1:] < of_row[:-1]).any()):
        raise Breach("sequences and targets must be in the order of their samples")
    for name, index, own in (("source", stream.source, of_slot), ("targets.of", table.of, of_row)):
        is_token = index >= 0
        held, wanted = (index, own) if is_token.all() else (index[is_token], own[is_token])
        if bool((samples.owner[held] != wanted).any()):
            raise Breach(f"{name} must be inside the sample")
    check_axes(stream, specs)
    _check_contents(stream, specs, "")
    _weights(table.weight)


def check_axes(stream: Stream, specs: Mapping[str, TokenSpec]) -> None:
    """Raise :class:`Breach` for positions with more axes than any modality has."""
    axes = max(spec.axes for spec in specs.values())
    if stream.positions.shape[1] > axes:
        raise Breach(f"positions have {stream.positions.shape[1]} axes, but modalities have at most {axes}")


def check_stream(stream: Stream, name: str = "") -> None:
    """Check types, shapes and counts of one sample's stream.

    Raises:
        Breach: they differ from its interface.
    """
    slots, layout = (len(stream.source),), stream.layout
    if layout.num_slots != slots[0]:
        raise Breach(f"the sequences of {name or 'the stream'} have {layout.num_slots} slots, and its source {slots[0]}")
    _has(stream.source, slots, _INT64, name, "source")
    _has(stream.literal, slots, _INT64, name, "literal")
    _has(stream.modality, slots, _INT64, name, "modality")
    _has(stream.rank, slots, _INT64, name, "rank")
    _has(stream.block, slots, _INT64, name, "block")
    _has(stream.has_position, slots, _BOOL, name, "has_position")
    positions = np.asarray(stream.positions)
    if positions.ndim != 2 or len(positions) != slots[0]:
        raise Breach(f"{name}positions have shape {positions.shape}; expected ({slots[0]}, number of axes)")
    if not len(layout.lengths) == len(stream.kind) == len(stream.level) == len(layout.parent):
        numbers = f"{len(stream.kind)}, {len(stream.level)} and {len(layout.parent)}"
        raise Breach(f"there are {layout.num_sequences} sequences, and {name}kind, level and layout.parent have {numbers}")
    if layout.prefix is not None:
        _has(layout.prefix, (layout.num_sequences,), _INT64, name, "layout.prefix")
    table = stream.targets
    rows = (len(table.of),)
    _has(table.at, (*rows, table.arity or 1), _INT64, name, "targets.at")
    _has(table.of, rows, _INT64, name, "targets.of")
    _has(table.literal, rows, _INT64, name, "targets.literal")
    _has(table.weight, rows, _FLOAT32, name, "targets.weight")
    if table.index is not None:
        _has(table.index, rows, _INT64, name, "targets.index")


_BOOL, _INT64, _FLOAT32 = np.dtype("bool"), np.dtype("int64"), np.dtype("float32")

_FIELD = "field "

_KINDS = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}
"""Array kinds that convert without loss, by declared kind. Numbers must also fit into the range."""


def _has(value: Any, shape: tuple[int, ...], declared: np.dtype[Any], *what: str) -> None:
    if type(value) is np.ndarray and value.dtype is declared and value.shape == shape:
        return
    array = np.asarray(value)
    if array.shape != shape:
        raise Breach(f"{_name(what)} has shape {array.shape}; expected {shape}")
    if array.dtype == declared or not array.size:
        return
    if array.dtype.kind not in _KINDS.get(declared.kind, declared.kind):
        raise Breach(f"{_name(what)} has dtype {array.dtype}; expected {declared}")
    may_overflow = declared.kind == array.dtype.kind == "f" and array.dtype.itemsize > declared.itemsize
    if may_overflow and bool((np.abs(array) > np.finfo(declared).max).any()):
        raise Breach(f"{_name(what)} reaches {np.nanmax(np.abs(array)):g}, which exceeds {declared}")
    if declared.kind in "iu" and array.dtype.kind in "iu" and not np.can_cast(array.dtype, declared):
        bounds = np.iinfo(declared)
        check_range(array, bounds.min, bounds.max + 1, _name(what))


def _name(what: tuple[str, ...]) -> str:
    return f"{what[0]}{what[1]!r}" if what[0] == _FIELD else "".join(what)


def check_range(values: Any, low: int, stop: Any, what: str) -> None:
    """Raise :class:`Breach` for values below ``low`` or not below ``stop``.

    ``stop`` is a number, an array like ``values``, or None for no limit.
    """
    array = np.asarray(values)
    if not array.size:
        return
    if array.min() < low:
        raise Breach(f"{what} must be at least {low}, got {array.min()}")
    if stop is not None and bool((array >= stop).any() if isinstance(stop, np.ndarray) else array.max() >= stop):
        over = array[array >= stop]
        limit = np.broadcast_to(stop, array.shape)[array >= stop]
        raise Breach(f"{what} must be less than {limit[0]}, got {over[0]}")


def _finite(values: Any, what: str) -> None:
    array = np.asarray(values)
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        number = int(np.count_nonzero(~np.isfinite(array)))
        raise Breach(f"{number} of {array.size} values of {what} are not finite")


def _weights(values: Any) -> None:
    array = np.asarray(values)
    if array.size and not (array.min() >= 0 and array.max() < np.inf):
        raise Breach("a loss weight is negative or not finite")
