"""The page on scaling says what was measured, and its arithmetic is that of the script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .loaded import loaded

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
RESULT: Any = json.loads((ROOT / "benchmarks" / "results" / "scaling.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scaling() -> Iterator[ModuleType]:
    with loaded("benchmarks", "scaling") as module:
        yield module


def test_every_line_of_the_tables_is_on_the_page(scaling: Any) -> None:
    lines = scaling.tables(RESULT)
    assert len(lines) == 5 * len(RESULT["models"])
    for line in lines:
        assert line in PAGE, line


def test_what_is_computed_follows_from_what_was_measured(scaling: Any) -> None:
    models = {name: scaling.Model(**model) for name, model in RESULT["models"].items()}
    again = json.loads(json.dumps(scaling.computed(models, scaling.Assumptions(**RESULT["assumed"]))))
    assert again == RESULT["computed"]


def test_numbers_in_the_text(scaling: Any) -> None:
    planner, assumed = RESULT["planner"], scaling.Assumptions(**RESULT["assumed"])
    assert assumed == scaling.Assumptions()
    assert f"{planner['worst']:.3f} at worst, {planner['median']:.3f} in the middle" in PAGE
    assert f"{1e3 * planner['seconds']:.0f} ms of CPU time" in PAGE
    assert f"up to {100 * (planner['worst'] - 1):.0f} % above the mean" in PAGE
    assert f"{assumed.flops / 1e12:.0f} TFLOP/s" in PAGE and f"{assumed.inside / 1e9:.0f} GB/s to the others" in PAGE
    assert f"{assumed.between / 1e9:.0f} GB/s to other nodes" in PAGE and f"{assumed.disk / 1e9:.0f} GB/s from a node" in PAGE
    for name, words in (("image/mae", "images per device"), ("image/mae, ViT-H", "for ViT-H"), ("text/modernbert", "texts")):
        assert f"{RESULT['computed'][name]['half']} {words}" in PAGE
    shards = json.loads((ROOT / "benchmarks" / "results" / "shards.json").read_text(encoding="utf-8"))
    rows = shards["warm"]["captioned pictures"]["rows"]
    found = next(row for row in rows if row["name"] == "by index, in windows")
    assert f"{shards['warm']['captioned pictures']['inputs']['samples'] / found['seconds']:,.0f} per second and process" in PAGE
    assert f"{shards['memory']['index'] / shards['memory']['samples']:.0f} bytes per sample and process" in PAGE
    model = scaling.Model(**RESULT["models"]["text/modernbert"])
    assert f"paragraphs of {model.batch_tokens / model.batch_samples:.0f} tokens on average" in PAGE


def test_sums_by_hand(scaling: Any) -> None:
    """Four bytes of gradient on two devices of one node; on sixteen in two nodes."""
    assumed = scaling.Assumptions(flops=1.0, inside=2.0, between=1.0, per_node=8, disk=1.0)
    assert scaling.all_reduce(4.0, 1, assumed) == (0.0, 0.0)
    assert scaling.all_reduce(4.0, 2, assumed) == (4.0, 2.0)
    sent, seconds = scaling.all_reduce(4.0, 16, assumed)
    assert sent == pytest.approx(2 * 7 / 8 * 4 + 2 * 1 / 2 * 4 / 8)
    assert seconds == pytest.approx(2 * 7 / 8 * 4 / 2 + 2 * 1 / 2 * 4 / 8 / 1)
    model = scaling.Model(1, 6.0, 1.0, 100, 10, 5.0, 3.0)
    one = scaling.row(model, 1, assumed)
    assert (one.compute, one.network, one.share, one.samples_per_second) == (600.0, 0.0, 0.0, pytest.approx(1 / 60))
    assert one.cores == pytest.approx(1 / 60 / 5) and one.node_bytes_per_second == pytest.approx(3 / 60)
    assert scaling.half(replace(model, parameters=10**6), assumed) > scaling.half(model, assumed)


def test_the_page_says_what_was_not_measured() -> None:
    assert "**No GPU and no network were at hand**" in PAGE and "## Not measured" in PAGE
