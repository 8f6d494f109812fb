"""Decoding of arguments in any locale. Imports no torch."""

from __future__ import annotations

import io
import os
import sys

_UTF8_MODE = "PYTHONUTF8"


def readable(argument: str) -> str:
    """Return an argument, with bytes that the locale's encoding could not decode read as UTF-8.

    Python keeps such bytes as lone surrogates. Invalid UTF-8 is returned unchanged, since file names may
    contain them. Commands reject them in texts.
    """
    if not any("\udc80" <= one <= "\udcff" for one in argument):
        return argument
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument


def escape_unprintable() -> None:
    """Write escapes for characters outside of standard output's encoding, as Python does on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def start_in_utf8() -> None:
    """Restart this process in Python's UTF-8 mode if the locale supports ASCII only and the mode is off.

    Otherwise Python could neither open files with non-ASCII names nor write their names to the terminal. Call this before any slow
    import.
    """
    if sys.getfilesystemencoding() == "ascii" and os.environ.get(_UTF8_MODE) != "1":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, _UTF8_MODE: "1"})
