"""Matching of a checkpoint's token rows with a recipe's tokens, and initialization of new rows. D width.

Vocabularies of different kinds are compared by the text of their tokens: ``##ing`` of WordPiece, ``ing`` of a byte-level BPE and
``ing`` of a unigram model are equal, and so are ``the``, ``Ġthe`` and ``▁the``, which begin a word.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from omnimask.interfaces import TokenSpec
from omnimask_text.tokenize.subwords import Subwords

ROWS, BIAS, TOKENS = "rows", "bias", "tokens"
"""Names in a file of rows: the tensors, and the metadata key with the list of tokens as JSON."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a subword tokenizer by id, and the ids of its special tokens by use."""

    scheme: Subwords

    @cached_property
    def tokens(self) -> Mapping[int, str]:
        """Tokens as written by the tokenizer."""
        return {number: token for token, number in self.scheme.backend.get_vocab(with_added_tokens=True).items()}

    @property
    def uses(self) -> Mapping[str, int]:
        return self.scheme.special_ids

    @cached_property
    def kind(self) -> str:
        """Notation of tokens according to the tokenizer's decoder: ByteLevel, WordPiece, Metaspace, or empty for others."""
        decoder = json.loads(self.scheme.backend.to_str()).get("decoder") or {}
        kinds = {part.get("type") for part in _parts(decoder)}
        return next((kind for kind in ("ByteLevel", "WordPiece", "Metaspace") if kind in kinds), "")

    @cached_property
    def surfaces(self) -> Mapping[int, bytes]:
        """Text of tokens: the bytes they add to a text, with a space before those that begin a word."""
        return {number: _surface(token, self.kind) for number, token in self.tokens.items()}


@dataclass(frozen=True)
class RowSources:
    """Sources of the rows of the recipe's tables.

    ``source`` (n,) is the checkpoint's id, -1 for a new row. ``names`` by id are the tokenizer's notation, and ``texts`` the text
    of tokens that have one.
    """

    source: Tensor
    names: Mapping[int, str]
    texts: Mapping[int, str]

    @property
    def new(self) -> list[int]:
        """Ids missing in the checkpoint."""
        return (self.source < 0).nonzero().flatten().tolist()


def match(mine: Vocabulary, theirs: Vocabulary, spec: TokenSpec, num_rows: int) -> RowSources:
    """Find the recipe's tokens in the checkpoint's vocabulary: special ones by use, others by text.

    Args:
        mine: of the recipe's tokenizer.
        theirs: of the checkpoint's.
        spec: of the recipe's tokens; special tokens added by a component follow the vocabulary.
        num_rows: of the checkpoint's table.
    """
    assert spec.vocabulary is not None
    found = _same(mine, theirs, spec.vocabulary)
    special = {**mine.uses, **{use: spec.id(use) for use in spec.specials}}
    for use, number in special.items():
        found[number] = theirs.uses.get(use, found.get(number, -1))
    source = torch.full((spec.vocabulary + spec.num_special_rows,), -1)
    for number, old in found.items():
        source[number] = old if old < num_rows else -1
    texts = {number: _text(surface) for number, surface in mine.surfaces.items() if number not in special.values()}
    return RowSources(source, mine.tokens, {number: text for number, text in texts.items() if text is not None})


def _same(mine: Vocabulary, theirs: Vocabulary, size: int) -> dict[int, int]:
    """Return the checkpoint's id of each shared token. Equal vocabularies also share ids without a token."""
    if mine.tokens == theirs.tokens:
        return {number: number for number in range(size)}
    if mine.kind == theirs.kind:
        ids = {token: number for number, token in theirs.tokens.items()}
        return {number: ids[token] for number, token in mine.tokens.items() if token in ids}
    ids = {surface: number for number, surface in sorted(theirs.surfaces.items(), reverse=True)}
    forms = {number: _forms(surface, mine.kind, theirs.kind) for number, surface in mine.surfaces.items()}
    return {number: ids[known[0]] for number, each in forms.items() if (known := [form for form in each if form in ids])}


