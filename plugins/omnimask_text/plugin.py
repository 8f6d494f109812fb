"""Registers the text modality."""

from __future__ import annotations

from omnimask.hooks import hookimpl
from omnimask.registry import Registrar


@hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Tokenizers, decoder, and renderer of texts."""
    registry.add_tokenizer("text.huggingface", "omnimask_text.huggingface:HuggingFaceTokenizer", extra="text")
    registry.add_tokenizer("text.english", "omnimask_text.english:EnglishTokenizer", extra="text")
    registry.add_tokenizer("text.bytes", "omnimask_text.byte:BytesTokenizer")
    registry.add_decoder("text.utf8", "omnimask_text.decode:Utf8Decoder")
    registry.add_renderer("text.lines", "omnimask_text.show:Lines")
