"""Registers the text modality."""

from __future__ import annotations

from omnimask import hookimpl
from omnimask.registry import Registrar


@hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register tokenizers, decoder, data sets, renderer, suggester, initializers and exporters of texts."""
    registry.reads_named_fields()
    registry.add_tokenizer("text.huggingface", "omnimask_text.tokenize.huggingface:HuggingFaceTokenizer", extra="text")
    registry.add_tokenizer("text.english", "omnimask_text.tokenize.english:EnglishTokenizer", extra="text")
    registry.add_tokenizer("text.bytes", "omnimask_text.tokenize.byte:BytesTokenizer")
    registry.add_decoder("text.utf8", "omnimask_text.decode:Utf8Decoder")
    registry.add_augment("text.entity_swap", "omnimask_text.augment:EntitySwap")
    registry.add_transform("text.span_pairs", "omnimask_text.groups.span_pairs:SpanPairs")
    registry.add_transform("text.word_sets", "omnimask_text.groups.word_sets:WordSets")
    registry.add_dataset("text.files", "omnimask_text.data:TextFiles")
    registry.add_dataset("text.zip", "omnimask_text.data:TextZip")
    registry.add_renderer("text.lines", "omnimask_text.show:TextPage")
    registry.add_suggester("text.files", "omnimask_text.suggest.suggester:SuggestTexts", extra="text")
    registry.add_initializer("text.bert", "omnimask_text.weights.initializers:BertInitializer", extra="text")
    registry.add_initializer("text.roberta", "omnimask_text.weights.initializers:RobertaInitializer", extra="text")
    registry.add_initializer("text.modernbert", "omnimask_text.weights.initializers:ModernBertInitializer", extra="text")
    registry.add_initializer("text.deberta", "omnimask_text.weights.initializers:DebertaInitializer", extra="text")
    registry.add_exporter("text.bert", "omnimask_text.weights.exporters:BertExporter", extra="text")
    registry.add_exporter("text.bert_encoder", "omnimask_text.weights.encoder_exporters:BertEncoderOnly", extra="text")
    registry.add_exporter("text.modernbert", "omnimask_text.weights.exporters:ModernBertExporter", extra="text")
    registry.add_exporter("text.deberta", "omnimask_text.weights.exporters:DebertaExporter", extra="text")
