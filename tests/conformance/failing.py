"""What a contract says of a component that breaks one promise."""

from __future__ import annotations

import pytest


def finds(contract: object, test: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        getattr(contract, test)()
