"""Handwritten digits of scikit-learn: an image data set without a download."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Context

_LARGEST = 16


class Digits:
    """1797 greyscale images of 8 x 8 pixels, labeled with their digit [0].

    A sample has ``image`` (8, 8) uint8 (0 background, 255 full ink) and ``label`` in 0..9.

    [0] Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998; ``sklearn.datasets.load_digits``.
    """

    def __init__(self, context: Context) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ValueError("the data set digits needs scikit-learn; install it with: pip install 'omnimask[image]'") from error
        bunch: Any = load_digits()
        self.images: NDArray[np.uint8] = np.rint(bunch.images * (255 / _LARGEST)).astype(np.uint8)
        self.labels: NDArray[np.int64] = bunch.target.astype(np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        """Return ``digits/0000`` and so on, in scikit-learn's order."""
        return f"digits/{range(len(self))[index]:04d}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``image`` (8, 8) uint8 and ``label``."""
        return {"image": self.images[index], "label": int(self.labels[index])}

    def fingerprint(self) -> str:
        """Return a digest of all images and labels."""
        return blake2b(self.images.tobytes() + self.labels.tobytes(), digest_size=16).hexdigest()
