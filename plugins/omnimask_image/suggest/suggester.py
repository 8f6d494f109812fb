"""A recipe for a folder of pictures: a masked autoencoder sized for the pictures, their number and the device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnimask import suggest
from omnimask.interfaces import Context, Suggestion
from omnimask_image.data.files import ImageFolder, ImageZip
from omnimask_image.suggest.from_model import suggest_model
from omnimask_image.suggest.survey import Survey, survey

_TEMPLATE = """\
# A masked autoencoder for {about}, written by `omnimask init`.
# {device_line}
omnimask: 1
modalities:
  image:
    # {size_reason}
    tokenizer: {{name: image.patch, image_size: {image_size}, patch_size: {patch_size}, channels: {channels}}}  # {channels_reason}
{augment}    masker: {{name: random, ratio: {ratio}}}  # {ratio_reason}
    corruptor: {{name: drop}}  # the encoder reads what is left only, which is what makes it fast
# {model_reason}
encoder: {{name: transformer, width: {width}, depth: {depth}, heads: {heads}, summary: 1}}
predictors:
  # normalize: true asks for patches without their own mean and contrast: better features, rougher pictures
  - {{name: decoder, width: {decoder_width}, depth: 2, heads: 4, target: {{name: patch, normalize: false}}}}
data:
  name: image.folder
  path: {path}
  validation: {validation}  # share held out, chosen by a hash of each file's path
{max_bad}train:
  steps: {steps}  # {steps_reason}
  batch_tokens: {batch_tokens}  # {batch} images x {tokens} patches
  optimizer: {{name: adamw, lr: {lr}, betas: [0.9, 0.95], weight_decay: 0.05}}  # {lr_reason}
  schedule: {{name: cosine, warmup: {warmup}}}  # a tenth of the steps
  workers: {workers}  # processes that read and decode pictures
  log_every: 10
  validate_every: {every}  # ten times in the run
  checkpoint_every: {every}
"""

_AUGMENT = """\
    augment:
      - {{name: image.random_resized_crop, size: {image_size}, scale: [0.5, 1.0]}}  # half of the picture or more
      - {{name: image.flip}}  # take it out where left and right differ, as in letters
"""

_MAX_BAD = """\
  max_bad: {{fraction: {fraction}}}  # {bad} of {looked_at} files could not be read; twice that share is tolerated
