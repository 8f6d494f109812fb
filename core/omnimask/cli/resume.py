"""Command ``omnimask resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omnimask.cli.devices import Devices, launched_instead, together
from omnimask.cli.durations import MaxTime, deadline_in
from omnimask.cli.output import messages, say
from omnimask.cli.training_summary import closing_lines, is_finished_already, train


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Overrides, for example train.workers=4.", show_default=False),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-changes",
            metavar="KEY",
            help="Accept a change that makes it a different run, for example source.my_plugin; repeatable.",
            show_default=False,
        ),
    ] = None,
    devices: Devices = 1,
    max_time: MaxTime = None,
) -> None:
    """Continue a run exactly from its newest checkpoint.

    May change: --devices, train.distributed, train.timeout, train.steps (more), train.workers, train.threads, train.log_every,
    train.validate_every, train.validate_share, train.patience, train.checkpoint_every, train.keep_checkpoints,
    train.micro_batch_tokens, train.activation_checkpointing, device, data.path, data.url and data.cache (the same data elsewhere),
    data.max_bad, and plugins (the same files elsewhere). Schedules depend on the number of steps: with more steps, the learning
    rate follows the longer schedule from here on.

    Any other difference from the checkpoint is named and refused: an edited recipe.yaml, another default, edited source of a
    plugin. --accept-changes accepts one of them and records it in history.jsonl in RUN.
    """
    deadline = deadline_in(max_time)
    options = [*(() if max_time is None else ("--max-time", max_time))]
    options += [part for key in accept or () for part in ("--accept-changes", key)]
    launched_instead(devices, ["resume", str(run), *(changes or ()), *options])
    from omnimask.run.resume import reopen

    with together():
        with messages():
            ready = reopen(run, changes or (), accept or ())
        if not is_finished_already(ready):
            say("\n".join(closing_lines(run, train(ready, deadline))))
