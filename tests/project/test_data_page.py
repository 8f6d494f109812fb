"""The page on data at scale says what the result file says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data-at-scale.md").read_text(encoding="utf-8")
FOUND: Any = json.loads((ROOT / "benchmarks" / "results" / "shards.json").read_text(encoding="utf-8"))


def test_warm_figures_are_those_of_the_result() -> None:
    for kind, comparison in FOUND["warm"].items():
        assert comparison["rounds"] >= 7
        for row in comparison["rows"]:
            low, high = row["quartiles"]
            speed = comparison["inputs"]["samples"] / row["seconds"]
            assert f"| {kind} | {row['name']} | {speed:,.0f} | {row['ratio']:.2f} | {low:.2f}-{high:.2f} |" in PAGE


def test_cold_figures_are_those_of_the_result() -> None:
    for name, speed in FOUND["cold"]["samples per second"].items():
        assert f"| {name} | {speed:,.0f} |" in PAGE


def test_memory_is_flat_and_that_of_the_result() -> None:
    memory = FOUND["memory"]
    assert memory["samples"] == 200_000
    assert memory["most"] - memory["first"] < 2**20
    assert f"{memory['first'] / 1e6:.0f} MB after the first 20,000 and {memory['last'] / 1e6:.0f} MB after the last" in PAGE
    assert f"took {memory['index'] / memory['samples']:.0f} bytes per sample" in PAGE


def test_by_index_is_ten_times_as_fast_as_one_after_the_other() -> None:
    for comparison in FOUND["warm"].values():
        ratios = {row["name"]: row["ratio"] for row in comparison["rows"]}
        assert ratios["by index, in windows"] >= 10
