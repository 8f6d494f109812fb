"""The text modality: subwords of any tokenizer supported by the library ``tokenizers``, or bytes, and related components."""
