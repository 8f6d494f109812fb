"""Tokenizer of series. n values of C channels, L tokens, w values in a token."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import Context, Draw, FieldSpec, Tokens, TokenSpec

Positive = Annotated[int, Field(gt=0)]
Scaling: TypeAlias = Literal["series", "none"]

VALUES, OBSERVED = 0, 1
"""Rows of a token's content: values (0 if missing), and 1 for measured, 0 for missing ones."""
MINIMUM_VARIANCE = 1e-5
"""Added to a series' variance before the square root, as in PatchTST."""


class WindowTokenizer:
    """Tokenizer of adjacent windows of each channel, aligned to the end of the series.

    NaN is a missing value. The network reads a learned vector for each place with a missing value, and losses leave it out. A
    window without any value is never hidden and never a target. Values before the first complete window are dropped, so the most
    recent ones are always present.

    Args:
        window: values in a token.
        channels: required number of channels; null: any number, which may differ between series.
        scale: ``series``: subtract the mean of each channel of a series and divide by its standard deviation, both over the
            measured values [0]; ``none``: no scaling.

    [0] Kim et al.: Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution Shift, 2022;
    constants as in ``transformers``' PatchTST.
    """

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = "timeseries.stocks"
    renderer: ClassVar[str | None] = "timeseries.plot"

    def __init__(
        self, context: Context, *, window: Positive = 8, channels: Positive | None = None, scale: Scaling = "series"
    ) -> None:
        self.window, self.channels = window, channels
        self.scale: Scaling = scale

    @staticmethod
    def smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return options for smoke runs: the embedded series have one channel each."""
        return {} if options["channels"] is None else {"channels": 1}

    @property
    def spec(self) -> TokenSpec:
        """Tokens of width (2, window): values, and whether they were measured; on the axes channel and window."""
        return TokenSpec(
            width=(2, self.window),
            axes=2,
            extent=(self.channels, None),
            fields={"special": FieldSpec("bool"), "location": FieldSpec("float32"), "scale": FieldSpec("float32")},
        )

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        """Return the tokens of an (n, C) array, or (n,) for a single channel, channel by channel.

        Raises:
            ValueError: the value is not such an array, contains infinity, has no values, or is shorter than a window.
        """
        series = self._checked(raw)
        is_observed = ~np.isnan(series)
        location, scale = self._statistics(series, is_observed)
        values = np.where(is_observed, (series - location) / scale, 0)
        length = len(series) // self.window
        content = np.stack([self._cut(values), self._cut(is_observed)], axis=2)
        place = np.stack(np.meshgrid(np.arange(series.shape[1]), np.arange(length), indexing="ij"), axis=-1)
        is_empty = ~self._cut(is_observed).any(axis=2)
        fields = {"special": is_empty.reshape(-1)}
        fields |= {name: np.repeat(part, length).astype(np.float32) for name, part in (("location", location), ("scale", scale))}
        return Tokens(content.reshape(-1, 2, self.window).astype(np.float32), place.reshape(-1, 2).astype(np.float32), fields)

    def _checked(self, raw: Any) -> NDArray[np.float64]:
        """Return the series as an (n, C) array."""
        series = np.asarray(raw)
        if series.ndim == 1:
            series = series[:, None]
        if series.ndim != 2 or series.dtype.kind != "f":
            raise ValueError(f"a series must be a float array with the axes time and channel, not {series.dtype} {series.shape}")
        if self.channels not in (None, series.shape[1]):
            raise ValueError(f"the series has {series.shape[1]} channels, but the tokenizer's option channels is {self.channels}")
        if len(series) < self.window:
            raise ValueError(f"the series has {len(series)} values, fewer than a window of {self.window}")
        if np.isinf(series).any() or np.isnan(series).all():
            raise ValueError("the series contains infinity" if np.isinf(series).any() else "all values of the series are missing")
        return series.astype(np.float64)

    def _statistics(
        self, series: NDArray[np.float64], is_observed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (C,) means and (C,) divisors."""
        if self.scale == "none":
            return np.zeros(series.shape[1]), np.ones(series.shape[1])
        count = np.maximum(is_observed.sum(axis=0), 1)
        location = np.where(is_observed, series, 0).sum(axis=0) / count
        variance = (np.where(is_observed, series - location, 0) ** 2).sum(axis=0) / count
        return location, np.sqrt(variance + MINIMUM_VARIANCE)

    def _cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Cut (n, C) into (C, windows, w)."""
        length = len(array) // self.window
        return array[len(array) - length * self.window :].T.reshape(array.shape[1], length, self.window)

    def decode(self, tokens: Tokens) -> NDArray[np.float32]:
        """Return (n, C) in the units of the series, with NaN for missing values and absent windows."""
        channel, place = np.asarray(tokens.positions).astype(int).T
        values, is_observed = np.asarray(tokens.content)[:, VALUES], np.asarray(tokens.content)[:, OBSERVED] > 0.5
        location, scale = (np.asarray(tokens.fields[name])[:, None] for name in ("location", "scale"))
        series = np.full((channel.max() + 1, place.max() + 1, self.window), np.nan, np.float32)
        series[channel, place] = np.where(is_observed, values * scale + location, np.nan)
        return series.reshape(len(series), -1).T

    def count(self, raw: Any) -> int | None:
        """Return the number of tokens of a series, or None before it is read."""
        return None if raw is None else self.count_of_shape(np.shape(raw))

    def count_of_shape(self, shape: tuple[int, ...]) -> int:
        """Return the number of tokens of any series with this shape."""
        return shape[0] // self.window * (shape[1] if len(shape) > 1 else 1)
