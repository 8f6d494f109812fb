"""Fields of tokens and pairs that a view shows instead of the samples' own, and pairs that a position reads by slots."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.per_modality import PerModalityCorruptor
from omnimask.components.encoders.transformer import TransformerEncoder
from omnimask.data.collation import collate
from omnimask.interfaces import Context, Draw, FieldSpec, Masking, Packed, Placement, Sample, Stream, Tokens, TokenSpec, View
from omnimask.network.embed import field_at
from omnimask.packed import to_device
from omnimask.streams import sequence

FIELDS = {"kind": FieldSpec("int64"), "bond": FieldSpec("int64", arity=2), "force": FieldSpec("float32", shape=(3,), arity=2)}
SPECS = {"atoms": TokenSpec(vocabulary=50, fields=FIELDS), "words": TokenSpec(vocabulary=50, fields={"kind": FieldSpec("int64")})}


def _sample(number: int, atoms: int, words: int = 0) -> Sample:
    """Bond (i, j) of sample n is 1000 n + 10 i + j, and the kind of atom i is 100 n + i."""
    place = np.arange(atoms)
    bond = 1000 * number + 10 * place[:, None] + place
    tokens = {
        "atoms": Tokens(
            place,
            place[:, None].astype(np.float32),
            {"kind": 100 * number + place, "bond": bond, "force": np.stack([bond] * 3, 2).astype(np.float32)},
        )
    }
    if words:
        place = np.arange(words)
        tokens["words"] = Tokens(place, place[:, None].astype(np.float32), {"kind": -place})
    return Sample(tokens, Draw(0, 0, f"s{number}"), tuple(SPECS))


def _views(samples: list[Sample], fields: list[dict[str, Any]]) -> list[dict[str, View]]:
    """Every second token is shown."""
    return [
        {"main": View(sequence(sample, np.arange(0, len(sample), 2)), fields=own)}
        for sample, own in zip(samples, fields, strict=True)
    ]


def test_a_view_carries_its_own_fields_and_the_others_keep_theirs() -> None:
    samples = [_sample(1, 4), _sample(2, 3)]
    bond, kind = -np.asarray(samples[1].tokens["atoms"].fields["bond"]), np.array([7, 8, 9])
    specs = {"atoms": SPECS["atoms"]}
    batch = collate(samples, _views(samples, [{}, {"bond": bond, "kind": kind}]), specs)
    view = batch.views["main"]
    stored = batch.fields["atoms"]
    assert set(view.fields) == {"bond", "kind"}
    assert view.fields["bond"].tolist() == [*stored["bond"][:16].tolist(), *bond.ravel().tolist()]
    assert view.fields["kind"].tolist() == [100, 101, 102, 103, 7, 8, 9]
    assert stored["kind"].tolist() == [100, 101, 102, 103, 200, 201, 202], "the store keeps what the samples have"
    assert field_at(view.context, batch, "kind").tolist() == [100, 102, 7, 9]
    assert view.fields["bond"] is view.context.fields["atoms"]["bond"] is view.context.pairs["bond"].values, "held once"
    moved = to_device(batch, "meta").views["main"]
    assert moved.fields["bond"] is moved.context.pairs["bond"].values


def test_pairs_by_slots_are_those_of_their_tokens() -> None:
    """Of slots that were dropped, inserted or belong to another modality there are none."""
    samples = [_sample(1, 4, words=2), _sample(2, 3)]
    masking = Masking(np.array([True, False, True, True]), np.array([False, True, False, False]), np.ones(4, np.float32))
    corruptor = PerModalityCorruptor({name: Drop(Context(specs=SPECS)) for name in SPECS})
    shown = {"words": Masking(np.ones(2, bool), np.zeros(2, bool), np.ones(2, np.float32))}
    views = [
        {"main": corruptor(samples[0], {"atoms": masking, **shown})},
        {
            "main": corruptor(
                samples[1],
                {
                    "atoms": dataclasses.replace(
                        masking, is_visible=np.ones(3, bool), is_target=np.zeros(3, bool), weight=np.ones(3, np.float32)
                    )
                },
            )
        },
    ]
    batch = collate(samples, views, SPECS)
    stream = batch.views["main"].context
    pairs, force = stream.pairs["bond"], stream.pairs["force"]
    first = torch.arange(5)[None]
    tokens = [0, 2, 3]
    expected = torch.full((5, 5), -1)
    expected[:3, :3] = torch.tensor([[1000 + 10 * i + j for j in tokens] for i in tokens])
    assert torch.equal(pairs(first, first, absent=-1)[0], expected)
    assert torch.equal(force(first, first, absent=-1)[0, ..., 2].long(), expected)
    second = torch.arange(5, 8)[None]
    assert pairs(second, second)[0].tolist() == [[2000 + 10 * i + j for j in range(3)] for i in range(3)]
    query = batch.views["main"].query
    assert query is not None and query.pairs["bond"](torch.tensor([[0]]), torch.tensor([[0]])).tolist() == [[[1011]]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bond": np.zeros((4, 3), np.int64)}, r"'bond' of 'atoms' has shape \(4, 3\); 4 tokens need \(4, 4\)"),
        ({"bonds": np.zeros((4, 4), np.int64)}, r"a field 'bonds', but the tokens have \['bond', 'force', 'kind'\]"),
        ({"kind": np.zeros(4, np.int64)}, "'kind' is one of atoms, words; call it atoms.kind"),
    ],
)
def test_fields_that_fit_no_tokens_are_refused(fields: dict[str, Any], message: str) -> None:
    samples = [_sample(1, 4)]
    with pytest.raises(ValueError, match=message):
        collate(samples, _views(samples, [fields]), SPECS)


def test_fields_of_several_modalities_are_joined_under_names_of_their_own() -> None:
    class Renumbering(Drop):
        def __call__(self, sample: Sample, masking: Any) -> View:
            (tokens,) = sample.tokens.values()
            return dataclasses.replace(super().__call__(sample, masking), fields={"kind": np.asarray(tokens.fields["kind"]) + 1})

    samples = [_sample(1, 4, words=2), _sample(2, 3)]
    corruptor = PerModalityCorruptor({name: Renumbering(Context(specs={name: SPECS[name]})) for name in SPECS})
    views = []
    for sample in samples[:1]:
        masking = {
            name: Masking(np.ones(len(t), bool), np.zeros(len(t), bool), np.ones(len(t), np.float32))
            for name, t in sample.tokens.items()
        }
        views.append({"main": corruptor(sample, masking)})
    batch = collate(samples[:1], views, SPECS)
    assert batch.views["main"].fields["atoms.kind"].tolist() == [101, 102, 103, 104]
    assert batch.views["main"].fields["words.kind"].tolist() == [1, 0]
    assert field_at(batch.views["main"].context, batch, "kind").tolist() == [101, 102, 103, 104, 1, 0]


class BondBias(nn.Module):
    """A position that biases attention by a field of pairs; one learned number for each kind of bond and head."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(8, context.num_heads))

    def forward(self, stream: Stream) -> Placement:
        bonds = stream.pairs["bond"]
        return Placement(bias=lambda queries, keys: self.table[bonds(queries, keys)].permute(0, 3, 1, 2))


