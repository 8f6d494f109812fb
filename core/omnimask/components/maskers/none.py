"""A masker that hides nothing."""

from __future__ import annotations

import numpy as np

from omnimask.interfaces import Context, Draw, Masking, MaskingColumns, TokenColumns, Tokens


class NoMasker:
    """No hidden tokens and no targets; for conditions, and for views that show the clean tokens."""

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        return Masking(np.ones(len(tokens), bool), np.zeros(len(tokens), bool))

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns:
        """Mask all samples of a micro-batch at once."""
        count, samples = tokens.num_tokens, tokens.num_samples
        shown = np.ones(count, bool)
        return MaskingColumns(shown, ~shown, tokens.lengths, np.zeros(samples), np.zeros(samples, np.int64))
