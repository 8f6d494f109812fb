"""A dense, continuous toy modality: signals of fixed length, cut into windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

import omnimask
from omnimask.components.targets.features import Features, Normalisation, normalised
from omnimask.interfaces import Context, Draw, Prediction, Run, Tokens, TokenSpec
from omnimask.registry import Registrar

LENGTH = 96


class WindowTokenizer:
    """Cuts a signal of 96 numbers into windows.

    Args:
        window: numbers in a token; divides 96.
    """

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = "toy.signals"
    renderer: ClassVar[str | None] = None

    def __init__(self, context: Context, *, window: Annotated[int, Field(gt=0, description="numbers in a token")] = 8) -> None:
        if LENGTH % window:
            raise ValueError(f"window {window} does not divide a signal of {LENGTH} numbers")
        self.window = window

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(width=(self.window,), extent=(LENGTH // self.window,), std=(0.7,))

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        signal = np.asarray(raw)
        if signal.dtype.kind != "f" or signal.shape != (LENGTH,) or not np.isfinite(signal).all():
            raise ValueError(f"a signal is {LENGTH} finite floats, not {signal.dtype} {signal.shape}")
        content = signal.astype(np.float32).reshape(-1, self.window)
        return Tokens(content, np.arange(len(content), dtype=np.float32)[:, None])

    def decode(self, tokens: Tokens) -> NDArray[np.float32]:
        signal = np.zeros((LENGTH // self.window, self.window), np.float32)
        signal[np.asarray(tokens.positions)[:, 0].astype(int)] = tokens.content
        return signal.reshape(-1)

    def count(self, raw: Any) -> int:
        return LENGTH // self.window


def signal_of(key: str) -> NDArray[np.float32]:
    """A sine with one of two periods and any phase, and a little noise."""
    rng = Draw(0, 0, key).rng("signal")
    place = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(LENGTH) / rng.choice([8, 16])
    return (np.sin(place) + rng.normal(0, 0.05, LENGTH)).astype(np.float32)


class Signals:
    """512 noisy sines."""

    def __init__(self, context: Context) -> None:
        del context

    def __len__(self) -> int:
        return 512

    def key(self, index: int) -> str:
        return f"signals/{range(len(self))[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"signal": signal_of(self.key(index))}

    def fingerprint(self) -> str:
        return "toy signals 1"


def chirp_of(key: str) -> NDArray[np.float32]:
    """A sine whose frequency rises, from any phase, and a little noise: the frequency of a window tells its place."""
    rng = Draw(0, 0, key).rng("chirp")
    time = np.arange(LENGTH)
    place = rng.uniform(0, 2 * np.pi) + 2 * np.pi * (0.01 * time + 0.35 * time**2 / (2 * LENGTH))
    return (np.sin(place) + rng.normal(0, 0.05, LENGTH)).astype(np.float32)


class Chirps(Signals):
    """512 noisy chirps."""

    def key(self, index: int) -> str:
        return f"chirps/{range(len(self))[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"signal": chirp_of(self.key(index))}

    def fingerprint(self) -> str:
        return "toy chirps 1"


class Levels(Signals):
    """512 constant signals at one of two levels, without noise: features of an honest data set of rank two."""

    def key(self, index: int) -> str:
        return f"levels/{range(len(self))[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        level = Draw(0, 0, self.key(index)).rng("level").choice([-1.0, 1.0])
        return {"signal": np.full(LENGTH, level, np.float32)}

    def fingerprint(self) -> str:
        return "toy levels 1"


class FeaturesWithGradient(Features):
    """Features of another pass through which gradient flows, so that one constant answers every target: a mistake to be found."""

    smoke: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        context: Context,
        *,
        of: Annotated[str, Field(description="the earlier pass")],
        norm: Annotated[Normalisation, Field(description="of the features")] = "layer",
    ) -> None:
        super().__init__(context, of=of, norm=norm)

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        encoded = self._encoded(run)
        features = normalised(encoded.features.data.float(), self.norm, encoded)
        return encoded.to_store(features, run.batch.num_tokens)[prediction.targets.of]


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    registry.add_tokenizer("toy.window", "toy_signal:WindowTokenizer")
    registry.add_dataset("toy.signals", "toy_signal:Signals")
    registry.add_dataset("toy.chirps", "toy_signal:Chirps")
    registry.add_dataset("toy.levels", "toy_signal:Levels")
    registry.add_target("toy.features_with_gradient", "toy_signal:FeaturesWithGradient")
