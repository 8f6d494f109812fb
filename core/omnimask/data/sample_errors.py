"""Exceptions while one sample is read: whatever a library raises makes that sample bad, and the run goes on. Imports no torch."""

from __future__ import annotations

import traceback

from omnimask.errors import Interrupted, RunStopped

_NOT_OF_A_SAMPLE = (RunStopped, Interrupted, MemoryError)


class Unexpected(ValueError):
    """An exception other than ``OSError`` and ``ValueError``, raised while a sample was read; ``trace`` is its traceback."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace

    def __reduce__(self) -> tuple[type[Unexpected], tuple[str, str]]:
        return Unexpected, (str(self), self.trace)


class OfOneSample:
    """A ``with`` block that turns what data sets, decoders and tokenizers raise for a sample into ``OSError`` or ``ValueError``.

    Reasons to end the run, and memory that ran out, pass unchanged. :data:`of_one_sample` is the one to use.

    Raises:
        Unexpected: any other exception, with its traceback for the log.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, (OSError, ValueError, *_NOT_OF_A_SAMPLE)):
            raise Unexpected(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))) from error


of_one_sample = OfOneSample()


def reason_of(error: Exception) -> str:
    """Type and message of an error, for people."""
    return str(error) if isinstance(error, Unexpected) else f"{type(error).__name__}: {error}"


def trace_of(error: Exception) -> str:
    """Traceback of an exception that no reader should raise; empty for ``OSError`` and ``ValueError``."""
    return error.trace if isinstance(error, Unexpected) else ""
