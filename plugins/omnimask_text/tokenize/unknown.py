"""Characters without a piece in a tokenizer of the library ``tokenizers`` that also lacks an unknown token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property

from tokenizers import Tokenizer, models, pre_tokenizers

_SHOWN = 5


class DroppedCharacters:
    """Detection of characters that a BPE without an unknown token silently drops.

    The library's other models raise an error for such a character, and byte-level ones know every character.

    Args:
        backend: the tokenizer.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        model = backend.model
        self.is_possible = isinstance(model, models.BPE) and model.unk_token is None and not _knows_every_byte(backend)

    def check(self, text: str) -> None:
        """Raise ``ValueError`` if characters other than white space would be lost, with their number and the first of them."""
        if not self.is_possible:
            return
        lost = [character for character in self._characters(text) if not character.isspace() and not self._is_known(character)]
        if lost:
            kinds = list(dict.fromkeys(lost))
            shown = ", ".join(map(repr, kinds[:_SHOWN])) + (", ..." if len(kinds) > _SHOWN else "")
            raise ValueError(
                f"{len(lost):,} of {len(text):,} characters would be lost: the tokenizer has no token for "
                f"{shown}, and no unknown token; add an unknown token to it, give it a normalizer (lower or upper "
                "case), or fix the text"
            )

    def _characters(self, text: str) -> Iterator[str]:
        """Yield the characters read by the model: added tokens are removed first, and normalizers may change the rest."""
        normalizer, divide = self._backend.normalizer, self._backend.pre_tokenizer
        for part in self._added.split(text) if self._added else [text]:
            part = normalizer.normalize_str(part) if normalizer else part
            for word, _ in divide.pre_tokenize_str(part) if divide else [(part, None)]:
                yield from word

    def _is_known(self, character: str) -> bool:
        return any(form in self._vocabulary for form in self._forms(character))

    def _forms(self, character: str) -> Iterator[str]:
        """Yield the forms in which the model looks up a character: inside a word, and at its end."""
        prefix, suffix = self._backend.model.continuing_subword_prefix or "", self._backend.model.end_of_word_suffix or ""
        yield from (character, prefix + character, character + suffix, prefix + character + suffix)

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(self._backend.get_vocab(with_added_tokens=False))

    @cached_property
    def _added(self) -> re.Pattern[str] | None:
        contents = [token.content for token in self._backend.get_added_tokens_decoder().values()]
        return re.compile("|".join(map(re.escape, sorted(contents, key=len, reverse=True)))) if contents else None


def _knows_every_byte(backend: Tokenizer) -> bool:
    """Return whether texts are read as bytes, and every byte has a piece."""
    vocabulary = backend.get_vocab(with_added_tokens=False)
    if backend.model.byte_fallback:
        return all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    settings = json.loads(backend.to_str())
    reads_bytes = '"ByteLevel"' in json.dumps([settings["pre_tokenizer"], settings["normalizer"]])
    return reads_bytes and all(letter in vocabulary for letter in pre_tokenizers.ByteLevel.alphabet())
