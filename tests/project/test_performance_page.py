"""The page on performance says what the result files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name",
    [
        "mae_decoder_512x8",
        "mae_decoder_256x4",
        "text_step",
        "text_masking",
        "text_masking_512",
        "image_masking",
        "text_rts",
        "loop_2ms",
        "loop_50ms",
        "border_text",
        "border_image",
        "transport_one_view_16k",
        "transport_one_view_64k",
        "transport_two_views_16k",
        "transport_two_views_64k",
        "stored_tokens_128",
        "stored_tokens_512",
        "stored_tokens_2048",
        "image_loading",
    ],
)
def test_tables_are_those_of_the_results(name: str) -> None:
    found = result(name)
    assert found["rounds"] >= 7
    for row in found["rows"]:
        low, high = row["quartiles"]
        cells = f"| {row['name']} | {1e3 * row['seconds']:.1f} | {row['ratio']:.2f} | {low:.2f}-{high:.2f} |"
        assert cells in PAGE
        if row["share_of_peak"] is not None:
            assert f"{cells} {row['share_of_peak']:.2f} |" in PAGE


def test_originality_is_cheaper_than_a_vocabulary() -> None:
    """What the page says in words, of the medians."""
    ratio = {row["name"].removeprefix("omnimask "): row["ratio"] for row in result("text_rts")["rows"]}
    assert ratio["text/rts"] > 1 and ratio["text/c-rts"] > 1
    assert (
        f"all tokens, as it is often computed, a step of RTS is {ratio['text/rts'] / ratio['text/bert, all tokens scored']:.2f}"
        in PAGE
    )
    assert f"against scores at the hidden ones, {ratio['text/rts']:.2f} times" in PAGE


@pytest.mark.parametrize("name", ["one_view_16k", "one_view_64k", "two_views_16k", "two_views_64k"])
def test_one_buffer_costs_the_main_process_at_most_two_thirds(name: str) -> None:
    assert result(f"transport_{name}")["rows"][1]["ratio"] >= 1.5


@pytest.mark.parametrize("length", [128, 512, 2048])
def test_stored_tokens_are_ten_times_as_fast_as_tokenizing(length: int) -> None:
    assert result(f"stored_tokens_{length}")["rows"][1]["ratio"] >= 10


def test_loading_images_is_faster_than_the_same_decoder_beside_it() -> None:
    ratio = {row["name"]: row["ratio"] for row in result("image_loading")["rows"]}
    assert ratio["omnimask, image.pillow"] > 1
    assert ratio["omnimask, image.torchvision, resize: torch"] > ratio["Dataset, v2 on tensors"]


def test_cores_are_those_of_the_result() -> None:
    found = result("feeding")
    assert found["rounds"] >= 7
    for row in found["rows"]:
        stages = ("read", "tokenize", "mask", "corrupt", "pack", "transport")
        shown = " | ".join(f"{row['stages'][stage]:,.1f}" for stage in stages)
        low, high = row["quartiles"]
        assert f"| {row['name']} | {shown} | {row['microseconds']:,.1f} | {low:,.1f}-{high:,.1f} | {row['cores']:.1f} |" in PAGE
        rate = int(row["device"].split()[0].replace(",", "")) / (row["tokens_per_sample"] if "tokens" in row["device"] else 1)
        assert row["cores"] == pytest.approx(row["microseconds"] * rate / 1e6)
    for name, count in found["bytes_per_token"].items():
        assert f"| `{name}` | {count:,.0f} |" in PAGE


def test_the_profile_is_that_of_the_result() -> None:
    for kind, share in result("step_profile")["shares"].items():
        assert f"| {kind} | {100 * share:.1f} % |" in PAGE


def test_memory_is_that_of_the_result() -> None:
    for mib in result("text_memory")["mib"].values():
        assert f"{mib:,.0f} MiB" in PAGE


def test_every_kill_was_survived() -> None:
    found = result("kill_and_resume")
    totals = found["totals"]
    assert found["is_exact"] and totals["kills"] >= 50
    assert {run["devices"] for run in found["runs"]} == {1, 2} and all(run["workers"] == [0, 2] for run in found["runs"])
    assert f"kills.py {found['command']}`" in PAGE
    shown = ("kills", "inside a checkpoint", "before the first step", "steps", "epochs", "checkpoints read")
    assert f"| {' | '.join(shown)} |" in PAGE
    assert f"| {' | '.join(f'{totals[name]:,}' for name in shown)} |" in PAGE
    shares = result("kill_and_resume_shares")
    assert shares["is_exact"] and f"{shares['totals']['kills']} more kills" in PAGE and f"(`{shares['command']}`)" in PAGE
    assert not any(totals[name] for name in ("differences", "unreadable checkpoints", "wrong visits", "orphans"))


def test_recalls_are_those_of_the_result() -> None:
    page = (ROOT / "docs" / "text-variants.md").read_text(encoding="utf-8")
    short, long = result("retrieval_1000"), result("retrieval")
    for name in long["mean"]:
        numbers = [f"{100 * found['mean'][name][at]:.1f}" for found in (short, long) for at in ("1", "10")]
        assert f"| {name} | {' | '.join(numbers)} |" in page
    for found in (short, long):
        assert f"{found['inputs']['steps']:,} steps" in page
    for recall in (row["recall"] for row in long["seeds"]):
        assert all(recall[f"retromae, {pool}"]["10"] > recall[f"mlm, {pool}"]["10"] for pool in ("first", "mean"))


def test_few_label_scores_are_those_of_the_result() -> None:
    page = (ROOT / "docs" / "evaluation-results.md").read_text(encoding="utf-8")
    found = result("few_label")
    for name in (f"{name}-{seed}" for name in ("eurosat", "objects", "flowers") for seed in range(3)):
        for labels, scores in found[name]["scores"]["linear"].items():
            shown = " | ".join(f"{100 * scores[key][0]:.1f}" for key in ("pretrained", "random init", "raw input"))
            low, high = (100 * value for value in found[name]["differences"]["linear"][labels]["random init"][1:3])
            assert f"| {name[-1]} | {labels} | {shown} |" in page
            assert f"[{low:.1f}, {high:.1f}]" in page


def test_threads_are_those_of_the_result() -> None:
    for row in result("threads")["rows"]:
        rates = " | ".join(f"{row[key]:,.0f}" for key in ("tokens_per_second", "lowest", "highest"))
        assert f"| {row['name']} | {rates} |" in PAGE
