"""Replacement of whole units by other units of their class."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.component import Component, named
from omnimask.components.corruptors.base import check_ids, only_modality, with_units
from omnimask.components.maskers.fields import Class, class_number
from omnimask.components.units.unit_files import cached_units, first_samples
from omnimask.components.units.unit_pool import Ids, Ints, Stretch, UnitPool, find_units, read_units, stretches
from omnimask.interfaces import Context, Corpus, Corruptor, Masking, Sample, Stream, Tokens, View
from omnimask.streams import sequence

logger = logging.getLogger(__name__)

_FORMAT = 1


class ReplaceUnits:
    """Other units of the same class in place of annotated ones, with the target whether each is the original.

    This is the entity replacement of WKLM [0] and of BiTimeBERT 2.0 [1].

    A token field numbers the units. Units with a hidden token or a target are left unchanged. Each other unit is independently
    replaced with probability ``ratio`` by a different unit of its class in the training samples; a unit alone in its class stays.
    The corruptor ``rest`` handles hidden tokens and must keep a slot for every token. Serves one modality with ids.

    The targets are those of ``rest``, and one for each unit, replaced or not, at its first slot: a row for a whole unit
    (``Targets.index`` -1), whose ``literal`` is 1 if it was replaced, else 0. The target ``was_replaced`` of a predictor with
    ``units: true`` answers it.

    The pool of units is a file, or is built from the recipe's training samples. It is built once and cached (``$OMNIMASK_CACHE``)
    in the same format.

    Args:
        field: integer field with unit numbers; the field ``NAME.class``, if present, holds the class of every token.
        ratio: probability of replacing a unit.
        classes: restrict to units of these classes. A class is a number, or a name if the tokenizer defines names.
        rest: the corruptor for hidden tokens.
        same_length: whether replacements must have the same number of tokens. Otherwise the length of the input changes and
            positions count slots, which requires a modality with one position axis.
        units: a file; the options below then have no effect. None: it is built.
        max_tokens: reading stops after the sample that reaches this number of tokens.

    [0] Xiong et al.: Pretrained Encyclopedia: Weakly Supervised Knowledge-Pretrained Language Model, 2019. [1] Wang et al.: Towards
    Effective Time-Aware Language Representation: Exploring Enhanced Temporal Understanding in Language Models, 2024.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    smoke: ClassVar[Mapping[str, Any]] = {"units": None, "max_tokens": 20_000}

    def __init__(
        self,
        context: Context,
        *,
        field: Annotated[str, Field(description="field with unit numbers")],
        ratio: Annotated[float, Field(gt=0, le=1, description="probability that a unit is replaced")] = 0.5,
        classes: Annotated[list[Class] | None, Field(description="restrict to units of these classes")] = None,
        rest: Annotated[Component[Corruptor], Field(description="corruptor of the masked tokens")] = named(  # noqa: B008
            "corruptor", "mask_token"
        ),
        same_length: Annotated[bool, Field(description="replace units by units of equal length only")] = False,
        units: Annotated[Path | None, Field(description="file; default: built from the training samples")] = None,
        max_tokens: Annotated[int, Field(gt=0, description="maximum number of tokens to read")] = 10_000_000,
    ) -> None:
        check_ids(context, "replace_units")
        if len(context.modalities) != 1:
            raise ValueError(f"replace_units handles one modality, not {list(context.modalities)}; set it under each modality")
        (name,) = context.modalities
        spec = context.specs[name]
        if field not in spec.fields:
            raise ValueError(
                f"replace_units needs the field {field!r}, but the tokens of {name!r} have {sorted(spec.fields) or 'none'}"
            )
        if not same_length and spec.axes != 1:
            raise ValueError(f"units of other lengths need one position axis, but {name!r} has {spec.axes}; set same_length: true")
        self.field, self.ratio, self.same_length = field, ratio, same_length
        self.kind_field = f"{field}.class" if f"{field}.class" in spec.fields else None
        if classes is not None and self.kind_field is None:
            raise ValueError(f"classes are given, but units of the field {field!r} have none")
        self.classes = None if classes is None else {class_number(context, field, one) for one in classes}
        self.rest = rest(context)
        if self.rest.answers_in != "context":
            raise ValueError(
                f"rest ({rest.name}) puts targets into the query stream, but units need them in the context; use mask_token"
            )
        self.pool = self._pool(context.corpora.get(name), spec.vocabulary or 0, units, max_tokens)

    @property
    def specials(self) -> tuple[str, ...]:
        """Specials of ``rest``."""
        return self.rest.specials

    @property
    def num_answers(self) -> int:
        """Number of answers of ``rest``."""
        return self.rest.num_answers

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        """Return the view. Raise ``ValueError`` if the pool is missing, or ``rest`` does not keep a slot for every token."""
        name = only_modality(sample, "replace_units")
        view = self.rest(dataclasses.replace(sample, draw=sample.draw.at("rest")), masking)
        context = view.context
        if view.query is not None or not np.array_equal(context.source, np.arange(len(sample))):
            raise ValueError(f"replace_units needs a rest that keeps all slots, but {type(self.rest).__name__} does not")
        tokens = sample.tokens[name]
        units = self._candidates(tokens, masking[name])
        shown = self._shown(np.asarray(tokens.content, np.int64), units, sample)
        return View(_rewritten(sample, context, units, shown), fields=view.fields, hidden=view.hidden)

    def _candidates(self, tokens: Tokens, masking: Masking) -> list[Stretch]:
        """Return units whose tokens are all visible and not targets."""
        kind = None if self.kind_field is None else np.asarray(tokens.fields[self.kind_field], np.int64)
        is_free = np.asarray(masking.is_visible, bool) & ~np.asarray(masking.is_target, bool)
        return [
            unit
            for unit in stretches(np.asarray(tokens.fields[self.field], np.int64), kind)
            if (self.classes is None or unit.kind in self.classes) and is_free[unit.start : unit.stop].all()
        ]

    def _shown(self, ids: Ints, units: list[Stretch], sample: Sample) -> list[Ids | None]:
        """Return the replacement of each unit, or None to keep it."""
        if self.pool is None:
            raise ValueError("replace_units needs a file, units=..., outside of a recipe")
        chance, choice = sample.draw.uniform(2 * len(units), "units").reshape(2, -1).tolist()
        return [
            self.pool.other(unit.kind, tuple(ids[unit.start : unit.stop].tolist()), choice[number], same_length=self.same_length)
            if chance[number] < self.ratio
            else None
            for number, unit in enumerate(units)
        ]

    def _pool(self, corpus: Corpus | None, vocabulary: int, path: Path | None, max_tokens: int) -> UnitPool | None:
        if path is not None:
            return _read(path, vocabulary)
        if corpus is None:
            return None

        def found() -> UnitPool:
            logger.info("collecting the units of %r in the training samples; later runs reuse them", self.field)
            pool = find_units(self._samples(corpus, max_tokens), vocabulary)
            logger.info("found %d distinct units of %d classes", len(pool), len(pool.units))
            return pool

        key = repr((_FORMAT, corpus.fingerprint(), self.field, vocabulary, max_tokens))
        read = partial(_read, vocabulary=vocabulary)
        return cached_units("units", key, read, found, lambda pool: pool.text().encode())

    def _samples(self, corpus: Corpus, max_tokens: int) -> Iterator[tuple[Ints, Ints, Ints | None]]:
        for tokens in first_samples(corpus, max_tokens):
            kind = None if self.kind_field is None else np.asarray(tokens.fields[self.kind_field], np.int64)
            yield np.asarray(tokens.content, np.int64), np.asarray(tokens.fields[self.field], np.int64), kind


