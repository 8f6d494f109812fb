"""Which samples a figure shows: by their keys, one of each label before the second of any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnimask.run.figures import by_key, by_label


class Folder:
    """Samples by the names of their sub-folders; one cannot be read."""

    def __init__(self, labels: list[str | None]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def key(self, index: int) -> str:
        return f"{self.labels[index]}/{index:04d}"

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if index == 3:
            raise OSError("damaged")
        label = self.labels[index]
        return {} if label is None else {"label": label}

    def fingerprint(self) -> str:
        return ""


def test_one_of_each_label_comes_first() -> None:
    dataset = Folder([*["daisy"] * 50, *["rose"] * 30, *["tulip"] * 20])
    order = by_key(dataset, range(100))
    assert sorted(order) == list(range(100)) and order != list(range(100))
    chosen = by_label(dataset, order, 3)
    assert {dataset.labels[index] for index in chosen[:3]} == {"daisy", "rose", "tulip"}
    assert sorted(chosen) == list(range(100))


def test_the_order_depends_on_keys_alone() -> None:
    dataset = Folder([None] * 40)
    assert by_key(dataset, range(40)) == by_key(dataset, list(range(40))[::-1])
    assert by_label(dataset, by_key(dataset, range(40)), 3) == by_key(dataset, range(40))
