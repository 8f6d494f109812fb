"""Contract of corruptors."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from omnimask.interfaces import NOTHING, Context, Corruptor, Masking, Sample, Stream, TokenSpec, View
from omnimask.packed import follows_prefix
from omnimask.testing import whole_batch
from omnimask.testing.requirements import DRAW, disturb_global_randomness, require, require_picklable, same
from omnimask.testing.samples import LENGTHS, make_masking, make_sample
from omnimask.testing.visibility import owner, sees, shows

IDS = TokenSpec(vocabulary=11)


class CorruptorContract(ABC):
    """Contract of a corruptor. Subclasses implement :meth:`corruptor` and declare its inputs and guarantees.

    Attributes:
        specs: of the modalities to test. One corruptor for several handles them together.
        shows_all_visible: every visible token appears in the context with its content.
        hides_all_hidden: no hidden token's content appears in the context.
        answers_are_hidden: no slot sees the content of its answer (False for a control that shows everything).
        asks_all_targets: every target token is answered.
    """

    specs: ClassVar[Mapping[str, TokenSpec]] = {"ids": IDS}
    shows_all_visible: ClassVar[bool] = True
    hides_all_hidden: ClassVar[bool] = True
    answers_are_hidden: ClassVar[bool] = True
    asks_all_targets: ClassVar[bool] = True

    @abstractmethod
    def corruptor(self, context: Context) -> Corruptor:
        """Return the corruptor, built for the context (its specs and modalities) as in a recipe."""

    def masking(self, sample: Sample, name: str, ratio: float) -> Masking:
        """Return a masking of one modality. Override it for a corruptor reading units, weights or special targets."""
        return make_masking(len(sample.tokens[name]), ratio, sample.draw.at(name))

    def reserved(self) -> Mapping[str, TokenSpec]:
        """Return the specs with exactly the corruptor's special tokens."""
        corruptor = self.corruptor(Context(specs=self.specs, modalities=tuple(self.specs)))
        return {name: reserve(spec, corruptor) for name, spec in self.specs.items()}

    def built(self) -> Corruptor:
        """Return the corruptor over reserved special tokens."""
        return self.corruptor(Context(specs=self.reserved(), modalities=tuple(self.specs)))

    def cases(self) -> Iterator[tuple[str, Sample, Mapping[str, Masking]]]:
        """Yield samples of all lengths (and with modalities absent), with nothing, everything and parts of them hidden."""
        names = list(self.specs)
        held = [names, *([[name] for name in names] if len(names) > 1 else [])]
        for present in held:
            for number, length in enumerate(LENGTHS):
                lengths = {name: LENGTHS[(number + i) % len(LENGTHS)] if i else length for i, name in enumerate(present)}
                sample = make_sample(self.specs, lengths, DRAW.at(length, *present))
                for ratio in (0.0, 0.3, 0.7, 1.0):
                    masking = {name: self.masking(sample, name, ratio) for name in present}
                    yield f"{ {n: len(t) for n, t in sample.tokens.items()} } tokens, ratio {ratio}", sample, masking

    def test_views_are_well_formed(self) -> None:
        corruptor, specs = self.built(), self.reserved()
        for case, sample, masking in self.cases():
            view = corruptor(sample, masking)
            check_stream(view.context, sample, specs, f"{case}: context")
            require(
                view.context.layout.num_sequences == 1 and view.context.layout.parent.tolist() == [0],
                f"{case}: the context of one sample is one sequence with parent 0",
            )
            if view.query is not None:
                check_stream(view.query, sample, specs, f"{case}: query")
                parents = view.query.layout.parent
                require(
                    bool(np.all(parents == 0)), f"{case}: queries of one sample have parent 0, its context, not {parents.tolist()}"
                )

    def test_targets_lie_in_the_declared_stream(self) -> None:
        corruptor = self.built()
        for case, sample, masking in self.cases():
            view = corruptor(sample, masking)
            if corruptor.answers_in == "query":
                require(view.query is not None, f"{case}: answers_in is 'query', and the view has no query stream")
                require(not len(view.context.targets), f"{case}: answers_in is 'query', and the context has targets")
            else:
                empty = view.query is None or not len(view.query.targets)
                require(empty, f"{case}: answers_in is 'context', and the query has targets")

    def test_visible_and_hidden_tokens(self) -> None:
        corruptor = self.built()
        for case, sample, masking in self.cases():
            context = corruptor(sample, masking).context
            shown = np.array([shows(context, token).any() for token in range(len(sample))], bool)
            is_visible = _joined(sample, masking, "is_visible")
            if self.shows_all_visible:
                lost = np.flatnonzero(is_visible & ~shown)
                require(not len(lost), f"{case}: visible tokens {lost[:5].tolist()} are missing from the context")
            if self.hides_all_hidden:
                leaked = np.flatnonzero(~is_visible & shown)
                require(not len(leaked), f"{case}: the context contains the content of masked tokens {leaked[:5].tolist()}")

    def test_no_slot_sees_its_answer(self) -> None:
        if not self.answers_are_hidden:
            return
        corruptor = self.built()
        for case, sample, masking in self.cases():
            view = corruptor(sample, masking)
            stream = answering(view, corruptor)
            table, visible = stream.targets, sees(stream)
            for at, of in zip(np.asarray(table.at)[:, 0], np.asarray(table.of), strict=True):
                if of < 0:
                    continue
                leak = bool((visible[at] & shows(stream, of)).any())
                leak = leak or (stream is view.query and bool(shows(view.context, of).any()))
                require(
                    not leak,
                    f"{case}: slot {at} must predict token {of} but sees a slot with its content; change rank, block or "
                    "literal, or set answers_are_hidden = False for a control",
                )

    def test_every_target_is_asked(self) -> None:
        if not self.asks_all_targets:
            return
        corruptor = self.built()
        for case, sample, masking in self.cases():
            table = answering(corruptor(sample, masking), corruptor).targets
            wanted = np.flatnonzero(_joined(sample, masking, "is_target"))
            asked = np.unique(np.asarray(table.of)[np.asarray(table.of) >= 0])
            require(
                np.array_equal(wanted, asked),
                f"{case}: targets must be tokens {wanted[:8].tolist()} of the masking, got {asked[:8].tolist()}",
            )

    def test_whole_batch_equals_single_samples(self) -> None:
        """Check ``corrupt_batch``, if the corruptor has it, on batches of all cases, of one, and of those without tokens."""
        corruptor, specs = self.built(), self.reserved()
        cases = [(sample, masking) for _, sample, masking in self.cases()]
        draws = whole_batch.batch_draws(len(cases))
        samples = [dataclasses.replace(sample, draw=draw) for (sample, _), draw in zip(cases, draws, strict=True)]
        for rows in (range(len(cases)), [len(cases) - 1], [row for row, sample in enumerate(samples) if not len(sample)]):
            some, maskings = [samples[row] for row in rows], [cases[row][1] for row in rows]
            if some:
                whole_batch.check_corruptor(corruptor, specs, some, maskings)

    def test_deterministic_per_draw(self) -> None:
        corruptor = self.built()
        for case, sample, masking in self.cases():
            first = corruptor(sample, masking)
            disturb_global_randomness(1)
            require(
                same(first, corruptor(sample, masking)), f"{case}: one draw gave two views; take all randomness from sample.draw"
            )

    def test_inputs_are_not_changed(self) -> None:
        corruptor = self.built()
        for case, sample, masking in self.cases():
            before = copy.deepcopy((sample.tokens, dict(masking)))
            corruptor(sample, masking)
            require(same(before, (sample.tokens, dict(masking))), f"{case}: the corruptor changed its input; work on copies")

    def test_picklable(self) -> None:
        corruptor = self.built()
        again = require_picklable(corruptor, "the corruptor")
        for case, sample, masking in self.cases():
            require(same(corruptor(sample, masking), again(sample, masking)), f"{case}: a pickled corruptor gives another view")


