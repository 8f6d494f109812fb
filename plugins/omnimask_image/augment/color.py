"""Random changes of an image's colors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from pydantic import Field

from omnimask.interfaces import Context, Draw
from omnimask_image.pixels import checked, to_array, to_pillow

Strength = Annotated[float, Field(ge=0)]

_ENHANCERS: Mapping[str, Callable[[Image.Image], Any]] = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


class Color:
    """Random changes of brightness, contrast, saturation and hue, in random order: torchvision's ``ColorJitter``.

    A factor is uniform in [max(0, 1 - strength), 1 + strength]. Brightness blends with black, contrast with the mean grey of the
    image, saturation with its greyscale version, by Pillow's ``ImageEnhance``. Hue is rotated by a uniform share of the circle in
    [-hue, hue]. Changes of strength 0 are skipped. Greyscale images have neither saturation nor hue. The defaults are those of MoCo
    v2 [0], which changes four visits of five: ``probability: 0.8``.

    [0] Chen et al.: Improved Baselines with Momentum Contrastive Learning, 2020; the steps as in torchvision's ``ColorJitter`` on
    Pillow's images.

    Args:
        brightness, contrast, saturation: strengths, at least 0.
        hue: maximum share of the circle, in [0, 0.5].
        probability: share of the visits with changes, in [0, 1].
    """

    def __init__(
        self,
        context: Context,
        *,
        brightness: Annotated[Strength, Field(description="maximum change of the factor")] = 0.4,
        contrast: Annotated[Strength, Field(description="maximum change of the factor")] = 0.4,
        saturation: Annotated[Strength, Field(description="maximum change of the factor")] = 0.4,
        hue: Annotated[float, Field(ge=0, le=0.5, description="maximum hue shift, as a share of the circle")] = 0.1,
        probability: Annotated[float, Field(ge=0, le=1, description="probability of a change")] = 1.0,
    ) -> None:
        self.strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        self.probability = probability

    def __call__(self, raw: Any, draw: Draw) -> NDArray[np.uint8]:
        """Return the (H, W, C) uint8 array with changed colors, or the input itself if nothing changes."""
        pixels = checked(raw)
        changes = self.changes(draw)
        if pixels.shape[2] == 1:
            changes = [(name, value) for name, value in changes if name in ("brightness", "contrast")]
        if not changes:
            return pixels
        image = to_pillow(pixels)
        for name, value in changes:
            image = _turned(image, value) if name == "hue" else _ENHANCERS[name](image).enhance(value)
        return to_array(image)

    def changes(self, draw: Draw) -> list[tuple[str, float]]:
        """Return the changes of this visit in order: names, with the factor or the rotation of the hue."""
        rng = draw.rng("color")
        if rng.random() >= self.probability:
            return []
        values = {
            name: rng.uniform(-strength, strength) if name == "hue" else rng.uniform(max(0.0, 1 - strength), 1 + strength)
            for name, strength in self.strengths.items()
        }
        names = [str(name) for name in rng.permutation(list(values))]
        return [(name, values[name]) for name in names if self.strengths[name] > 0]


def _turned(image: Image.Image, turn: float) -> Image.Image:
    """Rotate the hue of an RGB image. Hue has 8 bits, and the rotation is truncated to a 255th of the circle as in torchvision."""
    hsv = np.array(image.convert("HSV"))
    hsv[:, :, 0] += np.uint8(int(turn * 255) % 256)  # wraps around, as hue does
    return Image.fromarray(hsv, "HSV").convert("RGB")