def _forms(surface: bytes, mine: str, theirs: str) -> tuple[bytes, ...]:
    """Return the forms in which to search a text. In WordPiece every sign is a word; others write most of them without a space."""
    bare = surface.strip()
    is_sign = bare and not any(map(str.isalnum, bare.decode("utf-8", "replace")))
    if not is_sign or "WordPiece" not in (mine, theirs):
        return (surface,)
    return (b" " + bare, bare) if theirs == "WordPiece" else (bare, b" " + bare)


@dataclass(frozen=True)
class Filled:
    """A table (n, D) and a bias (n,) with all rows filled in; ``counts`` of rows by source."""

    table: Tensor
    bias: Tensor
    counts: Mapping[str, int]


def fill(rows: RowSources, theirs: Vocabulary, how: str | Path, table: Tensor, bias: Tensor, initial: Tensor) -> Filled:
    """Return tables for the recipe's tokens.

    Args:
        rows: sources of the rows.
        theirs: the checkpoint's vocabulary.
        how: initialization of new rows: ``pieces``, the mean of the rows of the token's pieces in the checkpoint's tokenizer, or of
            all rows if these are unknown; ``mean``, the mean of all rows; ``random``, unchanged; or a file of rows.
        table, bias: of the checkpoint, (m, D) and (m,).
        initial: (n, D) randomly initialized rows.

    Raises:
        ValueError: the file cannot be read, or lacks a row.
    """
    table, bias = table.float(), bias.float()
    is_old = rows.source >= 0
    filled = torch.where(is_old[:, None], table[rows.source.clamp(min=0)], initial)
    biases = torch.where(is_old, bias[rows.source.clamp(min=0)], 0.0)
    old = Filled(filled, biases, {"the checkpoint's": int(is_old.sum())})
    if isinstance(how, Path):
        return _from_file(rows, how, old)
    if how == "random":
        return _counted(old, {"new, drawn from N(0, 0.02)": len(rows.new)})
    known = torch.tensor(sorted(number for number in theirs.tokens if number < len(table)))
    return _means(rows, theirs if how == "pieces" else None, table, bias, known, old)


def _means(rows: RowSources, theirs: Vocabulary | None, table: Tensor, bias: Tensor, known: Tensor, old: Filled) -> Filled:
    """Initialize new rows as means of their pieces' rows (given a vocabulary), or of all ``known`` ones."""
    whole, whole_bias = table[known].mean(0), bias[known].mean()
    by_pieces = 0
    for number in rows.new:
        text = None if theirs is None else rows.texts.get(number)
        pieces = [] if theirs is None or text is None else _pieces(theirs, text, len(table))
        by_pieces += bool(pieces)
        old.table[number] = table[pieces].mean(0) if pieces else whole
        old.bias[number] = bias[pieces].mean() if pieces else whole_bias
    return _counted(old, {"new, the mean of their pieces": by_pieces, "new, the mean of all": len(rows.new) - by_pieces})


def _pieces(theirs: Vocabulary, text: str, num_rows: int) -> list[int]:
    """Return ids of the pieces of a token's text, or none if the tokenizer does not know all of it."""
    found = theirs.scheme.backend.encode(text, add_special_tokens=False).ids
    return [] if theirs.uses.get("unk") in found or any(number >= num_rows for number in found) else found


