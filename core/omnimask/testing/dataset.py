"""Contract of data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from omnimask.interfaces import Dataset, ReadsMany
from omnimask.testing.requirements import require, require_picklable, same


class DatasetContract(ABC):
    """Contract of a data set. Subclasses implement :meth:`dataset`, and :meth:`changed` and :meth:`damaged` if applicable.

    Attributes:
        num_tried: number of samples to read.
    """

    num_tried: ClassVar[int] = 20

    @abstractmethod
    def dataset(self) -> Dataset:
        """Return the data set, built as in a recipe. Called several times, each over the same data."""

    def changed(self) -> Dataset | None:
        """Return a data set over other samples (such as one more file), whose fingerprint must differ; None if impossible."""
        return None

    def damaged(self) -> tuple[Dataset, Sequence[int]] | None:
        """Return a data set and the indices of its unreadable samples."""
        return None

    def test_keys_are_unique_and_stable(self) -> None:
        first, second = self.dataset(), self.dataset()
        require(len(first) > 0, "the data set of a test needs samples")
        keys = [first.key(index) for index in range(len(first))]
        require(all(isinstance(key, str) and key for key in keys), "keys must be non-empty strings")
        require(len(set(keys)) == len(keys), "duplicate key; keys must be unique, for draws, splits and messages")
        again = [second.key(index) for index in range(len(second))]
        require(keys == again, "two instances over the same data have different keys; sort directory listings")

    def test_samples_are_stable_mappings(self) -> None:
        first, second = self.dataset(), self.dataset()
        for index in range(min(self.num_tried, len(first))):
            sample = first[index]
            require(
                isinstance(sample, Mapping) and all(isinstance(name, str) for name in sample),
                f"sample {index} must be a mapping of raw values by field name, not {type(sample).__name__}",
            )
            require(
                same(dict(sample), dict(second[index])),
                f"sample {index} differs between two readings; move random changes to an augmentation",
            )

    def test_many_samples_are_read_like_each_alone(self) -> None:
        """Check that ``read_many`` yields the samples of ``__getitem__`` in any order, and the exceptions of unreadable ones."""
        for dataset in (self.dataset(), *(self.damaged() or ())[:1]):
            if not isinstance(dataset, ReadsMany):
                continue
            few = list(range(min(self.num_tried, len(dataset))))
            for indices in (few, few[::-1], few[::2] + few[:1], []):
                found = list(dataset.read_many(indices))
                require(len(found) == len(indices), f"read_many of {len(indices)} indices yielded {len(found)} samples")
                for index, sample in zip(indices, found, strict=True):
                    alone = _read(dataset, index)
                    if isinstance(sample, Exception) or isinstance(alone, Exception):
                        is_same = type(sample) is type(alone) and str(sample) == str(alone)
                    else:
                        is_same = same(dict(sample), dict(alone))
                    require(is_same, f"sample {index} is {alone!r} alone, but {sample!r} according to read_many of {indices}")

    def test_fingerprint(self) -> None:
        first = self.dataset().fingerprint()
        require(isinstance(first, str) and bool(first), "the fingerprint must be a non-empty string")
        require(first == self.dataset().fingerprint(), "the fingerprint differs for the same data")
        changed = self.changed()
        require(
            changed is None or changed.fingerprint() != first,
            "different samples have the same fingerprint; digest keys and contents",
        )

    def test_picklable(self) -> None:
        dataset = self.dataset()
        again = require_picklable(dataset, "the data set")
        require(len(again) == len(dataset), "a pickled data set has another length")
        for index in range(min(3, len(dataset))):
            require(same(dict(dataset[index]), dict(again[index])), "a pickled data set returns other samples")

    def test_an_index_beyond_the_end_is_an_error(self) -> None:
        dataset = self.dataset()
        for action in (dataset.__getitem__, dataset.key):
            try:
                action(len(dataset))
            except (IndexError, ValueError, OSError):
                continue
            raise AssertionError(f"index {len(dataset)} of {len(dataset)} samples returned a sample; raise IndexError")

    def test_unreadable_samples_are_os_or_value_errors(self) -> None:
        damaged = self.damaged()
        if damaged is None:
            return
        dataset, indices = damaged
        for index in indices:
            try:
                dataset[index]
            except (OSError, ValueError):
                continue
            except Exception as error:
                raise AssertionError(
                    f"the unreadable sample {index} raised {type(error).__name__}: {error}; raise OSError or "
                    "ValueError to skip a bad sample; anything else stops the run"
                ) from error
            raise AssertionError(f"the unreadable sample {index} was read without an error")


def _read(dataset: Dataset, index: int) -> Mapping[str, Any] | Exception:
    try:
        return dataset[index]
    except (OSError, ValueError) as error:
        return error
