"""A masker that hides nothing."""

from __future__ import annotations

import numpy as np

from omnimask.interfaces import Context, Draw, Masking, Tokens


class NoMasker:
    """No hidden tokens and no targets; for conditions, and for views that show the clean tokens."""

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        return Masking(np.ones(len(tokens), bool), np.zeros(len(tokens), bool))