"""


class SuggestFolder:
    """A masked autoencoder for a folder of image files, based on up to 200 of them.

    A folder with a ``ViTMAEForPreTraining`` gets a recipe that starts from its weights.

    The size of pictures and patches follows the median of the shorter sides (on a CPU, 64 pixels at most), the network the number
    of pictures and the device, the steps the number of pictures.
    """

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, folder: Path) -> Suggestion | None:
        """Return None if there is neither a model nor an image file. Raise ``ValueError`` if none can be read."""
        if (model := suggest_model(folder)) is not None:
            return model
        seen = survey(folder)
        if seen is None:
            return None
        plan = Plan(seen, has_gpu=suggest.has_gpu())
        return Suggestion("image", seen.num_files, seen.summary(), plan.recipe(folder))

    def data(self, path: Path) -> tuple[str, Mapping[str, Any]] | None:
        """Return the modality of the files at a path, and the data set that reads them."""
        readers = {"image.zip": ImageZip} if path.is_file() else {"image.folder": ImageFolder}
        for name, reader in readers.items():
            with suppress(OSError, ValueError):
                reader(Context(), path=path)
                return "image", {"name": name}
        return None


@dataclass(frozen=True)
class Plan:
    """The numbers of a recipe and their reasons.

    Args:
        seen: content of the folder.
        has_gpu: whether to train on a GPU.
    """

    seen: Survey
    has_gpu: bool

    @property
    def patch_size(self) -> int:
        """2 to 16 pixels: a few dozen to two hundred patches per image."""
        side = self._fitting_side
        return next(patch for limit, patch in ((16, 2), (48, 4), (128, 8), (10**9, 16)) if side < limit)

    @property
    def image_size(self) -> int:
        """The median of the shorter sides, reduced to a multiple of the patch and to the device's limit."""
        return max(8, self._fitting_side // self.patch_size * self.patch_size)

    @property
    def _fitting_side(self) -> int:
        return max(8, min(self.seen.short_side, 224 if self.has_gpu else 64))

    @property
    def tokens(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    @property
    def network(self) -> tuple[int, int, int]:
        """Width, depth and heads of the encoder; the larger ones are ViT-Ti, ViT-S and ViT-B."""
        number = self.seen.num_files
        if not self.has_gpu:
            return (96, 4, 4) if number < 2000 or self.tokens <= 16 else (192, 6, 6)
        return (192, 12, 3) if number < 10_000 else (384, 12, 6) if number < 200_000 else (768, 12, 12)

    @property
    def batch(self) -> int:
        """Images per step."""
        largest = 64 if not self.has_gpu else 256 if self.seen.num_files < 200_000 else 1024
        return max(1, min(largest, self.seen.num_files))

    @property
    def steps(self) -> int:
        """100 epochs, within bounds that keep the run neither pointless nor endless on its device."""
        low, high = (2_000, 100_000) if self.has_gpu else (500, 2_000)
        return min(high, max(low, 100 * round(self.seen.num_files / self.batch)))

    @property
    def lr(self) -> float:
        """1e-3 for small networks, the rule of the MAE paper for large ones."""
        return 1.0e-3 if self.network[0] <= 192 else 1.5e-4 * self.batch / 256

    def recipe(self, folder: Path) -> str:
        """Return the recipe's text; ``folder`` is an absolute path."""
        width, depth, heads = self.network
        seen, side, ratio = self.seen, self.image_size, 0.5 if self.tokens <= 16 else 0.75
        bad_share = len(seen.unreadable) / seen.num_looked_at
        many = "colour in none of those looked at" if seen.is_grey else "some have colour"
        return _TEMPLATE.format(
            about=f"{seen.num_files:,} pictures",
            device_line="Sized for a GPU." if self.has_gpu else "Sized for a processor: no GPU was found here.",
            size_reason=self._size_reason(),
            image_size=side,
            patch_size=self.patch_size,
            channels=1 if seen.is_grey else 3,
            channels_reason=many,
            augment=_AUGMENT.format(image_size=side) if side >= 32 else "",
            ratio=ratio,
            ratio_reason="so few patches say less about each other" if ratio == 0.5 else "the share of the MAE paper",
            model_reason=f"{seen.num_files:,} pictures {'with' if self.has_gpu else 'without'} a GPU: more of either bears more",
            width=width,
            depth=depth,
            heads=heads,
            decoder_width=max(64, width // 2),
            path=suggest.yaml_path(folder),
            validation=0.1 if seen.num_files < 1000 else 0.05,
            max_bad=""
            if not seen.unreadable
            else _MAX_BAD.format(
                fraction=round(min(1.0, 2 * bad_share), 3), bad=len(seen.unreadable), looked_at=seen.num_looked_at
            ),
            steps=self.steps,
            steps_reason=f"{self.steps * self.batch / seen.num_files:,.0f} times through the pictures",
            batch_tokens=self.batch * self.tokens,
            batch=self.batch,
            tokens=self.tokens,
            lr=suggest.rate(self.lr),
            lr_reason="usual for so small a network" if width <= 192 else "1.5e-4 x images / 256, the rule of the MAE paper",
            warmup=self.steps // 10,
            workers=suggest.num_workers(has_gpu=self.has_gpu),
            every=self.steps // 10,
        )

    def _size_reason(self) -> str:
        side, median = self.image_size, self.seen.short_side
        device = "a GPU" if self.has_gpu else "a processor"
        reason = f"half of the pictures have a shorter side of {median} pixels or more"
        if median > side + self.patch_size:
            reason += f";\n    # {side} keeps {device} fast, twice as many would cost four times as much"
        if self.seen.smallest_side < self.patch_size:
            reason += f";\n    # those with a side under {self.patch_size} are smaller than a patch, and left out as bad"
        return reason
