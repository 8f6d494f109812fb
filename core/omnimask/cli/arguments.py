"""Arguments as text, in whatever locale the command was started. Imports no torch."""

from __future__ import annotations

import io
import os
import sys

_UTF8_MODE = "PYTHONUTF8"


def readable(argument: str) -> str:
    """An argument whose bytes Python could not read in the locale's encoding, read as UTF-8.

    Python keeps such bytes as lone surrogates. An argument that is no UTF-8 stays as it is, for a file may have such a name; where
    it is a text, the command refuses it.
    """
    if not any("\udc80" <= one <= "\udcff" for one in argument):
        return argument
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument


def escape_unprintable() -> None:
    """Write escapes for characters that the encoding of standard output lacks, as Python does on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def start_in_utf8() -> None:
    """Start this process anew in Python's UTF-8 mode, where the locale knows ASCII alone and the mode was switched off.

    Otherwise Python could open no file whose name has another letter, nor write one to the terminal. Before anything is imported
    that takes time.
    """
    if sys.getfilesystemencoding() == "ascii" and os.environ.get(_UTF8_MODE) != "1":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, _UTF8_MODE: "1"})
