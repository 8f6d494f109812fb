"""Record of the tokens per micro-batch that ``train.micro_batch_tokens: auto`` stands for in a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from omnimask.builder.build import Built
from omnimask.builder.micro_batches import AUTO_MICRO_BATCH
from omnimask.training.checkpoints.run_directory import RunDirectory

_KEY = "auto_micro_batch_tokens"


def tokens_record(built: Built, device: str) -> dict[str, dict[str, int]]:
    """Return the entry of ``environment.json`` with the tokens by device type; without tokens if the recipe sets a number."""
    is_auto = built.recipe.train.micro_batch_tokens == "auto"
    return {_KEY: {device: built.auto_tokens(device)} if is_auto else {}}


def recorded_tokens(directory: RunDirectory) -> Mapping[str, int]:
    """Return the recorded tokens by device type; empty for a new run.

    A run without a record was begun by a version that did not divide by :attr:`Built.token_cost`, and goes on without.
    """
    if not directory.recipe.is_file():
        return {}
    try:
        recorded: Mapping[str, Any] = json.loads(directory.environment.read_text(encoding="utf-8"))[_KEY]
        return {device: max(1, int(tokens)) for device, tokens in recorded.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return AUTO_MICRO_BATCH
