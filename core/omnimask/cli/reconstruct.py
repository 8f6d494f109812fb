"""Command ``omnimask reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omnimask.cli.output import messages, write_text


def reconstruct(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)],
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE|TEXT",
            help="File to reconstruct instead of held-out samples, or text with the tokenizer's mask token.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", metavar="NAME", help="best, last, or step-00001000.")] = "best",
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=1, help="Samples (default 6), or maskings of the file (1).", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output file; default: in RUN/figures.", show_default=False),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option("--modality", metavar="NAME", help="Modality of the file, if the run has several.", show_default=False),
    ] = None,
) -> None:
    """Show a trained model's reconstructions.

    Each sample is drawn as it is, as the network saw it, and filled in. If tokens are ids, for example words, stdout shows the
    hidden ones and the model's first five choices for each. The paths of the drawings go to stdout, too.
    """
    from omnimask.builder.build import build
    from omnimask.cli.blanks import write_blanks
    from omnimask.errors import RunStopped, UserError
    from omnimask.run.device import choose_device
    from omnimask.run.figures import COUNT, fill_in, held_out_samples, load_renderers, render
    from omnimask.run.trained_run import load_checkpoint, open_trained
    from omnimask.run.user_samples import TYPED, Given, given_samples
    from omnimask.training.devices.precision import Precision

    with messages():
        recipe, chosen = open_trained(run, checkpoint)
        device = choose_device(recipe.device)
        built = build(recipe, initialise=False)
        if input is None:
            given = Given(held_out_samples(built, count or COUNT), built.validation, False)
        else:
            given = given_samples(built, input, modality, count or 1)
        built.model.to(device)
        load_checkpoint(built.model, chosen)
        try:
            found = fill_in(built, given.samples, Precision(recipe.train.precision, device), given.pipeline)
        except RunStopped as error:  # nothing runs here: samples cannot be masked as they were given
            raise UserError(str(error)) from error
        is_shown = write_blanks(found, has_all=input is not None)
        stem = "reconstructions" if input is None else Path(input).stem if given.is_file else TYPED
        place, title = output or run / "figures" / f"{stem}-{chosen.name}", f"{run.resolve().name}: {chosen.name}"
        drawn = [] if is_shown and not load_renderers(recipe) else render(recipe, found, place, title=title)
    for path in drawn:
        write_text(str(path))
