"""Errors of single samples: which exceptions make a sample bad instead of ending the run. Imports no torch."""

from __future__ import annotations

import logging

from omnimask.errors import RunStopped, UserError

logger = logging.getLogger(__name__)

_logged: set[type[Exception]] = set()


def reason_of(error: Exception, key: str) -> str:
    """Return why a sample is bad, or raise the error again where it is not the sample's.

    Libraries raise whatever a damaged sample leads them to, so every exception counts as the sample's, except exhausted memory, a
    run that was stopped, and errors of the configuration. Components promise ``OSError`` or ``ValueError``; of any other type the
    first traceback goes to the log, since it may be a bug.

    Args:
        error: raised while a sample was read, decoded, cut or counted.
        key: names the sample.
    """
    if isinstance(error, MemoryError | RunStopped | UserError):
        raise error
    if not isinstance(error, OSError | ValueError) and type(error) not in _logged:
        _logged.add(type(error))
        logger.warning("sample %s raised %s, and counts as bad", key, type(error).__name__, exc_info=error)
    return f"{type(error).__name__}: {error}"
