"""``--devices`` where processes were started already."""

from __future__ import annotations

import pytest

from omnimask.cli.devices import launched_instead
from omnimask.errors import UserError


def test_a_process_that_is_one_of_as_many_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    launched_instead(1, ["pretrain"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    launched_instead(1, ["pretrain"])
    launched_instead(2, ["pretrain"])


def test_another_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="--devices 3: 2 processes are already"):
        launched_instead(3, ["pretrain"])
