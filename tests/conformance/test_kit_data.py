"""The kit finds what is wrong with data sets, augmentations and renderers: one broken component for every promise."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from omnimask.interfaces import Context, Draw
from omnimask.testing import AugmentContract, DatasetContract, RendererContract
from omnimask.testing.synthetic import Waves

from .failing import finds


class Shifting(Waves):
    fault: ClassVar[str] = ""
    made: ClassVar[int] = 0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        type(self).made += 1

    def key(self, index: int) -> str:
        if self.fault == "one key":
            return "same"
        return f"{type(self).made if self.fault == 'other keys' else 0}/{index}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.fault == "random":
            return {"vectors": np.random.random(3)}  # noqa: NPY002
        return {"letters": np.arange(3)}

    def fingerprint(self) -> str:
        return str(type(self).made) if self.fault == "fingerprint" else "1"


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("one key", "test_keys_are_unique_and_stable", "duplicate key; keys must be unique"),
        ("other keys", "test_keys_are_unique_and_stable", "the same data have different keys; sort"),
        ("random", "test_samples_are_stable_mappings", "differs between two readings"),
        ("fingerprint", "test_fingerprint", "the fingerprint differs for"),
        ("no end", "test_an_index_beyond_the_end_is_an_error", "raise IndexError"),
    ],
)
def test_dataset_contract(fault: str, test: str, message: str) -> None:
    class Contract(DatasetContract):
        def dataset(self) -> Any:
            return type("Shifting", (Shifting,), {"fault": fault, "made": Contract.made()})(Context())

        numbers: ClassVar[list[int]] = []

        @classmethod
        def made(cls) -> int:
            cls.numbers.append(0)
            return len(cls.numbers)

    finds(Contract(), test, message)


class Ahead(Waves):
    """Reads many samples at once, with a fault."""

    def __init__(self, context: Context, fault: str) -> None:
        super().__init__(context)
        self.fault = fault

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 2:
            raise ValueError("torn")
        return dict(super().__getitem__(index))

    def read_many(self, indices: Sequence[int]) -> Iterator[dict[str, Any] | Exception]:
        order = sorted(indices) if self.fault == "order" else indices[:-1] if self.fault == "end" else indices
        for index in order:
            try:
                yield self[index]
            except ValueError as error:
                yield OSError("torn") if self.fault == "error" else error


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("", ""),
        ("order", r"according to read_many of \[19, 18"),
        ("end", "read_many of 20 indices yielded 19 samples"),
        ("error", "sample 2 is ValueError.* alone, but OSError"),
    ],
)
def test_samples_of_many_are_compared_with_each_alone(fault: str, message: str) -> None:
    class Contract(DatasetContract):
        def dataset(self) -> Any:
            return Ahead(Context(), fault)

    if fault:
        finds(Contract(), "test_many_samples_are_read_like_each_alone", message)
    else:
        Contract().test_many_samples_are_read_like_each_alone()


# ---- augmentations and renderers


class Jitter:
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, raw: Any, draw: Draw) -> Any:
        if self.fault == "global randomness":
            return raw + np.random.random(raw.shape)  # noqa: NPY002
        if self.fault == "in place":
            raw += 1
        return raw + (0 if self.fault == "constant" else draw.rng("jitter").random(raw.shape))


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("global randomness", "test_deterministic_per_draw", "one draw gave two results"),
        ("constant", "test_samples_are_changed_differently", "twenty draws gave one result"),
        ("in place", "test_raw_values_are_not_changed", "work on a copy"),
    ],
)
def test_augment_contract(fault: str, test: str, message: str) -> None:
    class Contract(AugmentContract):
        def augment(self) -> Any:
            return Jitter(fault)

        def raw_values(self) -> Sequence[Any]:
            return [np.zeros(5)]

    finds(Contract(), test, message)


class Writer:
    def __init__(self, fault: str) -> None:
        self.suffix = "txt" if fault == "no dot" else ".txt"
        self.fault = fault

    def __call__(self, reconstructions: Sequence[Any], path: Path, *, title: str = "") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{random.random()}" if self.fault == "random" else title)
        return path.parent if self.fault == "folder" else path


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("no dot", "test_draws_a_file_where_it_is_told_to", "with its dot"),
        ("folder", "test_draws_a_file_where_it_is_told_to", "create the folder, write the file, and return its path"),
        ("random", "test_draws_the_same_twice", "not use random numbers"),
    ],
)
def test_renderer_contract(fault: str, test: str, message: str, tmp_path: Path) -> None:
    class Contract(RendererContract):
        def renderer(self) -> Any:
            return Writer(fault)

        def raw_values(self) -> Sequence[Any]:
            return [np.zeros(5)]

    with pytest.raises(AssertionError, match=message):
        getattr(Contract(), test)(tmp_path)