def reserve(spec: TokenSpec, corruptor: Corruptor) -> TokenSpec:
    """Return the spec with a corruptor's special tokens, as reserved by the builder."""
    wanted = tuple(name for name in corruptor.specials if name not in spec.special_ids)
    answers = sum(name not in spec.special_ids for name in corruptor.specials[: corruptor.num_answers])
    return dataclasses.replace(spec, specials=(*spec.specials, *wanted), answers=answers)


def answering(view: View, corruptor: Corruptor) -> Stream:
    """Return the stream with a corruptor's targets."""
    stream = view.query if corruptor.answers_in == "query" else view.context
    assert stream is not None
    return stream


def check_stream(stream: Stream, sample: Sample, specs: Mapping[str, TokenSpec], where: str) -> None:
    """Check slots, layout and targets of a stream in sample coordinates."""
    slots = stream.layout.num_slots
    for name in ("source", "literal", "modality", "positions", "has_position", "rank", "block"):
        array = np.asarray(getattr(stream, name))
        require(len(array) == slots, f"{where}: {name} has {len(array)} entries for {slots} slots")
    source, literal, modality = (np.asarray(part) for part in (stream.source, stream.literal, stream.modality))
    require(bool(np.all((source >= -1) & (source < len(sample)))), f"{where}: source must be in [-1, {len(sample)})")
    held = source >= 0
    require(
        bool(np.all(modality[held] == sample.modality[source[held]])), f"{where}: a slot's modality differs from that of its source"
    )
    require(bool(np.all(held | (literal != -1))), f"{where}: an inserted slot (source -1) needs an id to show, or NOTHING")
    for number, name in enumerate(sample.modalities):
        spec = specs[name]
        limit = (spec.vocabulary or 0) + spec.num_special_rows
        ids = literal[(modality == number) & (literal >= 0)]
        require(
            bool(np.all(ids < limit)),
            f"{where}: shows id {ids.max(initial=0)} of {name!r}, but ids must be less than {limit} (the "
            "vocabulary plus declared specials); declare inserted ids in `specials` and look ids up with "
            "spec.id(name)",
        )
    require(bool(np.all(literal >= NOTHING)), f"{where}: literal must be an id, CONTENT or NOTHING")
    require(bool(np.isfinite(stream.positions).all()), f"{where}: positions must be finite")
    _check_attention(stream, where)
    _check_targets(stream, sample, specs, where)


