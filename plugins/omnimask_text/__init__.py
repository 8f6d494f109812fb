"""Text as tokens: subwords of any tokenizer that the library ``tokenizers`` runs, or bytes; and what goes with it."""
