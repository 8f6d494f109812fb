"""Subwords from the library ``tokenizers``, with any of its models: WordPiece, BPE, unigram."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import chain, islice
from types import MappingProxyType

import numpy as np
from tokenizers import Encoding, Tokenizer, models

from omnimask_text.tokenize.characters import divided_by_script, white_space, word_numbers
from omnimask_text.tokenize.frame import read_frame
from omnimask_text.tokenize.scheme import CONTENT_USES, Ints, Pieces
from omnimask_text.tokenize.unknown import DroppedCharacters
from omnimask_text.tokenize.word_table import WordTable, is_by_word

logger = logging.getLogger(__name__)

USES = {
    "mask": ("[MASK]", "<mask>"),
    "cls": ("[CLS]", "<cls>"),
    "sep": ("[SEP]", "<sep>"),
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "bos": ("[BOS]", "<s>", "<bos>"),
    "eos": ("[EOS]", "</s>", "<eos>", "<|endoftext|>"),
}
"""Contents of special tokens by use, if no configuration defines them."""


class Subwords:
    """A scheme based on a tokenizer of the library ``tokenizers``.

    Args:
        backend: the tokenizer; its padding and truncation are disabled.
        special_ids: special tokens by use; others are recognized among the tokenizer's own by their names.
    """

    def __init__(self, backend: Tokenizer, special_ids: Mapping[str, int] = MappingProxyType({})) -> None:
        backend.no_padding()
        backend.no_truncation()
        _without_dropout(backend)
        self.backend = backend
        self.vocabulary = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.special_ids: Mapping[str, int] = {**_recognised(backend), **special_ids}
        added = {number for number, token in backend.get_added_tokens_decoder().items() if token.special}
        content = {self.special_ids.get(use) for use in CONTENT_USES}
        self.frame_ids = np.array(sorted(added - content), np.int64)
        self.frame = read_frame(backend)
        self._dropped = DroppedCharacters(backend)
        self._has_words = _divides(backend)
        is_by_words = self._has_words and not self._dropped.is_possible and is_by_word(backend)
        self._table = WordTable(self._encoded) if is_by_words else None

    def encode(self, text: str) -> Pieces:
        """Return the pieces of a text, without special tokens around it.

        Raises:
            ValueError: the tokenizer has no piece for a character, and no unknown token.
        """
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of each text, which are encoded together. Raise ``ValueError`` as :meth:`encode` does."""
        return self._encoded(texts) if self._table is None else self._table.encode_many(texts)

    def _encoded(self, texts: Sequence[str]) -> list[Pieces]:
        for text in texts:
            self._dropped.check(text)
        with _told():
            encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return self._pieces_of_many(texts, encodings)

    def ids_many(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        """Return the ids of the pieces of all texts (N,), and the number of pieces of each (S,), which are encoded together.

        Raise ``ValueError`` as :meth:`encode` does.
        """
        if self._table is not None:
            return self._table.ids_many(texts)
        ids = [encoding.ids for encoding in self._fast(texts)]
        sizes = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.fromiter(chain.from_iterable(ids), np.int64, int(sizes.sum())), sizes

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of pieces of each text, in batches. Raise ``ValueError`` as :meth:`encode` does."""
        return [len(encoding) for encoding in self._fast(texts)] if self._table is None else self._table.lengths(texts)

    def _fast(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """Encode texts without the places of pieces."""
        if self._dropped.is_possible:
            for text in texts:
                self._dropped.check(text)
        with _told():
            return self.backend.encode_batch_fast(list(texts), add_special_tokens=False)

    def decode(self, ids: Ints) -> str:
        """Return the text of pieces as joined by the tokenizer; special tokens are spelled out."""
        return self.backend.decode(ids.tolist(), skip_special_tokens=False)

    def fingerprint(self) -> str:
        """Return a digest of the tokenizer's file as serialized by the library."""
        return blake2b(self.backend.to_str().encode(), digest_size=16).hexdigest()

    def _pieces_of_many(self, texts: Sequence[str], encodings: Sequence[Encoding]) -> list[Pieces]:
        """Return the pieces of each text, as views of shared arrays."""
        sizes = [len(encoding) for encoding in encodings]
        count = sum(sizes)
        flat = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
        offsets = np.fromiter(flat, np.int64, 2 * count).reshape(count, 2)
        first = np.cumsum([0, *map(len, texts)])[:-1]  # first character of each text, among those of all
        offsets = _without_spaces("".join(texts), offsets + np.repeat(first, sizes)[:, None]) - np.repeat(first, sizes)[:, None]
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int64, count)
        stops = np.cumsum(sizes)
        bounds = list(zip((stops - sizes).tolist(), stops.tolist(), strict=True))
        words = [
            self._words(text, encoding, offsets[start:stop])
            for text, encoding, (start, stop) in zip(texts, encodings, bounds, strict=True)
        ]
        return [Pieces(ids[start:stop], offsets[start:stop], own) for (start, stop), own in zip(bounds, words, strict=True)]

    def _words(self, text: str, encoding: Encoding, offsets: Ints) -> Ints:
        """Return words as split by the tokenizer, or else runs of letters and digits, and each other character."""
        if self._has_words:
            words = encoding.word_ids
            numbers = np.array([-1 if word is None else word for word in words] if None in words else words, np.int64)
            return divided_by_script(text, offsets, numbers)
        return word_numbers(text, offsets)


@contextmanager
def _told() -> Iterator[None]:
    """Convert the library's plain exceptions for texts without a piece in the model to ``ValueError``."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"the tokenizer cannot encode the text: {error}; add an unknown token to the tokenizer, or fix the text"
        ) from error


def _without_dropout(backend: Tokenizer) -> None:
    """Turn off dropout of merges: the library's random numbers cannot be seeded, so no run could be repeated."""
    model = backend.model
    if isinstance(model, models.BPE) and model.dropout:
        logger.warning("dropout of merges (%s) is turned off: its random numbers cannot be seeded", model.dropout)
        model.dropout = None


def _divides(backend: Tokenizer) -> bool:
    """Test on words of a language and on its own tokens whether the tokenizer splits texts into words."""
    divide, normalizer = backend.pre_tokenizer, backend.normalizer
    if divide is None:
        return False
    tokens = [backend.decode([number]) for number in islice(sorted(backend.get_vocab(with_added_tokens=False).values()), 64)]
    texts = ("one two", " ".join(tokens), "".join(tokens))
    return any(len(divide.pre_tokenize_str(normalizer.normalize_str(text) if normalizer else text)) > 1 for text in texts)


def _without_spaces(text: str, offsets: Ints) -> Ints:
    """Return offsets that exclude white space before a word, which some tokenizers include in its first piece."""
    is_space = white_space(text)
    starts, stops = offsets[:, 0].copy(), offsets[:, 1]
    while (behind := (starts < stops - 1) & is_space[np.minimum(starts, len(text) - 1)]).any():
        starts += behind
    return np.stack((starts, stops), axis=1)


def _recognised(backend: Tokenizer) -> dict[str, int]:
    added = {token.content: number for number, token in backend.get_added_tokens_decoder().items()}
    return {use: added[content] for use, contents in USES.items() for content in contents[::-1] if content in added}
