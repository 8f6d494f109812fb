"""Contract of group transforms."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from omnimask.data.label_fields import LabelReader
from omnimask.interfaces import Draw, FieldSpec, Shortens, Tokenizer, Transform
from omnimask.testing.requirements import disturb_global_randomness, draws, require, require_picklable, require_value_error, same

Row = Mapping[str, Any]


class TransformContract(ABC):
    """Contract of a transform. Subclasses implement :meth:`transform`, :meth:`rows`, :meth:`tokenizers`, and :meth:`labels` if any.

    Attributes:
        is_random: whether different draws give different rows.
        num_draws: of a group, for the tests of growth and rows.
    """

    is_random: ClassVar[bool] = True
    num_draws: ClassVar[int] = 20

    @abstractmethod
    def transform(self) -> Transform:
        """Return the transform, built as in a recipe."""

    @abstractmethod
    def rows(self) -> Sequence[Row]:
        """Return the rows of a group of the size used in recipes: decoded raw values by modality, and labels by name."""

    @abstractmethod
    def tokenizers(self) -> Mapping[str, Tokenizer]:
        """Return tokenizers by modality for the rows, before and after."""

    def labels(self) -> Mapping[str, FieldSpec]:
        """Return the labels declared in the recipe."""
        return {}

    def bad_groups(self) -> Mapping[str, Sequence[Row]]:
        """Return groups to reject, by their defect."""
        return {}

    def draws(self, count: int, number: int) -> list[Draw]:
        """Return the draws of a group of ``count`` samples; ``number`` selects different draws."""
        return _grouped([dataclasses.replace(draw, epoch=number) for draw in draws(count)])

    def test_deterministic_per_draw(self) -> None:
        transform, rows = self.transform(), self.rows()
        first = transform(copy.deepcopy(rows), self.draws(len(rows), 0))
        disturb_global_randomness(1)
        transform(copy.deepcopy(rows), self.draws(len(rows), 1))
        require(
            same(list(first), list(transform(copy.deepcopy(rows), self.draws(len(rows), 0)))),
            "one group with the same draws gave two results; take every random number from the draws, and keep no state",
        )

    def test_draws_decide(self) -> None:
        transform, rows = self.transform(), self.rows()
        results = [list(transform(copy.deepcopy(rows), self.draws(len(rows), number))) for number in range(self.num_draws)]
        require(
            any(not same(results[0], other) for other in results[1:]) or not self.is_random,
            f"{self.num_draws} draws gave one result; use draw.rng or draw.uniform directly, or set is_random = False",
        )

    def test_rows_are_not_changed(self) -> None:
        transform, rows = self.transform(), [dict(row) for row in self.rows()]
        before = copy.deepcopy(rows)
        transform(rows, self.draws(len(rows), 0))
        require(same(before, rows), "the transform changed its input; create new rows, and work on copies of values")

    def test_picklable(self) -> None:
        transform, rows = self.transform(), self.rows()
        again = require_picklable(transform, "the transform")
        group = self.draws(len(rows), 0)
        require(same(list(transform(rows, group)), list(again(rows, group))), "a pickled transform differs from the original")

    def test_every_size_of_group_is_legal(self) -> None:
        """Check smaller groups: the last one of an epoch may be smaller, and unreadable samples are left out."""
        transform, rows = self.transform(), self.rows()
        for size in range(1, len(rows) + 1):
            for number in range(self.num_draws):
                group = self.draws(size, number)
                _only_value_errors(lambda size=size, group=group: transform(rows[:size], group), f"a group of {size}")

    def test_a_modality_may_be_absent(self) -> None:
        transform, rows = self.transform(), self.rows()
        group = self.draws(len(rows), 0)
        for name in self.tokenizers():
            fewer = [{key: value for key, value in row.items() if key != name} for row in rows]
            for given in (fewer, [fewer[0], *rows[1:]]):
                _only_value_errors(lambda given=given: transform(given, group), f"rows without {name}")

    def test_bad_groups_are_value_errors(self) -> None:
        for name, rows in self.bad_groups().items():
            require_value_error(lambda rows=rows: self.transform()(rows, self.draws(len(rows), 0)), f"bad group {name!r}")

    def test_rows_become_samples(self) -> None:
        tokenizers, labels = self.tokenizers(), self.labels()
        known, found = {*tokenizers, *labels}, 0
        for row in (row for _, after in self._each() for row in after):
            require(set(row) <= known, f"a row has {sorted(set(row) - known)}, but the recipe has {sorted(known)}")
            require(any(row.get(name) is not None for name in tokenizers), "a row has no modality; remove it")
            for name in labels:
                if row.get(name) is not None:
                    _read(name, labels[name], row[name])
            found += sum(_tokens(row, tokenizers).values())
        require(found > 0, "all groups are empty")

    def test_growth_holds(self) -> None:
        """Check the growth for groups of every size, with overlong rows shortened by the tokenizers."""
        transform, tokenizers = self.transform(), self.tokenizers()
        for before, after in self._each():
            given, got = (sum(sum(_tokens(row, tokenizers).values()) for row in rows) for rows in (before, after))
            require(
                got <= transform.growth * given,
                f"{len(before)} rows with {given} tokens became {len(after)} with {got}, and growth is "
                f"{transform.growth}: steps are planned with it; set it to a bound for all groups",
            )

    def _each(self) -> Iterator[tuple[Sequence[Row], Sequence[Row]]]:
        """Yield rows before and after, for accepted groups of every size."""
        transform, rows = self.transform(), self.rows()
        for size in range(1, len(rows) + 1):
            for number in range(self.num_draws):
                try:
                    after = transform(copy.deepcopy(rows[:size]), self.draws(size, number))
                except ValueError:
                    continue
                yield rows[:size], after


def _grouped(each: Sequence[Draw]) -> list[Draw]:
    """Return the draws of one group's samples, in the transform's stage."""
    group = tuple(draw.key for draw in each)
    return [dataclasses.replace(draw, group=group).at("transform") for draw in each]


def _only_value_errors(action: Any, what: str) -> None:
    try:
        action()
    except ValueError as error:
        require(bool(str(error).strip()), f"{what}: the ValueError has no message; describe the problem")
    except Exception as error:
        raise AssertionError(
            f"{what}: raised {type(error).__name__}: {error}; raise ValueError for unusable groups, so that they "
            "are skipped and counted"
        ) from error


def _read(name: str, spec: FieldSpec, value: Any) -> None:
    try:
        LabelReader(name, spec)(value)
    except ValueError as error:
        raise AssertionError(f"a row is not a valid sample: {error}") from error


def _tokens(row: Row, tokenizers: Mapping[str, Tokenizer]) -> dict[str, int]:
    """Return the tokens of a row by modality, as in a pipeline."""
    found: dict[str, int] = {}
    for name, tokenizer in tokenizers.items():
        value = row.get(name)
        if value is not None:
            fitting = tokenizer.shorten(value) if isinstance(tokenizer, Shortens) else value
            found[name] = len(tokenizer(fitting, draws(1)[0]))
    return found
