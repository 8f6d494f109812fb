"""Option ``--devices``: one command in several processes. Imports no torch before they run."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from omnimask.cli.output import speaking
from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.training.devices.ranks import Ranks

Devices = Annotated[
    int, typer.Option("--devices", metavar="N", min=1, help="Number of devices of this machine to train on.", show_default=False)
]


def launched_instead(devices: int, arguments: Sequence[str]) -> None:
    """Run the command in as many processes as devices, and exit with their status.

    Return if there is one device, or if this is already one of the processes.

    Raises:
        UserError: another number of processes was started than the option specifies.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if devices == 1 or devices == started:
        return
    if started > 1:
        raise UserError(f"--devices {devices}: {started} processes are already running (WORLD_SIZE); remove the option")
    from omnimask.run.launch import launch

    raise typer.Exit(launch([*arguments, "--devices", str(devices)], devices))


@contextmanager
def together() -> Generator[Ranks]:
    """Join the processes of a run, for the length of the ``with`` block. Only the first one writes messages."""
    from omnimask.run.launch import watch_launcher
    from omnimask.training.devices.ranks import joined

    watch_launcher()
    with joined() as ranks, speaking(ranks.is_first):
        yield ranks
