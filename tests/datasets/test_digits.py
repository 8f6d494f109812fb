"""The embedded digits."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from omnimask.interfaces import Context, Dataset
from omnimask_datasets.digits import Digits


def test_images_are_scikit_learns_scaled_to_the_full_range() -> None:
    dataset = Digits(Context())
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 1797
    sample = dataset[0]
    assert sample["image"].dtype == np.uint8
    assert sample["image"].shape == (8, 8)
    assert sample["image"][0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0, times 255 / 16
    assert sample["label"] == 0
    assert dataset.images.max() == 255


def test_keys_are_unique_and_the_data_set_survives_pickling() -> None:
    dataset = Digits(Context())
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert len({dataset.key(index) for index in range(len(dataset))}) == len(dataset)
    assert again.fingerprint() == dataset.fingerprint()
    with pytest.raises(IndexError):
        dataset.key(1797)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'omnimask\[image\]'"):
        Digits(Context())
