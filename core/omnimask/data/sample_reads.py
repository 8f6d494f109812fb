"""Reading of samples of a data set in order, many at a time where it can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omnimask.data.sample_errors import of_one_sample
from omnimask.interfaces import Dataset, ReadsMany


def read_samples(dataset: Dataset, numbers: Sequence[int]) -> Iterator[tuple[int, Mapping[str, Any] | Exception]]:
    """Yield the number of each sample and its values by field, or the exception why it is unreadable."""
    together = iter(dataset.read_many(numbers)) if isinstance(dataset, ReadsMany) else None
    for number in numbers:
        if together is None:
            yield number, _read(dataset, number)
            continue
        try:
            with of_one_sample:
                sample = next(together)
        except (OSError, ValueError):  # an iterator that raises has ended
            together, sample = None, _read(dataset, number)
        yield number, sample


def _read(dataset: Dataset, number: int) -> Mapping[str, Any] | Exception:
    try:
        with of_one_sample:
            return dataset[number]
    except (OSError, ValueError) as error:
        return error
