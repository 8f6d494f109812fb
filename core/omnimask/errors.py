"""Errors that end a command with a message instead of a traceback."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(ValueError):
    """Invalid user input, found before anything was written (exit code 2). ``messages``: one per problem."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages: Sequence[str] = messages


class RunStopped(RuntimeError):
    """The run stopped because of data, numbers or disk, as given in the message (exit code 1). The last checkpoint is intact."""


class BrokenContract(RunStopped):
    """A component returned a value that violates its interface (exit code 2).

    The message names the component, its distribution and the sample. The last checkpoint is intact.
    """


class NothingToLearn(RunStopped):
    """No step since the beginning of the run had any target: the recipe does not suit the data (exit code 2)."""


class Interrupted(Exception):
    """A signal or the end of the allotted time ended the run after a checkpoint.

    Args:
        signum: the signal (exit code 128 + ``signum``); None if the time was up (exit code 75).
    """

    def __init__(self, signum: int | None = None) -> None:
        super().__init__("the time limit of this attempt was reached" if signum is None else f"interrupted by signal {signum}")
        self.signum = signum
