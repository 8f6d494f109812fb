"""Fields of tokens and of pairs in a batch: fields overridden by a view, and pairs addressed by slots.

L tokens of one sample and modality; P store tokens of a batch; T slots of a stream.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Layout, Pairs, Sample, SampleColumns, Stream, TokenSpec, View

Fields = Mapping[str, Mapping[str, NDArray[Any]]]
"""Arrays by modality and name."""


def packed_fields(samples: Sequence[Sample], views: Sequence[View], specs: Mapping[str, TokenSpec]) -> dict[str, dict[str, Any]]:
    """Pack the fields that views override, by modality and name, in the form of the batch's own fields.

    A sample whose view does not override such a field keeps its own.

    Raises:
        ValueError: a view overrides a field that no modality has, or with a shape other than the sample's.
    """
    own = [{_owner(key, specs): value for key, value in view.fields.items()} for view in views]
    found: dict[str, dict[str, Any]] = {}
    for modality, name in dict.fromkeys(place for fields in own for place in fields):
        spec = specs[modality].fields[name]
        parts = [np.zeros((0, *spec.shape), np.dtype(spec.dtype))]
        for sample, fields in zip(samples, own, strict=True):
            if modality not in sample.tokens:
                continue
            tokens = sample.tokens[modality]
            value = np.asarray(fields.get((modality, name), tokens.fields[name]))
            shape = (*(len(tokens),) * spec.arity, *spec.shape)
            if value.shape != shape:
                raise ValueError(
                    f"the view's field {name!r} of {modality!r} has shape {value.shape}; {len(tokens)} tokens need {shape}"
                )
            parts.append(value.reshape(-1, *spec.shape).astype(spec.dtype, copy=False))
        found.setdefault(modality, {})[name] = np.concatenate(parts)
    return found


def whole_fields(view: View, samples: SampleColumns, specs: Mapping[str, TokenSpec]) -> dict[str, dict[str, Any]]:
    """Return the fields that a view of all samples overrides, by modality and name.

    Raises:
        ValueError: the view overrides a field that no modality has, or with a shape other than the batch's.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in view.fields.items():
        modality, name = _owner(key, specs)
        tokens, spec = samples.tokens[modality], specs[modality].fields[name]
        count = int((tokens.lengths**2).sum()) if spec.arity == 2 else tokens.num_tokens
        if np.shape(value) != (count, *spec.shape):
            raise ValueError(
                f"the view's field {name!r} of {modality!r} has shape {np.shape(value)}; expected {(count, *spec.shape)}"
            )
        found.setdefault(modality, {})[name] = np.asarray(value, spec.dtype)
    return found


def by_name(fields: Fields, specs: Mapping[str, TokenSpec]) -> dict[str, NDArray[Any]]:
    """Return the arrays under a view's names: the field name if it is unique to one modality, else ``modality.name``."""
    return {_key(modality, name, specs): value for modality, named in fields.items() for name, value in named.items()}


@dataclass(frozen=True)
class CarriedFields:
    """Assignment of fields to the packed views of one batch.

    Args:
        specs: of the modalities.
        stored: the samples' own fields, packed.
        layouts: of the modalities' stores, one sequence per sample.
        base: store index of each modality's first token.
    """

    specs: Mapping[str, TokenSpec]
    stored: Fields
    layouts: Mapping[str, Layout]
    base: Mapping[str, int]

    def __call__(self, packed: View, own: Fields) -> View:
        """Return a packed view with the fields that it overrides. Its streams have all fields of pairs."""
        shown = {m: {**self.stored[m], **own.get(m, {})} for m in self.specs}
        context = self._carried(packed.context, own, shown)
        query = None if packed.query is None else self._carried(packed.query, own, shown)
        return dataclasses.replace(packed, context=context, query=query, fields=by_name(own, self.specs))

    def _carried(self, stream: Stream, own: Fields, shown: Fields) -> Stream:
        names = dict.fromkeys(name for spec in self.specs.values() for name, field in spec.fields.items() if field.arity == 2)
        return dataclasses.replace(stream, fields=own, pairs={name: self._pairs(name, stream, shown) for name in names})

    def _pairs(self, name: str, stream: Stream, shown: Fields) -> Pairs:
        """Return a field of pairs, concatenated over its modalities and addressed by the slots of a stream."""
        having = [m for m, spec in self.specs.items() if name in spec.fields and spec.fields[name].arity == 2]
        source = np.asarray(stream.source)
        row, column = np.full(len(source), -1), np.zeros(len(source), np.int64)
        first = 0
        for modality in having:
            layout, of = self.layouts[modality], source - self.base[modality]
            is_here = (source >= 0) & (of >= 0) & (of < layout.num_slots)
            sample = np.searchsorted(layout.offsets, of[is_here], side="right") - 1
            starts = first + np.concatenate(([0], np.cumsum(layout.lengths**2)))  # flattened (L, L) blocks, one per sample
            column[is_here] = of[is_here] - layout.offsets[sample]
            row[is_here] = starts[sample] + column[is_here] * layout.lengths[sample]  # start of the token's row in its block
            first = int(starts[-1])
        values = [shown[modality][name] for modality in having]
        if any(left.dtype != right.dtype or left.shape[1:] != right.shape[1:] for left, right in pairwise(values)):
            raise ValueError(f"the field of pairs {name!r} differs in type or shape between {', '.join(having)}; rename one")
        return Pairs(values[0] if len(values) == 1 else np.concatenate(values), row, column)


def _owner(key: str, specs: Mapping[str, TokenSpec]) -> tuple[str, str]:
    """Return the modality and the name of a view's field."""
    having = [modality for modality, spec in specs.items() if key in spec.fields]
    if len(having) == 1:
        return having[0], key
    for modality, spec in specs.items():
        name = key.removeprefix(f"{modality}.")
        if name != key and name in spec.fields:
            return modality, name
    if having:
        raise ValueError(f"the view's field {key!r} is one of {', '.join(having)}; call it {having[0]}.{key}")
    known = sorted({name for spec in specs.values() for name in spec.fields})
    raise ValueError(f"the view has a field {key!r}, but the tokens have {known}")


def _key(modality: str, name: str, specs: Mapping[str, TokenSpec]) -> str:
    return name if sum(name in spec.fields for spec in specs.values()) == 1 else f"{modality}.{name}"
