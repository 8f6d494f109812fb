"""What comparing components' results with their interfaces costs: the loader with and without it, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from protocol import Comparison, Variant, compare

from omnimask.builder.build import build
from omnimask.data import border, checked_masker, pipeline, view_plan, whole_views
from omnimask.data import collation as collate
from omnimask.data.planner import Place
from omnimask.recipe import load_recipe

SAMPLES, PASSES = 256, 6
_WITHOUT: dict[str, Callable[..., Any]] = {
    "view_of": lambda value: value,
    "row_of": lambda value: value,
    "check_masking": lambda masking, length: None,
    "check_token_values": lambda *args: None,
    "check_stream_values": lambda *args, **kwargs: None,
    "check_masking_columns": lambda *args: None,
    "check_whole_view": lambda view, *args: view,
    "is_plain": lambda stream: True,
}


@contextmanager
def unchecked() -> Iterator[None]:
    """Inside the ``with`` block nothing is compared."""
    patches = [
        patch.object(module, name, stand_in)
        for module in (border, checked_masker, collate, pipeline, view_plan, whole_views)
        for name, stand_in in _WITHOUT.items()
        if hasattr(module, name)
    ]
    patches.append(patch.object(border.TokenBorder, "__call__", lambda self, value: value))
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def run(recipe: str, changes: list[str] | None = None, *, micro_batch: int = 64, rounds: int = 21) -> Comparison:
    """Reading, tokenizing, masking and packing ``SAMPLES`` samples of a recipe's own data, as a loader worker does."""
    built = build(load_recipe(recipe, changes or []))
    indices = built.train_indices[:SAMPLES].tolist()
    places = [Place(0, position, index, 0.0) for position, index in enumerate(indices)]
    batches = [places[start : start + micro_batch] for start in range(0, len(places), micro_batch)]

    def load() -> None:
        for _ in range(PASSES):
            for batch in batches:
                built.pipeline(batch)

    def load_unchecked() -> None:
        with unchecked():
            load()

    variants = [Variant("without comparing", load_unchecked), Variant("with comparing", load)]
    inputs = {"recipe": recipe, "samples": f"{len(places)}, {PASSES} times, {micro_batch} a micro-batch"}
    return compare("Cost of the border to components", variants, inputs=inputs, baseline="without comparing", rounds=rounds)
