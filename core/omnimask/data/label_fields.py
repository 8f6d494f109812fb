"""Conversion of data set values to the labels declared in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces.tokens import FieldSpec


@dataclass(frozen=True)
class LabelReader:
    """Reader of one label: the data set's ``field`` and a :class:`FieldSpec` of arity 0.

    Classes are integers from 0, or one of the spec's ``names``. A label without classes is a number.
    """

    field: str
    spec: FieldSpec

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {name: number for number, name in enumerate(self.spec.names)}

    def __call__(self, value: Any) -> NDArray[Any]:
        """Return the label as an array () of the spec's dtype.

        Raises:
            ValueError: the value is not a valid label.
        """
        if self.spec.classes is None:
            return self._number(value)
        number = self._numbers.get(value, value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            known = f"one of {list(self.spec.names)}" if self.spec.names else "an integer"
            raise ValueError(f"label {self.field!r} must be {known}, got {value!r}")
        if not -1 <= number < self.spec.classes:
            raise ValueError(
                f"label {self.field!r} must be less than {self.spec.classes}, the number of classes (-1: none), got {number}"
            )
        return np.array(number, self.spec.dtype)

    def _number(self, value: Any) -> NDArray[Any]:
        try:
            return np.array(float(value), self.spec.dtype)
        except (TypeError, ValueError):
            raise ValueError(f"label {self.field!r} must be a number, got {value!r}") from None
