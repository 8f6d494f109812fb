"""Tokenizer of series."""

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import Context, Draw, Tokens, TokenSpec


class WindowTokenizer:
    """Tokenizer of adjacent windows of a series, without an incomplete last one."""

    decoder: ClassVar[str | None] = None  # raw values are arrays; files need the name of a decoder
    embedded: ClassVar[str | None] = "waves.sines"  # data set of smoke runs
    renderer: ClassVar[str | None] = "waves.plot"

    def __init__(self, context: Context, *, window: Annotated[int, Field(gt=0, description="values in a token")] = 8) -> None:
        self.window = window

    @property
    def spec(self) -> TokenSpec:
        """Tokens of (window,) floats on one position axis of any length."""
        return TokenSpec(width=(self.window,))

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        """Return the tokens of a one-dimensional array.

        Raises:
            ValueError: the value is invalid; the sample is then skipped and counted.
        """
        series = np.asarray(raw)
        if series.ndim != 1 or series.dtype.kind != "f" or not np.isfinite(series).all():
            raise ValueError(f"a series must have one axis of finite floats, not {series.dtype} {series.shape}")
        length = len(series) // self.window
        if not length:
            raise ValueError(f"the series has {len(series)} values, fewer than a window of {self.window}")
        content = series[: length * self.window].astype(np.float32).reshape(length, self.window)
        return Tokens(content, np.arange(length, dtype=np.float32)[:, None])

    def decode(self, tokens: Tokens) -> NDArray[np.float32]:
        """Return the series, with zeros for absent windows."""
        places = np.asarray(tokens.positions)[:, 0].astype(int)
        series = np.zeros((places.max() + 1, self.window), np.float32)
        series[places] = tokens.content
        return series.reshape(-1)

    def count(self, raw: Any) -> int | None:
        """Return the number of windows of a series, or None before it is read."""
        return None if raw is None else len(raw) // self.window