def _read(path: Path, vocabulary: int) -> UnitPool:
    try:
        pool = read_units(path)
    except OSError as error:
        raise ValueError(f"units {path} cannot be read: {error.strerror or error}") from error
    if pool.vocabulary != vocabulary:
        raise ValueError(f"units {path} have a vocabulary of {pool.vocabulary}, but the tokenizer has {vocabulary} ids")
    return pool


def _rewritten(sample: Sample, context: Stream, units: list[Stretch], shown: list[Ids | None]) -> Stream:
    """Return the stream with the slots of replaced units, and a target for every unit.

    A replacement's slots stand for the unit's tokens, one by one; if it is longer, the last ones stand for none.
    """
    new = [(unit, ids) for unit, ids in zip(units, shown, strict=True) if ids is not None]
    source, literal = _spliced(np.asarray(context.source), np.asarray(context.literal), new)
    slot = np.full(len(sample) + 1, -1)
    held = np.flatnonzero(source >= 0)
    slot[source[held]] = held
    moved = dataclasses.replace(context.targets, at=slot[np.asarray(context.targets.at)])
    first, is_replaced = np.array([unit.start for unit in units], np.int64), np.array([ids is not None for ids in shown], np.int64)
    table = with_units(moved, slot[first], is_replaced, np.ones(len(units), np.float32))
    return sequence(
        sample,
        source,
        literal=literal,
        modality=np.full(len(source), context.modality[0] if len(sample) else 0),
        positions=_positions(sample, context, source, is_counted=any(len(ids) != unit.stop - unit.start for unit, ids in new)),
        targets=table,
        kind=int(context.kind[0]),
        level=float(context.level[0]),
    )


def _spliced(source: Ints, literal: Ints, new: list[tuple[Stretch, Ids]]) -> tuple[Ints, Ints]:
    """Return (T,) source tokens and shown ids of the slots."""
    sources, literals, place = [], [], 0
    for unit, ids in new:
        own = np.arange(unit.start, unit.stop)[: len(ids)]
        sources += [source[place : unit.start], own, np.full(len(ids) - len(own), -1)]
        literals += [literal[place : unit.start], np.array(ids, np.int64)]
        place = unit.stop
    return np.concatenate([*sources, source[place:]]), np.concatenate([*literals, literal[place:]])


def _positions(sample: Sample, context: Stream, source: Ints, *, is_counted: bool) -> NDArray[np.float32]:
    """Return (T, A) positions of the slots: those of their tokens, or slot numbers if lengths changed."""
    return np.arange(len(source), dtype=np.float32)[:, None] if is_counted else np.asarray(context.positions)[source]
