"""The kit finds what is wrong with transforms of groups, and with tokenizers that shorten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from omnimask.interfaces import Context, Draw, FieldSpec, Tokenizer, Transform
from omnimask.testing import TokenizerContract, TransformContract
from omnimask.testing.synthetic import Letters

Row = Mapping[str, Any]


class Neighbours:
    """Every row, and half of its neighbour's letters behind them, or those of none; breaks one promise, by name."""

    growth = 2.0

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.growth = 1.25 if fault == "growth" else 2.0
        if fault == "unpicklable":
            self.reader = lambda: None

    def __call__(self, rows: Sequence[Row], draws: Sequence[Draw]) -> Sequence[Row]:
        if self.fault == "needs a pair":
            assert len(rows) > 1
        if self.fault == "global randomness":
            return [{**row, "begins": int(np.random.random() < 0.5)} for row in rows]  # noqa: NPY002
        if self.fault == "in place":
            for row in rows:
                row["letters"][0] = 6
        if self.fault == "accepts everything":
            return [{"letters": np.arange(3) % 7, "begins": int(draw.uniform(1)[0] * 2)} for draw in draws]
        if self.fault == "type error":
            return [{**row, "letters": np.concatenate([row["letters"], row["letters"]])[:4]} for row in rows]
        found: list[Row] = []
        for number, (row, draw) in enumerate(zip(rows, draws, strict=True)):
            other = rows[(number + 1) % len(rows)]
            if row.get("letters") is None or other.get("letters") is None:
                raise ValueError("a sample has no letters")
            if (np.asarray(row["letters"]) < 0).any():
                raise ValueError("" if self.fault == "says nothing" else "letters count from 0")
            is_other = 0 if self.fault == "constant" else int(draw.uniform(1, "other")[0] < 0.5)
            behind = other["letters"][: len(other["letters"]) // 2] if is_other else other["letters"][:0]
            found.append({"letters": np.concatenate([row["letters"], behind]), "begins": is_other})
        if self.fault == "no modality":
            return [{"begins": 1} for _ in found]
        if self.fault == "unknown label":
            return [{**row, "ends": 1} for row in found]
        if self.fault == "label out of range":
            return [{**row, "begins": 2} for row in found]
        return [] if self.fault == "no rows" else found


class NeighboursContract(TransformContract):
    fault: ClassVar[str] = ""

    def transform(self) -> Transform:
        return Neighbours(self.fault)

    def rows(self) -> Sequence[Row]:
        return [{"letters": np.arange(length) % 7, "begins": 0} for length in (3, 17, 8)]

    def tokenizers(self) -> Mapping[str, Tokenizer]:
        return {"letters": Letters(Context())}

    def labels(self) -> Mapping[str, FieldSpec]:
        return {"begins": FieldSpec("int64", arity=0, classes=2)}

    def bad_groups(self) -> Mapping[str, Sequence[Row]]:
        return {"negative": [{"letters": np.array([-1, 2])}]}


class TestNeighbours(NeighboursContract):
    """What keeps every promise passes."""


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("global randomness", "test_deterministic_per_draw", "one group with the same draws gave two results"),
        ("constant", "test_draws_decide", "20 draws gave one result"),
        ("in place", "test_rows_are_not_changed", "the transform changed its input;"),
        ("unpicklable", "test_picklable", "loader workers need it pickled: no"),
        ("needs a pair", "test_every_size_of_group_is_legal", "a group of 1: raised AssertionError"),
        ("type error", "test_a_modality_may_be_absent", "rows without letters: raised KeyError"),
        ("says nothing", "test_bad_groups_are_value_errors", "bad group 'negative': the ValueError has no"),
        ("accepts everything", "test_bad_groups_are_value_errors", "accepted without an error"),
        ("no modality", "test_rows_become_samples", "a row has no modality; remove it"),
        ("unknown label", "test_rows_become_samples", r"a row has \['ends'\], but the recipe has \['begins', 'letters'\]"),
        ("label out of range", "test_rows_become_samples", r"a row is not a valid sample: label 'begins' must be less than 2"),
        ("no rows", "test_rows_become_samples", "all groups are empty"),
        ("growth", "test_growth_holds", r"rows with \d+ tokens became \d with \d+, and growth is 1.25"),
    ],
)
def test_transform_contract(fault: str, test: str, message: str) -> None:
    class Contract(NeighboursContract):
        pass

    Contract.fault = fault
    with pytest.raises(AssertionError, match=message):
        getattr(Contract(), test)()


class Hasty(Letters):
    def shorten(self, raw: Any) -> Any:
        return raw[:10]


def test_tokenizer_contract_on_shortening() -> None:
    class Contract(TokenizerContract):
        def tokenizer(self) -> Tokenizer:
            return Hasty(Context())

        def raw_values(self) -> Sequence[Any]:
            return [np.arange(8) % 7, np.arange(12) % 7]

    with pytest.raises(AssertionError, match="raw value 1 fits one sample, but shorten changed it"):
        Contract().test_what_fits_is_not_shortened()
