"""Durations on the command line: ``3h50m``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.training.deadline import Deadline

MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        metavar="DURATION",
        help="Write a checkpoint and exit with code 75 before this time is up (3h50m).",
        show_default=False,
    ),
]

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_FORM = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _SECONDS))


def seconds_of(text: str, option: str) -> float:
    """Return the seconds of a duration: days, hours, minutes and seconds in this order (``1d12h``, ``3h50m``, ``45s``).

    A plain number is minutes.

    Raises:
        UserError: the text is not a duration, or zero. The message names the ``option``.
    """
    found = _FORM.fullmatch(text.replace(" ", "").lower() + ("m" if re.fullmatch(r"\d+(\.\d+)?", text) else ""))
    parts = {} if found is None else {unit: float(number) for unit, number in found.groupdict().items() if number is not None}
    seconds = sum(number * _SECONDS[unit] for unit, number in parts.items())
    if seconds <= 0:
        raise UserError(f"{option} {text}: must be a duration, such as 3h50m, 90m or 45s; a plain number is in minutes")
    return seconds


def deadline_in(max_time: str | None) -> Deadline:
    """Return the deadline of ``--max-time``, counted from now; without an end if the option is missing."""
    from omnimask.training.deadline import Deadline

    return Deadline(None if max_time is None else seconds_of(max_time, "--max-time"))
