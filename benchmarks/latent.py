"""A training step of data2vec 2.0 with one masking of every image, and with several that share a pass of the teacher.

All variants answer the same number of questions in a call: with ``repeat: M`` a step has one M-th of the images, so the ratio is
that of predictions per second. A row takes as many images at a time as the repeated one, and so several steps. A step is forward
and backward pass, update with the fused AdamW, and the teacher's average. The input is noise; nothing here says what a variant
learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mae
import numpy as np
import torch
from protocol import Comparison, Variant, compare

from omnimask.interfaces import MaskedBatch
from omnimask.network.model import MaskedModel
from omnimask.report.inspection import step_flops

IMAGES, REPEATS = 16, (4, 16)
"""Images of the variant without repetitions, and repetitions of the others."""
RATIO = 0.8
DECODERS = {
    "conv": "{name: conv_decoder, width: 384, depth: 6, kernel: 3, groups: 16, target: TARGET}",
    "transformer": "{name: decoder, width: 192, depth: 2, heads: 3, target: TARGET}",
}
TARGET = "{name: features, of: teacher, last: 10, mlp: true, norm: instance, final_norm: layer}"
PLAIN = "without repetitions"


def made(repeat: int, images: np.ndarray, decoder: str) -> tuple[MaskedModel, MaskedBatch]:
    """Return the model, and a batch with this many maskings of every image."""
    predictor = DECODERS[decoder].replace("TARGET", TARGET)
    changes = [f"views.main.repeat={repeat}", f"modalities.image.masker.ratio={RATIO}", f"predictors=[{predictor}]"]
    model, batch = mae.ours("image/data2vec2", images, changes)
    assert isinstance(model, MaskedModel)
    return model, batch


def step(model: MaskedModel, batches: Sequence[MaskedBatch]) -> Callable[[], None]:
    """One step with each batch, and the teacher's after it, as one call."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True, **mae.RATE)
    model.train()

    def call() -> None:
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            model(batch).loss.backward()
            optimizer.step()
            model.after_update(0.5)

    return call


def run(decoder: str, rounds: int = 7) -> Comparison:
    """The table for one decoder."""
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, mae.SIZE, mae.SIZE, 3), dtype=np.uint8)
    first = REPEATS[0]
    few = IMAGES // first
    parts: dict[str, tuple[int, list[np.ndarray]]] = {
        PLAIN: (1, [images]),
        f"without repetitions, {few} images a step": (1, [images[start : start + few] for start in range(0, IMAGES, few)]),
        **{f"repeat: {repeat}": (repeat, [images[: IMAGES // repeat]]) for repeat in REPEATS},
    }
    variants: list[Variant] = []
    expected = 0.0
    for name, (repeat, each) in parts.items():
        models = [made(repeat, part, decoder) for part in each]
        batches = [batch for _, batch in models]
        asked = sum(sum(model.counts(batch).values()) for model, batch in models)
        expected = expected or asked
        assert abs(asked / expected - 1) < 0.01, f"{name}: {asked} instead of {expected} predictions"
        flops = sum(step_flops(models[0][0], batch) for batch in batches)
        variants.append(Variant(name, step(models[0][0], batches), flops))
    operations = {variant.name: variants[0].flops / variant.flops for variant in variants if variants[0].flops and variant.flops}
    inputs = {
        "call": f"{round(expected):,} predictions: {IMAGES} images of {mae.SIZE} x {mae.SIZE}, or {IMAGES} / M with repeat: M",
        "masks": f"inverse blocks of 3 x 3 patches, {100 * RATIO:.0f} % of {(mae.SIZE // mae.PATCH) ** 2} hidden",
        "encoder": f"{mae.ENCODER['width']} x {mae.ENCODER['depth']}, {mae.ENCODER['heads']} heads; its average sees whole images",
        "decoder": DECODERS[decoder].split(", target")[0].lstrip("{"),
        "operations": ", ".join(f"{name}: 1 / {ratio:.2f}" for name, ratio in operations.items()),
    }
    return compare(f"data2vec 2.0 training step, {decoder} decoder", variants, inputs=inputs, baseline=PLAIN, rounds=rounds)
