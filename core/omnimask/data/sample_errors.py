"""Conversion of exceptions while one sample is read: any library error makes it bad, and the run continues. Imports no torch."""

from __future__ import annotations

import traceback

from omnimask.errors import Interrupted, RunStopped

_NOT_OF_A_SAMPLE = (RunStopped, Interrupted, MemoryError)


class Unexpected(ValueError):
    """Exception other than ``OSError`` and ``ValueError``, raised while a sample was read; ``trace`` is its traceback."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace

    def __reduce__(self) -> tuple[type[Unexpected], tuple[str, str]]:
        return Unexpected, (str(self), self.trace)


class OfOneSample:
    """Context manager that converts errors of data sets, decoders and tokenizers to ``OSError`` or ``ValueError``.

    Errors that end the run, and out-of-memory errors, pass unchanged. Use the instance :data:`of_one_sample`.

    Raises:
        Unexpected: for any other exception, with its traceback for the log.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, (OSError, ValueError, *_NOT_OF_A_SAMPLE)):
            raise Unexpected(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))) from error


of_one_sample = OfOneSample()


def reason_of(error: Exception) -> str:
    """Return type and message of an error as text."""
    return str(error) if isinstance(error, Unexpected) else f"{type(error).__name__}: {error}"


def trace_of(error: Exception) -> str:
    """Return the traceback of an exception that no reader should raise; empty for ``OSError`` and ``ValueError``."""
    return error.trace if isinstance(error, Unexpected) else ""
