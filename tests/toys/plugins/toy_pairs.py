"""Samples of both toy modalities; a quarter lacks the signal, a quarter the words."""

from __future__ import annotations

from typing import Any

from toy_grammar import sentence_of
from toy_signal import signal_of

import omnimask
from omnimask.interfaces import Context
from omnimask.registry import Registrar


class Pairs:
    """512 samples of a signal, a sentence, or both."""

    def __init__(self, context: Context) -> None:
        del context

    def __len__(self) -> int:
        return 512

    def key(self, index: int) -> str:
        return f"pairs/{range(len(self))[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        key = self.key(index)
        both = {"signal": signal_of(key), "words": sentence_of(key)}
        absent = {0: "signal", 1: "words"}.get(index % 4)
        return {name: value for name, value in both.items() if name != absent}

    def fingerprint(self) -> str:
        return "toy pairs 1"


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    registry.add_dataset("toy.pairs", "toy_pairs:Pairs")
