"""A part of the model that refuses its input ends a run with what it says."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from omnimask.errors import RunStopped, UserError

logger = logging.getLogger(__name__)


@contextmanager
def refusals(doing: str, run: Path) -> Generator[None]:
    """Inside the ``with`` block, a ``ValueError`` of the model (a value beyond a table, say) becomes a ``RunStopped``.

    Args:
        doing: what the model was called for: ``step 12``.
        run: the run directory.
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        logger.info("%s was refused here:", doing, exc_info=error)
        raise RunStopped(
            f"a part of the model refuses {doing}: {error}; checkpoints written before are intact, and logs/ in {run} has where"
        ) from error
