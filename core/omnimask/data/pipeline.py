"""Pipeline from places in the stream to a packed batch: read, decode, augment, tokenize, mask, corrupt, pack.

Runs in loader workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, cast

from omnimask.data.border import Breach, TokenBorder, check_token_values, check_view, refuse, row_of
from omnimask.data.checked_masker import WholeBatchFault
from omnimask.data.collation import collate, collate_columns
from omnimask.data.fields import FieldNames, decoded, names_of, raw_value
from omnimask.data.label_fields import LabelReader
from omnimask.data.loader import BadSample, LoadedBatch
from omnimask.data.planner import Place
from omnimask.data.sample_columns import columns_of, is_faithful
from omnimask.data.sample_errors import of_one_sample, reason_of, trace_of
from omnimask.data.sample_parts import SampleParts
from omnimask.data.view_plan import ViewPlan
from omnimask.data.whole_views import whole_views
from omnimask.errors import BrokenContract, RunStopped
from omnimask.interfaces import (
    Augment,
    Dataset,
    Decoder,
    Draw,
    Draws,
    FieldSpec,
    HoldsColumns,
    HoldsTokens,
    MaskedBatch,
    Masking,
    Sample,
    SampleColumns,
    Shortens,
    Splits,
    Tokenizer,
    Tokens,
    TokenSpec,
    Transform,
    View,
)
from omnimask.messages.hints import listed


@dataclass(frozen=True)
class ModalityPipeline:
    """Conversion of one modality's raw value to tokens. For several fields the raw value is a mapping, the main one first.

    ``origin`` describes the tokenizer's component in messages.
    """

    field: FieldNames
    tokenizer: Tokenizer
    decoder: Decoder | None = None
    augment: tuple[Augment, ...] = ()
    origin: str = "the tokenizer"

    @cached_property
    def _border(self) -> TokenBorder:
        return TokenBorder(self.tokenizer.spec)

    def decoded(self, raw: Any) -> Any:
        """Decode all ``bytes`` in a raw value."""
        with of_one_sample:
            return decoded(raw, self.decoder)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        return self.tokenized(self.decoded(raw), draw)

    def tokenized(self, value: Any, draw: Draw, *, may_be_long: bool = False) -> Tokens:
        """Augment and tokenize a decoded value. Set ``may_be_long`` if it may be longer than in the data set.

        A value that is :class:`Tokens` already, from a data set that holds tokens, is only checked.

        Raises:
            OSError, ValueError: the value cannot be used.
            BrokenContract: types, shapes or counts of the tokens differ from the specification.
        """
        if isinstance(value, Tokens):
            return self.checked(value, draw.key)
        with of_one_sample:
            for number, augment in enumerate(self.augment):
                value = augment(value, draw.at("augment", number))
            if self.augment or may_be_long:
                value = _fitting(self.tokenizer, value)
            tokens = self.tokenizer(value, draw.at("tokenizer"))
        return self.checked(tokens, draw.key)

    def checked(self, tokens: Tokens, key: str) -> Tokens:
        """Return tokens of the sample ``key`` in the types of the specification.

        Raises:
            BrokenContract: types, shapes or counts of the tokens differ from the specification.
        """
        try:
            return self._border(tokens)
        except Breach as breach:
            raise refuse(self.origin, breach, key) from None


def _fitting(tokenizer: Tokenizer, value: Any) -> Any:
    """Shorten a value to fit. Return it unchanged if the tokenizer supports neither shortening nor splitting."""
    if isinstance(tokenizer, Shortens):
        return tokenizer.shorten(value)
    if not isinstance(tokenizer, Splits):
        return value
    parts = tokenizer.split(value)
    return tokenizer.part(value, *parts[0][:2]) if len(parts) > 1 else value


def _holds_specials(content: Any, spec: TokenSpec) -> bool:
    """Return whether ids (an array or a tensor) include special ids inserted by corruptors."""
    return spec.vocabulary is not None and spec.num_special_rows > 0 and len(content) > 0 and int(content.max()) >= spec.vocabulary


@dataclass(frozen=True)
class Grouping:
    """Groups of ``size`` consecutive positions of an epoch, changed together by ``transform`` (None for no change)."""

    size: int = 1
    transform: Transform | None = None

    @property
    def growth(self) -> float:
        """Factor by which the transform increases the tokens of a group."""
        return 1.0 if self.transform is None else self.transform.growth


@dataclass(frozen=True)
class Pipeline:
    """Pipeline from places to one packed batch. A pure function of the places, picklable to workers.

    Args:
        dataset: source of raw values.
        modalities: reading of each modality, in the recipe's order.
        views: the views of every sample, by name. Views share one random draw of their masker.
        specs: of the modalities, in the recipe's order.
        seed: the run's seed.
        stage: name of the use (``train``, ``validation``), so that uses never share random numbers.
        labels: readers of the samples' labels, by name.
        grouping: groups of samples; the places of a group come together.
        origin: description of the data set's component in messages.
    """

    dataset: Dataset
    modalities: Mapping[str, ModalityPipeline]
    views: Mapping[str, ViewPlan]
    specs: Mapping[str, TokenSpec]
    seed: int
    stage: str = "train"
    labels: Mapping[str, LabelReader] = field(default_factory=dict[str, LabelReader])
    grouping: Grouping = Grouping()
    origin: str = "the data set"

    @property
    def without_repetitions(self) -> Pipeline:
        """Pipeline with the first masking of every sample alone, in which a token is either shown or hidden."""
        return dataclasses.replace(self, views={name: dataclasses.replace(plan, repeat=1) for name, plan in self.views.items()})

    def __call__(self, places: Sequence[Place]) -> LoadedBatch:
        if (columns := self._held_columns(places)) is not None:
            return LoadedBatch(self.pack_columns(columns))
        samples, bad = self.samples(places)
        return LoadedBatch(self.pack(samples) if samples else None, bad)

    def samples(self, places: Sequence[Place]) -> tuple[list[Sample], tuple[BadSample, ...]]:
        """Read, transform and tokenize the samples of the given places. Return them with the bad samples."""
        samples: list[Sample] = []
        bad: list[BadSample] = []
        for group in self._groups(places):
            found, refused = self._group(group)
            samples += found
            bad += refused
        return samples, tuple(bad)

    @cached_property
    def _keeps_parts(self) -> bool:
        """Whether samples are parts that stay unchanged until they are tokenized."""
        is_changed = self.grouping.transform is not None or any(part.augment for part in self.modalities.values())
        return isinstance(self.dataset, SampleParts) and not is_changed

    def _groups(self, places: Sequence[Place]) -> Iterator[tuple[Place, ...]]:
        for _, group in groupby(places, lambda place: (place.epoch, place.position // self.grouping.size)):
            yield tuple(group)

    def _group(self, places: Sequence[Place]) -> tuple[list[Sample], list[BadSample]]:
        """Return the samples of one group and the bad ones. If the transform rejects the group, all of its samples are bad."""
        if self._holds_tokens:
            return self._held_group(places)
        rows: list[tuple[Place, Draw, Mapping[str, Any]]] = []
        bad: list[BadSample] = []
        keys = tuple(self.dataset.key(place.index) for place in places) if self.grouping != Grouping() else ()
        for place in places:
            try:
                draw = dataclasses.replace(self._draw(place), group=keys)
                rows.append((place, draw, self._read(place.index)))
            except (OSError, ValueError) as error:
                bad.append(self._bad(place, error))
        try:
            changed = self._transformed([row for _, _, row in rows], [draw for _, draw, _ in rows])
        except ValueError as error:
            return [], [*bad, *(self._bad(place, error) for place, _, _ in rows)]
        samples: list[Sample] = []
        for number, (draw, row) in enumerate(changed):
            try:
                sample = self._tokenized(row, draw)
                if self._keeps_parts:
                    cast(SampleParts, self.dataset).check_count(rows[number][0].index, len(sample))
                samples.append(sample)
            except (OSError, ValueError) as error:
                bad.append(self._bad(rows[number % len(rows)][0], error))
        return samples, bad

    @cached_property
    def _holds_tokens(self) -> bool:
        """Whether samples are taken from the tokens that the data set holds."""
        is_changed = self.grouping.transform is not None or any(part.augment for part in self.modalities.values())
        return isinstance(self.dataset, HoldsTokens) and not is_changed

    def _held_group(self, places: Sequence[Place]) -> tuple[list[Sample], list[BadSample]]:
        """Return the stored samples of one group, and the bad ones."""
        samples: list[Sample] = []
        bad: list[BadSample] = []
        keys = tuple(self.dataset.key(place.index) for place in places) if self.grouping != Grouping() else ()
        for place in places:
            try:
                samples.append(self._held(place.index, dataclasses.replace(self._draw(place), group=keys)))
            except (OSError, ValueError) as error:
                bad.append(self._bad(place, error))
        return samples, bad

    def _held_columns(self, places: Sequence[Place]) -> SampleColumns | None:
        """Return the stored tokens of all places as columns; None if they must be read one by one, for labels for example."""
        dataset = self.dataset
        if self.labels or not self._holds_tokens or not isinstance(dataset, HoldsColumns):
            return None
        draws = [self._draw(place) for place in places]
        if self.grouping != Grouping():
            groups = [tuple(self.dataset.key(place.index) for place in group) for group in self._groups(places) for _ in group]
            draws = [dataclasses.replace(draw, group=group) for draw, group in zip(draws, groups, strict=True)]
        joint = Draws(draws)
        found = dataset.held_columns([place.index for place in places], joint)
        return None if found is None else SampleColumns(*found, joint, tuple(self.specs))

    def _held(self, index: int, draw: Draw) -> Sample:
        with of_one_sample:
            tokens, fields = cast(HoldsTokens, self.dataset).held(index)
        labels = {name: label(fields[label.field]) for name, label in self.labels.items() if fields.get(label.field) is not None}
        return Sample(tokens, draw, tuple(self.modalities), labels)

    def _bad(self, place: Place, error: Exception) -> BadSample:
        return BadSample(self.dataset.key(place.index), place.epoch, place.position, reason_of(error), trace_of(error))

    def _transformed(self, rows: Sequence[Mapping[str, Any]], draws: Sequence[Draw]) -> Sequence[tuple[Draw, Mapping[str, Any]]]:
        """Apply the transform to the rows of a group. Each result has its own draw."""
        if self.grouping.transform is None or not rows:
            return list(zip(draws, rows, strict=True))
        with of_one_sample:
            changed = self.grouping.transform(rows, [draw.at("transform") for draw in draws])
        return [(draws[number % len(draws)].at("row", number), row) for number, row in enumerate(changed)]

    def sample(self, place: Place) -> Sample:
        """Read and tokenize one sample, without the transform of its group.

        Raises:
            OSError, ValueError: it cannot be read, or contains no tokens.
        """
        if self._holds_tokens:
            return self._held(place.index, self._draw(place))
        return self._tokenized(self._read(place.index), self._draw(place))

    def _draw(self, place: Place) -> Draw:
        return Draw(self.seed, place.epoch, self.dataset.key(place.index), place.position, place.progress, stage=(self.stage,))

    def _read(self, index: int) -> Mapping[str, Any]:
        """Return the decoded raw values by modality, and the labels by name, without absent ones."""
        with of_one_sample:
            raw = self.dataset[index]
        try:
            raw = row_of(raw)
        except Breach as breach:
            raise refuse(self.origin, breach, self.dataset.key(index)) from None
        values = {name: (part, raw_value(raw, part.field)) for name, part in self.modalities.items()}
        row = {name: part.decoded(value) for name, (part, value) in values.items() if value is not None}
        if not row:
            fields = [name for part in self.modalities.values() for name in names_of(part.field)]
            empty = [name for name in fields if name in raw]
            raise ValueError(
                f"empty sample: {listed(empty)} is null or empty" if empty else f"fields {fields} are missing; it has {sorted(raw)}"
            )
        return {**row, **{name: raw[label.field] for name, label in self.labels.items() if raw.get(label.field) is not None}}

    def _tokenized(self, row: Mapping[str, Any], draw: Draw) -> Sample:
        is_long = self.grouping.transform is not None
        tokens = {
            name: part.tokenized(row[name], draw.at(name), may_be_long=is_long)
            for name, part in self.modalities.items()
            if row.get(name) is not None
        }
        if not any(len(part) for part in tokens.values()):
            raise ValueError("no tokens")
        labels = {name: label(row[name]) for name, label in self.labels.items() if name in row}
        return Sample(tokens, draw, tuple(self.modalities), labels)

    def pack(self, samples: Sequence[Sample]) -> MaskedBatch:
        """Mask, corrupt and pack samples, all at once where their components can.

        Raises:
            RunStopped: a masker or corruptor rejected a sample.
            BrokenContract: a component's result violates its interface.
        """
        if not is_faithful(samples, self.specs):
            return self.pack_each(samples)
        return self.pack_columns(columns_of(samples, self.specs, self._label_specs))

    def pack_columns(self, samples: SampleColumns) -> MaskedBatch:
        """Mask, corrupt and pack the samples of columns, all at once where their components can; see :meth:`pack`.

        Sample by sample is the definition: where the whole micro-batch fails, the samples are packed one by one, which names the
        sample and the component at fault.
        """
        try:
            batch = collate_columns(samples, whole_views(self.views, samples, self.specs), self.specs)
        except MemoryError:
            raise
        except Exception as error:
            fault = error
        else:
            if any(_holds_specials(samples.tokens[name].content, spec) for name, spec in self.specs.items()):
                self._find_breach(samples.samples, [{}] * samples.num_samples)
            return batch
        self.pack_each(samples.samples)
        if isinstance(fault, WholeBatchFault):
            raise BrokenContract(f"{fault.origin}: fails for whole micro-batches, not for single samples: {fault.error}") from fault
        raise fault

    @property
    def _label_specs(self) -> dict[str, FieldSpec]:
        return {name: label.spec for name, label in self.labels.items()}

    def pack_each(self, samples: Sequence[Sample]) -> MaskedBatch:
        """Mask and corrupt samples one by one, and pack them; see :meth:`pack`."""
        views: list[dict[str, View]] = []
        for sample in samples:
            try:
                views.append(self._views_of(sample))
            except ValueError as error:
                self._find_breach([sample], [{}], error)
                raise RunStopped(f"sample {sample.draw.key!r} with {len(sample)} tokens cannot be masked: {error}") from error
        try:
            batch = collate(samples, views, self.specs, self._label_specs)
        except Exception as error:  # named by component and sample where one of them is at fault
            self._find_breach(samples, views, error)
            raise
        if any(_holds_specials(batch.store[name].data, spec) for name, spec in self.specs.items()):
            self._find_breach(samples, views)
        return batch

    def _views_of(self, sample: Sample) -> dict[str, View]:
        """Return the views of a sample. A masker runs once for each repetition of a drawing."""
        maskings: dict[tuple[int, str | None], list[Mapping[str, Masking]]] = {}
        views: dict[str, View] = {}
        for name, plan in self.views.items():
            own = maskings.setdefault(plan.drawing, [])
            own += [plan.masking(sample, number) for number in range(len(own), plan.repeat)]
            views[name] = plan(sample, own[: plan.repeat])
        return views

    def _find_breach(self, samples: Sequence[Sample], views: Sequence[Mapping[str, View]], error: Exception | None = None) -> None:
        """Compare the samples and views of a batch with their interfaces, one by one.

        Raises:
            BrokenContract: with the first violation.
        """
        for sample, view in zip(samples, views, strict=True):
            origin = "the tokenizer"
            try:
                for name, tokens in sample.tokens.items():
                    origin = self.modalities[name].origin if name in self.modalities else origin
                    check_token_values(TokenBorder(self.specs[name])(tokens), self.specs[name])
                for name, one in view.items():
                    origin = self.views[name].origin if name in self.views else "the corruptor"
                    check_view(one, sample, self.specs)
            except Breach as breach:
                raise refuse(origin, breach, sample.draw.key) from error
