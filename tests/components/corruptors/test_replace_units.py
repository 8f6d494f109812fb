"""Whole units show others of their class, and each is asked whether it is the original; on residues with annotated sites."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.component import named
from omnimask.components.corruptors.replace_units import ReplaceUnits
from omnimask.components.units.unit_pool import UnitPool, find_units, read_units, stretches
from omnimask.interfaces import Context, Corruptor, Draw, FieldSpec, Masking, Sample, Tokens, TokenSpec
from omnimask.testing.corruptor import reserve

from .views import masking_of, read

FIELDS = {"site": FieldSpec("int64"), "site.class": FieldSpec("int64", classes=3, names=("helix", "turn", "sheet"))}
SPEC = TokenSpec(vocabulary=30, special_ids={"mask": 29}, fields=FIELDS)
POOL = UnitPool(30, {0: ((1,), (1, 2), (3, 4, 5)), 1: ((6, 7), (8, 9)), 2: ((10,),)})


class Held:
    """A corpus of given samples."""

    def __init__(self, samples: list[Tokens]) -> None:
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)

    def fingerprint(self) -> str:
        return repr([(tokens.content.tolist(), tokens.fields["site"].tolist()) for tokens in self.samples])


def tokens_of(*parts: tuple[int | None, list[int]]) -> Tokens:
    """Stretches of ids, each of a class, or of no site."""
    number, kind, content = [], [], []
    for place, (what, ids) in enumerate(parts):
        content += ids
        number += [-1 if what is None else place] * len(ids)
        kind += [-1 if what is None else what] * len(ids)
    fields = {"site": np.array(number, np.int64), "site.class": np.array(kind, np.int64)}
    return Tokens(np.array(content, np.int64), np.arange(len(content), dtype=np.float32)[:, None], fields)


def sample_of(tokens: Tokens, key: str = "s") -> Sample:
    return Sample({"m": tokens}, Draw(0, 0, key), ("m",))


def corruptor(folder: Path, spec: TokenSpec = SPEC, **options) -> Corruptor:
    POOL.save(folder / "units.txt")
    made = {"field": "site", "units": folder / "units.txt", **options}
    spec = reserve(spec, ReplaceUnits(Context(specs={"m": spec}, modalities=("m",)), **made))
    return ReplaceUnits(Context(specs={"m": spec}, modalities=("m",)), **made)


TOKENS = tokens_of((None, [20, 21]), (0, [1, 2]), (None, [22]), (1, [6, 7]), (2, [10]), (None, [23, 24]), (0, [3, 4, 5]))


def test_units_become_others_of_their_class_and_nothing_else_changes(tmp_path: Path) -> None:
    replace = corruptor(tmp_path, ratio=1.0)
    seen = set()
    for number in range(60):
        sample = sample_of(TOKENS, str(number))
        context = replace(sample, masking_of(len(TOKENS), [])).context
        shown = read(context, sample).tolist()
        first = next(unit for unit in POOL.units[0] if shown[2 : 2 + len(unit) + 1] == [*unit, 22])
        last = tuple(shown[shown.index(24) + 1 :])
        assert first in {(1,), (3, 4, 5)}
        assert last in {(1,), (1, 2)}
        assert shown == [20, 21, *first, 22, 8, 9, 10, 23, 24, *last], "a unit that is alone in its class stays"
        seen.add((first, last))
        assert context.positions[:, 0].tolist() == list(range(len(shown)))
        assert context.has_position.all()
        table = context.targets
        assert table.of.tolist() == table.index.tolist() == [-1] * 4
        assert table.literal.tolist() == [1, 1, 0, 1]
        assert [shown[at] for at in table.at[:, 0]] == [first[0], 8, 10, last[0]]
    assert len(seen) == 4


def test_units_of_which_something_is_hidden_or_asked_are_left_alone(tmp_path: Path) -> None:
    replace = corruptor(tmp_path, ratio=1.0)
    is_target = np.isin(np.arange(len(TOKENS)), [0, 3])
    is_target[5] = True
    sample = sample_of(TOKENS)
    view = replace(sample, {"m": Masking(~is_target | (np.arange(len(TOKENS)) == 5), is_target)})
    shown = read(view.context, sample).tolist()
    assert shown[:7] == [29, 21, 1, 29, 22, 6, 7]
    table = view.context.targets
    assert table.of.tolist() == [0, 3, 5, -1, -1]
    assert table.index.tolist() == [0, 0, 0, -1, -1]
    assert table.literal.tolist() == [-1, -1, -1, 0, 1]
    assert [shown[at] for at in table.at[:3, 0]] == [29, 29, 6]


def test_targets_of_tokens_move_with_their_slots(tmp_path: Path) -> None:
    """Tokens 8 and 9 stand behind units that grow and shrink."""
    replace = corruptor(tmp_path, ratio=1.0)
    for number in range(20):
        sample = sample_of(TOKENS, str(number))
        view = replace(sample, masking_of(len(TOKENS), [8, 9]))
        shown, table = read(view.context, sample), view.context.targets
        rows = table.of >= 0
        assert view.context.source[table.at[rows, 0]].tolist() == table.of[rows].tolist() == [8, 9]
        assert shown[table.at[rows, 0]].tolist() == [29, 29]


def test_units_of_the_same_length_only(tmp_path: Path) -> None:
    replace = corruptor(tmp_path, ratio=1.0, same_length=True)
    sample = sample_of(TOKENS)
    context = replace(sample, masking_of(len(TOKENS), [])).context
    assert context.source.tolist() == list(range(len(TOKENS)))
    assert read(context, sample).tolist() == [20, 21, 1, 2, 22, 8, 9, 10, 23, 24, 3, 4, 5]
    assert context.targets.literal.tolist() == [0, 1, 0, 0]


def test_ratio_and_classes(tmp_path: Path) -> None:
    """Two units of class helix, each with probability 0.3: over 2,000 samples, 5 standard errors of 0.0072."""
    replace = corruptor(tmp_path, ratio=0.3, classes=["helix"])
    tables = [replace(sample_of(TOKENS, str(n)), masking_of(len(TOKENS), [])).context.targets for n in range(2000)]
    assert {len(table) for table in tables} == {2}
    assert np.mean([table.literal for table in tables]) == pytest.approx(0.3, abs=0.036)


@given(st.lists(st.integers(-1, 2), max_size=20), st.data())
def test_stretches_are_what_they_number(number: list[int], data) -> None:
    found = stretches(np.array(number, np.int64), None)
    covered = np.full(len(number), -1)
    for stretch in found:
        covered[stretch.start : stretch.stop] = stretch.number
    assert covered.tolist() == [max(-1, one) for one in number]
    assert all(left.stop < right.start or left.number != right.number for left, right in itertools.pairwise(found))


@pytest.mark.parametrize("same_length", [False, True])
def test_others_are_uniform_and_never_the_unit_itself(same_length: bool) -> None:
    pool = UnitPool(9, {0: ((1,), (2,), (3,), (4,), (5, 6))})
    for own in [(1,), (4,), (7,)]:
        counts: dict[tuple[int, ...] | None, int] = {}
        for step in range(600):
            drawn = pool.other(0, own, step / 600, same_length=same_length)
            counts[drawn] = counts.get(drawn, 0) + 1
        expected = [unit for unit in pool.units[0] if unit != own and not (same_length and len(unit) == 2)]
        assert sorted(counts) == expected
        assert set(counts.values()) == {600 // len(expected)}
    assert pool.other(0, (5, 6), 0.5, same_length=True) is None
    assert pool.other(1, (1,), 0.5, same_length=False) is None


def test_the_pool_is_found_in_the_training_samples_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))
    held = Held([TOKENS, tokens_of((0, [1, 2]), (0, [3]), (1, [3]))])
    context = Context(specs={"m": SPEC}, modalities=("m",), corpora={"m": held})
    first = ReplaceUnits(context, field="site")
    assert first.pool is not None
    assert first.pool.units == {0: ((1, 2), (3,), (3, 4, 5)), 1: ((3,), (6, 7)), 2: ((10,),)}
    (file,) = (tmp_path / "units").iterdir()
    assert read_units(file) == first.pool
    monkeypatch.setattr(Held, "__iter__", lambda self: pytest.fail("it was kept"))
    assert ReplaceUnits(context, field="site").pool == first.pool


def test_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "units.txt"
    POOL.save(path)
    assert read_units(path) == POOL
    good = path.read_text()
    for bad, message in [
        (good.replace("units 1", "units 7", 1), "is not a supported pool of units"),
        (good.replace("vocabulary 30", "vocabulary"), "must be '# vocabulary NUMBER'"),
        (good[: good.rindex("2\t")], "declares 6 units but has 5"),
        (good.replace("3 4 5", "3 4 55"), "outside the vocabulary of 30"),
        (good.replace("3 4 5", "3 x"), "must be 'CLASS TAB ID ID ...'"),
    ]:
        path.write_text(bad)
        with pytest.raises(ValueError, match=message):
            read_units(path)
    path.write_text(good)
    small = TokenSpec(vocabulary=31, fields=FIELDS)
    with pytest.raises(ValueError, match="have a vocabulary of 30, but the tokenizer has 31"):
        ReplaceUnits(Context(specs={"m": small}, modalities=("m",)), field="site", units=path)
    with pytest.raises(ValueError, match="cannot be read"):
        ReplaceUnits(Context(specs={"m": SPEC}, modalities=("m",)), field="site", units=tmp_path / "none.txt")


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the field 'fold', but the tokens of 'm' have"):
        corruptor(tmp_path, field="fold")
    with pytest.raises(ValueError, match="has no class 'coil'; classes: helix, turn, sheet"):
        corruptor(tmp_path, classes=["coil"])
    with pytest.raises(ValueError, match="replace_units needs ids"):
        corruptor(tmp_path, TokenSpec(width=(2,), fields=FIELDS))
    with pytest.raises(ValueError, match="set same_length: true"):
        corruptor(tmp_path, TokenSpec(vocabulary=30, axes=2, fields=FIELDS))
    with pytest.raises(ValueError, match="them in the context; use"):
        corruptor(tmp_path, rest=named("corruptor", "sentinel_spans"))
    with pytest.raises(ValueError, match="needs a rest that keeps all slots, but UnitToken does not"):
        corruptor(tmp_path, rest=named("corruptor", "unit_token"))(sample_of(TOKENS), masking_of(len(TOKENS), [1, 2]))
    without = ReplaceUnits(Context(specs={"m": SPEC}, modalities=("m",)), field="site")
    with pytest.raises(ValueError, match=r"needs a file, units=..., outside of"):
        without(sample_of(TOKENS), masking_of(len(TOKENS), []))


def test_units_are_found_by_class() -> None:
    found = find_units([(np.array([1, 2, 3, 1, 2]), np.array([0, 0, -1, 1, 1]), None)], 5)
    assert found.units == {-1: ((1, 2),)}
