"""The components that handle whole micro-batches are those that the page on performance names."""

from __future__ import annotations

from pathlib import Path

from omnimask.columns import has_whole_batch
from omnimask.interfaces import WholeBatchCorruptor, WholeBatchMasker
from omnimask.registry import discover

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")


def test_components_one_by_one_are_named() -> None:
    capabilities = {"masker": WholeBatchMasker, "corruptor": WholeBatchCorruptor}
    kinds = [
        (entry.name, capabilities[entry.kind], discover().load(entry.kind, entry.name))
        for entry in discover().entries()
        if entry.kind in capabilities
    ]
    alone = {name for name, capability, kind in kinds if not has_whole_batch(object.__new__(kind), capability)}
    assert alone == {"block", "multi_block", "ngram", "lexicon", "scored", "replace_units"}
    (line,) = (line for line in PAGE.splitlines() if "work sample by sample" in line)
    assert all(f"`{name}`" in line for name in alone) and "`span` with geometric lengths" in line
