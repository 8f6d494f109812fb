"""BiTimeBERT 2.0: time, date and persons, three losses in one run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from omnimask.builder.build import Built
from omnimask.cli import main
from omnimask.interfaces import CONTENT
from omnimask_datasets.chronicle import world

from .learning import learn, same_texts
from .reports import seen, small, tokenizer_of


@pytest.fixture(scope="module")
def dated() -> Built:
    return small("text/bitimebert")


def test_expressions_of_time_are_hidden_whole_and_twice_as_often_as_the_rest(dated: Built) -> None:
    """30 % of the tokens of times and signals, 15 % of the others; over 500 reports."""
    inside, outside = [], []
    for sample, stream in seen(dated, 500):
        fields = sample.tokens["text"].fields
        is_asked = np.isin(np.arange(len(sample)), stream.targets.of)
        is_time = np.zeros(len(sample), bool)
        for name in ("time", "signal"):
            number = np.asarray(fields[name])
            is_time |= number >= 0
            for span in range(number.max() + 1):
                assert len(set(is_asked[number == span].tolist())) == 1
        inside += is_asked[is_time].tolist()
        outside += is_asked[~is_time & ~np.asarray(fields["special"], bool)].tolist()
    assert np.mean(inside) == pytest.approx(0.3, abs=0.03)
    assert np.mean(outside) == pytest.approx(0.15, abs=0.01)


def test_persons_are_replaced_by_other_persons_and_nothing_else_is(dated: Built) -> None:
    """The visible ones, half of them; what stands there is then the name of another person of the training samples."""
    pool = dated.pipeline.views["main"].corruptor.pool
    tokenizer = tokenizer_of(dated)
    persons = set(pool.units[0])
    assert {tokenizer.scheme.decode(np.array(unit)) for unit in persons} >= {"anna keller", "karl novak"}
    replaced = []
    for sample, stream in seen(dated, 300):
        ids, fields = np.asarray(sample.tokens["text"].content), sample.tokens["text"].fields
        number, kind = np.asarray(fields["entity"]), np.asarray(fields["entity.class"])
        shown = np.where(stream.literal == CONTENT, ids[np.maximum(stream.source, 0)], stream.literal)
        is_unit = stream.targets.index < 0
        is_asked = np.isin(np.arange(len(sample)), stream.targets.of[~is_unit])
        visible = [span for span in range(number.max() + 1) if not is_asked[number == span].any() and kind[number == span][0] == 0]
        assert len(visible) == is_unit.sum()
        touched = np.zeros(len(stream.source), bool)
        for span, at, is_other in zip(visible, stream.targets.at[is_unit, 0], stream.targets.literal[is_unit], strict=True):
            own = tuple(ids[number == span].tolist())
            stop = at + 1
            while stop < len(stream.source) and (stream.source[stop] < 0 or number[stream.source[stop]] == span):
                stop += 1
            there = tuple(shown[at:stop].tolist())
            assert there in persons
            assert (there != own) == is_other
            touched[at:stop] = True
            replaced.append(is_other)
        kept = ~touched & (stream.source >= 0)
        assert not (stream.literal[kept & ~np.isin(stream.source, np.flatnonzero(is_asked))] != CONTENT).any()
    assert len(replaced) > 200
    assert np.mean(replaced) == pytest.approx(0.5, abs=0.15)


def test_years_come_with_every_part_of_a_report(dated: Built) -> None:
    for batch in dated.validation_batches():
        assert batch.labels["year"].tolist() == [int(key.partition("reports/")[2][:4]) % world.NUM_YEARS for key in batch.keys]


def test_three_losses_fall_in_one_run() -> None:
    """On eight reports, masked and replaced anew in every step, until their dates are learnt; by an encoder that learns fast."""
    built = small("text/bitimebert", "encoder={name: modernbert, width: 64, depth: 2, heads: 4, mlp_width: 128}")
    steps = learn(built, same_texts(built, 8, 100), lr=3e-3)
    first, last = (
        {term: np.mean([step.losses[term] for step in part]) for term in ("mlm", "dating", "replaced")}
        for part in (steps[:5], steps[-15:])
    )
    assert set(steps[0].losses) == {"mlm", "dating", "replaced"}
    assert last["mlm"] < 0.8 * first["mlm"]
    assert last["dating"] < 0.8 * np.log(8)
    assert last["replaced"] < 0.8 * np.log(2) < first["replaced"]


def test_a_run_writes_all_three(tmp_path: Path) -> None:
    assert main(["pretrain", "text/bitimebert", "--smoke", "--run", str(tmp_path / "run"), "device=cpu"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "lr" in line]
    assert len(steps) == 8
    for line in steps:
        assert line["loss"] == pytest.approx(line["mlm"] + line["dating"] + line["replaced"], rel=1e-4)
    assert any("validation_loss" in line for line in lines)