def _from_file(rows: RowSources, path: Path, old: Filled) -> Filled:
    """Take rows from a file. It overrides every token it lists, and must list every new one with a name."""
    tokens, table, bias = read_rows(path)
    if table.shape[1:] != old.table.shape[1:]:
        raise ValueError(f"{path} has rows of shape {tuple(table.shape[1:])}, but the checkpoint's have {old.table.shape[1]}")
    place = {token: number for number, token in enumerate(tokens)}
    missing = [rows.names[number] for number in rows.new if number in rows.names and rows.names[number] not in place]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise ValueError(f"{path} lacks rows of {len(missing):,} tokens that the checkpoint lacks, too: {shown}")
    given = {number: place[token] for number, token in rows.names.items() if token in place}
    mine, theirs = torch.tensor(list(given)), torch.tensor(list(given.values()))
    if given:
        old.table[mine], old.bias[mine] = table[theirs].float(), bias[theirs].float()
    kept = sum(int(old_id >= 0) for number, old_id in enumerate(rows.source.tolist()) if number not in given)
    unnamed = [number for number in rows.new if number not in given]
    counts = {"the checkpoint's": kept, f"from {path.name}": len(given), "new, left as drawn": len(unnamed)}
    return dataclasses.replace(old, counts=_positive(counts))


def read_rows(path: Path) -> tuple[list[str], Tensor, Tensor]:
    """Return the tokens (n) of a file of rows, ``rows`` (n, D), and ``bias`` (n,), zero if the file has none.

    Raises:
        ValueError: the file is missing, damaged, or in another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            listed = json.loads((file.metadata() or {}).get(TOKENS, "null"))
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"new_rows: {path} cannot be read: {error}; must be mean, pieces, random, or a safetensors file"
        ) from error
    table = held.get(ROWS)
    if table is None or not isinstance(listed, list) or table.ndim != 2 or len(table) != len(listed):
        raise ValueError(
            f"{path} must contain a tensor {ROWS!r} with a row per token, and a JSON list of the tokens in its "
            f"metadata under {TOKENS!r}; it contains {sorted(held)}, and "
            f"{len(listed) if isinstance(listed, list) else 'no'} tokens"
        )
    bias = held.get(BIAS, table.new_zeros(len(table)))
    if bias.shape != (len(table),):
        raise ValueError(f"{path} has a {BIAS!r} of shape {tuple(bias.shape)} for {len(table):,} rows")
    return [str(token) for token in listed], table, bias


def write_rows(path: Path, tokens: Iterable[str], rows: Tensor, bias: Tensor | None = None) -> None:
    """Write a file of rows, for the option ``new_rows``.

    Args:
        path: of the file.
        tokens: in the notation of the recipe's tokenizer (``tokenizer.json`` lists them).
        rows: (n, D).
        bias: (n,) of the output layer, if there is one.
    """
    tensors = {ROWS: rows.contiguous()} | ({} if bias is None else {BIAS: bias.contiguous()})
    save_file(tensors, path, {TOKENS: json.dumps(list(tokens), ensure_ascii=False)})


def _counted(filled: Filled, counts: Mapping[str, int]) -> Filled:
    return dataclasses.replace(filled, counts=_positive({**filled.counts, **counts}))


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


# ---- text of tokens -------------------------------------------------------------------------------------------------------------


def _parts(decoder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield decoder
    for part in decoder.get("decoders", ()):
        yield from _parts(part)


def _surface(token: str, kind: str) -> bytes:
    if kind == "ByteLevel" and all(character in BYTES for character in token):
        return bytes(BYTES[character] for character in token)
    if kind == "WordPiece":
        return (token[2:] if token.startswith("##") and len(token) > 2 else f" {token}").encode()
    return (token.replace("▁", " ") if kind == "Metaspace" else token).encode()


def _text(surface: bytes) -> str | None:
    """Return the text of bytes, or None for a part of a character, and for white space, which has no pieces."""
    try:
        text = surface.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.strip() else None


def _byte_characters() -> dict[str, int]:
    """Return GPT-2's alphabet: printable Latin-1 characters represent themselves, the other bytes are mapped to U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + number): byte for number, byte in enumerate(others)}


BYTES: Mapping[str, int] = _byte_characters()
"""Bytes by their characters in byte-level tokenizers."""
