"""Packing: every slot and target of a batch points at the right content, whichever modalities its samples have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.corruptors.per_modality import PerModalityCorruptor
from omnimask.components.corruptors.sentinel_spans import SentinelSpans
from omnimask.components.embeddings.linear import LinearEmbedding
from omnimask.components.embeddings.table import TableEmbedding
from omnimask.data.collation import collate
from omnimask.interfaces import CONTENT, Context, Corruptor, Draw, MaskedBatch, Sample, Stream, Tokens, TokenSpec, View
from omnimask.network.embed import embed
from omnimask.testing import make_masking
from omnimask.testing.corruptor import reserve

PLAIN = {"a": TokenSpec(vocabulary=1000), "b": TokenSpec(width=(2,), axes=2), "c": TokenSpec(vocabulary=1000)}


def specs_for(make: Mapping[str, type]) -> dict[str, TokenSpec]:
    return {m: reserve(spec, make[m](Context(specs=PLAIN, modalities=(m,)))) for m, spec in PLAIN.items()}


def corruptors(make: Mapping[str, type], specs: Mapping[str, TokenSpec]) -> dict[str, Corruptor]:
    return {m: make[m](Context(specs=specs, modalities=(m,))) for m in specs}


def marked_sample(number: int, lengths: Mapping[str, int]) -> Sample:
    """Every token's content says which sample it belongs to and where it stands: 100 * sample + place."""
    tokens: dict[str, Tokens] = {}
    for name, spec in PLAIN.items():
        if name not in lengths:
            continue
        place = np.arange(lengths[name])
        mark = 100 * number + place
        content = mark if spec.width is None else np.stack([mark, -mark], axis=1).astype(np.float32)
        tokens[name] = Tokens(content, np.stack([place] * spec.axes, axis=1).astype(np.float32))
    return Sample(tokens, Draw(0, 0, f"s{number}"), tuple(PLAIN))


def packed(samples: list[Sample], make: Mapping[str, type]) -> tuple[MaskedBatch, list[View], dict[str, TokenSpec]]:
    specs = specs_for(make)
    corruptor = PerModalityCorruptor(corruptors(make, specs))
    views = []
    for sample in samples:
        masking = {m: make_masking(len(t), 0.5, sample.draw.at(m)) for m, t in sample.tokens.items()}
        views.append(corruptor(sample, masking))
    return collate(samples, [{"main": view} for view in views], specs), views, specs


def store_mark(batch: MaskedBatch, index: int) -> tuple[str, int]:
    """Modality and mark of the token at a store coordinate."""
    for name, store in batch.store.items():
        place = index - batch.base[name]
        if 0 <= place < store.layout.num_slots:
            return name, int(store.data[place].flatten()[0])
    raise AssertionError(f"no token has store coordinate {index}")


def sample_mark(sample: Sample, index: int) -> tuple[str, int]:
    """Modality and mark of the token at a sample coordinate."""
    name = sample.modalities[int(sample.modality[index])]
    return name, int(np.asarray(sample.tokens[name].content[index - sample.start[name]]).flatten()[0])


def check_stream(batch: MaskedBatch, stream: Stream, alone: list[Stream], samples: list[Sample]) -> None:
    source = [(sample, int(s)) for sample, one in zip(samples, alone, strict=True) for s in one.source]
    for (sample, before), after in zip(source, stream.source.tolist(), strict=True):
        assert (before < 0) == (after < 0)
        if before >= 0:
            assert store_mark(batch, after) == sample_mark(sample, before)
    first = np.cumsum([0, *(one.layout.num_slots for one in alone)])
    wanted = sorted(
        (int(first[i] + at), "" if of < 0 else str(sample_mark(sample, int(of))), int(literal))
        for i, (sample, one) in enumerate(zip(samples, alone, strict=True))
        for at, of, literal in zip(one.targets.at[:, 0], one.targets.of, one.targets.literal, strict=True)
    )
    table = stream.targets
    found = [
        (at, "" if of < 0 else str(store_mark(batch, of)), literal)
        for at, of, literal in zip(table.at[:, 0].tolist(), table.of.tolist(), table.literal.tolist(), strict=True)
    ]
    assert sorted(found) == wanted
    covered = 0
    for name, (start, stop) in table.spans.items():
        assert start == covered
        covered = stop
        for of, at in zip(table.of[start:stop].tolist(), table.at[start:stop, 0].tolist(), strict=True):
            assert (store_mark(batch, of)[0] if of >= 0 else list(PLAIN)[int(stream.modality[at])]) == name
    assert covered == len(table)


def check_reads(batch: MaskedBatch, stream: Stream) -> None:
    seen: dict[int, str] = {}
    for name, reads in stream.reads.items():
        slots = torch.arange(stream.layout.num_slots) if reads.slots is None else reads.slots
        for slot, row in zip(slots.tolist(), reads.index.tolist(), strict=True):
            assert store_mark(batch, int(stream.source[slot])) == (name, int(batch.store[name].data[row].flatten()[0]))
            seen[slot] = name
        for slot, literal in zip(reads.literal_slots.tolist(), reads.literals.tolist(), strict=True):
            assert int(stream.literal[slot]) == literal
            seen[slot] = name
    shown = [slot for slot, literal in enumerate(stream.literal.tolist()) if literal >= CONTENT]
    assert sorted(seen) == shown
    assert all(list(PLAIN)[int(stream.modality[slot])] == name for slot, name in seen.items())


ARRANGEMENTS: dict[str, dict[str, type]] = {
    "mask tokens": {"a": MaskToken, "b": MaskToken, "c": MaskToken},
    "dropped": {"a": Drop, "b": Drop, "c": Drop},
    "mixed": {"a": SentinelSpans, "b": Drop, "c": SentinelSpans},
}
a_sample = st.dictionaries(st.sampled_from(list(PLAIN)), st.integers(0, 6), min_size=1)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@given(st.lists(a_sample, min_size=1, max_size=4))
def test_store_coordinates(arrangement: dict[str, type], lengths: list[dict[str, int]]) -> None:
    ordered = [{name: one[name] for name in PLAIN if name in one} for one in lengths]
    samples = [marked_sample(number, one) for number, one in enumerate(ordered)]
    batch, views, _ = packed(samples, arrangement)
    assert batch.num_tokens == sum(sum(one.values()) for one in ordered)
    view = batch.views["main"]
    check_stream(batch, view.context, [v.context for v in views], samples)
    check_reads(batch, view.context)
    assert view.context.layout.parent.tolist() == list(range(len(samples)))
    if view.query is None:
        return
    check_stream(batch, view.query, [v.query for v in views if v.query is not None], samples)
    check_reads(batch, view.query)
    counts = [v.query.layout.num_sequences for v in views if v.query is not None]
    assert view.query.layout.parent.tolist() == np.repeat(np.arange(len(samples)), counts).tolist()


def test_every_embedding_takes_part_even_if_one_modality_holds_all_slots() -> None:
    """Devices that train together need gradients of the same parameters in every step."""
    batch, _, specs = packed([marked_sample(0, {"b": 5})], ARRANGEMENTS["dropped"])
    makers = {"a": TableEmbedding, "b": LinearEmbedding, "c": TableEmbedding}
    embeddings = {m: make(Context(specs=specs, modalities=(m,), width=8)) for m, make in makers.items()}
    out = embed(batch.views["main"].context, batch, embeddings, 8)
    wanted = embeddings["b"](batch.store["b"].data[batch.views["main"].context.source - batch.base["b"]])
    assert torch.equal(out, wanted)
    out.sum().backward()
    assert all(parameter.grad is not None for part in embeddings.values() for parameter in part.parameters())