def test_a_position_reads_pairs_of_the_stream() -> None:
    """A batch of two samples gives what each gives alone, and another field of pairs gives something else."""
    specs = {"atoms": SPECS["atoms"]}
    context = Context(specs=specs, modalities=("atoms",))
    torch.manual_seed(0)
    made: Any = lambda inner: BondBias(inner)  # noqa: E731
    encoder = TransformerEncoder(context, width=16, depth=2, heads=2, position=made).eval()
    samples = [_sample(1, 4), _sample(2, 6)]
    bonds = [np.random.default_rng(n).integers(0, 8, (len(s), len(s))) for n, s in enumerate(samples)]
    table = torch.randn(50, 16)

    def features(chosen: list[int], scale: int = 1) -> torch.Tensor:
        some = [samples[n] for n in chosen]
        batch = collate(some, _views(some, [{"bond": bonds[n] * scale % 8} for n in chosen]), specs)
        stream = batch.views["main"].context
        data = table[batch.store["atoms"].data[stream.source]]
        with torch.no_grad():
            return encoder(Packed(data, stream.layout), stream, batch).features.data

    together = features([0, 1])
    assert torch.allclose(together, torch.cat([features([0]), features([1])]), atol=1e-5)
    assert (together - features([0, 1], scale=3)).abs().max() > 1e-3
