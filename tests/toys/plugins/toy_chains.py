"""A protein-like toy modality: chains of 20 residues with planted motifs, framed by two special tokens, with annotations."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import omnimask
from omnimask.interfaces import Context, Draw, FieldSpec, Tokens, TokenSpec
from omnimask.registry import Registrar

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
MOTIFS = ("HLH", "WKW", "CPPC")
BEGIN, END, MASK = 20, 21, 22


class ChainTokenizer:
    """One id per residue between ``begin`` and ``end``; fields number words of three residues and sites, where motifs stand."""

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = "toy.chains"
    renderer: ClassVar[str | None] = None

    def __init__(self, context: Context) -> None:
        del context

    @property
    def spec(self) -> TokenSpec:
        fields = {
            "special": FieldSpec("bool"),
            "word": FieldSpec("int64"),
            "site": FieldSpec("int64"),
            "site.class": FieldSpec("int64", classes=len(MOTIFS)),
            "score": FieldSpec("float32"),
        }
        return TokenSpec(vocabulary=23, special_ids={"mask": MASK, "begin": BEGIN, "end": END}, fields=fields)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        if not isinstance(raw, str) or not raw or set(raw) - set(RESIDUES):
            raise ValueError(f"a chain is a text over {RESIDUES!r} that is not empty, not {raw!r}")
        ids = np.array([RESIDUES.index(residue) for residue in raw])
        count = len(raw)
        site, kind = sites(raw)
        fields = {
            "special": framed(np.zeros(count, bool), True),
            "word": framed(np.arange(count) // 3, -1),
            "site": framed(site, -1),
            "site.class": framed(kind, -1),
            "score": framed(np.where(site >= 0, 1.0, 0.1).astype(np.float32), np.nan),
        }
        content = np.concatenate([[BEGIN], ids, [END]])
        return Tokens(content, np.arange(count + 2, dtype=np.float32)[:, None], fields)

    def decode(self, tokens: Tokens) -> str:
        return "".join(RESIDUES[number] for number in np.asarray(tokens.content) if number < len(RESIDUES))

    def count(self, raw: Any) -> int | None:
        return None if raw is None else len(raw) + 2


def framed(values: NDArray[Any], edge: Any) -> NDArray[Any]:
    """(L + 2,) with ``edge`` at both ends."""
    return np.concatenate([[edge], values, [edge]]).astype(values.dtype)


def sites(raw: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(L,) number of the motif that a residue belongs to, and which motif it is; -1 for none."""
    number, kind = np.full(len(raw), -1), np.full(len(raw), -1)
    found, place = 0, 0
    while place < len(raw):
        motif = next((m for m in MOTIFS if raw.startswith(m, place)), None)
        if motif is not None:
            number[place : place + len(motif)], kind[place : place + len(motif)] = found, MOTIFS.index(motif)
            found, place = found + 1, place + len(motif) - 1
        place += 1
    return number, kind


def chain_of(key: str) -> str:
    """8 to 40 residues, a third of them in motifs; one chain in eight has none."""
    rng = Draw(0, 0, key).rng("chain")
    share = 0.0 if rng.uniform() < 0.125 else 0.15
    out = ""
    while len(out) < rng.integers(8, 41):
        out += MOTIFS[rng.integers(len(MOTIFS))] if rng.uniform() < share else RESIDUES[rng.integers(len(RESIDUES))]
    return out


class Chains:
    """256 chains."""

    def __init__(self, context: Context) -> None:
        del context

    def __len__(self) -> int:
        return 256

    def key(self, index: int) -> str:
        return f"chains/{range(len(self))[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"chain": chain_of(self.key(index))}

    def fingerprint(self) -> str:
        return "toy chains 1"


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    registry.add_tokenizer("toy.residues", "toy_chains:ChainTokenizer")
    registry.add_dataset("toy.chains", "toy_chains:Chains")
