"""How fast steps are."""

from __future__ import annotations


class Rate:
    """Tokens and seconds of some steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.tokens = 0
        self.seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """One more step."""
        self.steps += 1
        self.tokens += tokens
        self.seconds += seconds

    @property
    def tokens_per_second(self) -> float:
        """0 before any step."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0
