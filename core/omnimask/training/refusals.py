"""Conversion of errors raised inside the model into a stopped run with their message."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from omnimask.errors import RunStopped, UserError

logger = logging.getLogger(__name__)


@contextmanager
def refusals(doing: str, run: Path) -> Generator[None]:
    """Convert a ``ValueError`` of the model inside the ``with`` block (such as an index beyond a table) into a ``RunStopped``.

    Args:
        doing: the operation, for the message: ``step 12``.
        run: the run directory.
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        logger.info("%s failed here:", doing, exc_info=error)
        raise RunStopped(
            f"a part of the model rejects {doing}: {error}; earlier checkpoints are intact; for the traceback see logs/ in {run}"
        ) from error