def _check_attention(stream: Stream, where: str) -> None:
    """Check that the layout's attention kind matches the ranks and blocks."""
    rank, block, sequence = np.asarray(stream.rank), np.asarray(stream.block), owner(stream.layout)
    inside = sequence[1:] == sequence[:-1]
    if stream.layout.attention == "full":
        equal = np.all((np.diff(rank) == 0)[inside]) and np.all((np.diff(block) == 0)[inside])
        require(bool(equal), f"{where}: attention is 'full', but ranks or blocks differ inside a sequence; use streams.sequence")
    if stream.layout.attention == "causal":
        require(bool(np.all((np.diff(rank) > 0)[inside])), f"{where}: attention is 'causal', but ranks do not increase by one")
    if stream.layout.prefix is not None:
        require(
            follows_prefix(stream.layout, rank, block),
            f"{where}: layout.prefix is {stream.layout.prefix.tolist()}, but ranks or blocks differ from it; use streams.sequence",
        )


def _check_targets(stream: Stream, sample: Sample, specs: Mapping[str, TokenSpec], where: str) -> None:
    table, slots = stream.targets, stream.layout.num_slots
    at, of, literal = (np.asarray(part) for part in (table.at, table.of, table.literal))
    require(
        at.shape == (len(of), max(table.arity, 1)),
        f"{where}: targets.at must have shape {(len(of), max(table.arity, 1))}, not {at.shape}",
    )
    end = slots if table.arity else stream.layout.num_sequences
    require(bool(np.all((at >= 0) & (at < end))), f"{where}: targets.at must be in [0, {end})")
    require(bool(np.all((of >= -1) & (of < len(sample)))), f"{where}: targets.of must be in [-1, {len(sample)})")
    require(bool(np.all((of >= 0) != (literal >= 0))), f"{where}: a target must have either a token (of) or an id (literal)")
    weight = np.asarray(table.weight)
    require(bool(np.isfinite(weight).all() and (weight >= 0).all()), f"{where}: target weights must be finite and at least 0")
    if table.arity == 1:
        limits = np.array([(specs[n].vocabulary or 0) + specs[n].answers for n in sample.modalities])
        allowed = limits[np.asarray(stream.modality)[at[:, 0]]]
        is_unit = np.zeros(len(of), bool) if table.index is None else np.asarray(table.index) < 0
        require(
            bool(np.all((literal < allowed) | is_unit)),
            f"{where}: a literal target exceeds the outputs of the head; put targets first in `specials` and count them in "
            "`num_answers`",
        )


def _joined(sample: Sample, masking: Mapping[str, Masking], name: str) -> np.ndarray:
    parts = [np.asarray(getattr(masking[modality], name), bool) for modality in sample.tokens]
    return np.concatenate(parts) if parts else np.zeros(0, bool)
