"""Standard output reserved for answers: other prints go to standard error. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator


@contextlib.contextmanager
def printing_to_stderr() -> Generator[None]:
    """Redirect prints of this process, C libraries and child processes to standard error inside the ``with`` block."""
    with contextlib.suppress(Exception):  # a closed or odd stream has nothing to flush
        sys.stdout.flush()
    saved: int | None = None
    with contextlib.suppress(OSError):
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
