"""Throughput of steps."""

from __future__ import annotations


class Rate:
    """Tokens and seconds of several steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.tokens = 0
        self.seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """Add one step."""
        self.steps += 1
        self.tokens += tokens
        self.seconds += seconds

    @property
    def tokens_per_second(self) -> float:
        """Throughput; 0 before the first step."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0
