"""``omnimask reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omnimask.cli.output import messages, write_text


def reconstruct(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)],
    input: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="A file to fill in, instead of held-out samples.", show_default=False),
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", metavar="NAME", help="best, last, or step-00001000.")] = "best",
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=1, help="Samples, or maskings of the file; default 6, or 1.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to draw; default: in RUN/figures.", show_default=False),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option("--modality", metavar="NAME", help="What the file is, where a run has several.", show_default=False),
    ] = None,
) -> None:
    """Draw what a trained model fills in.

    Each sample is shown as it is, as the network saw it, and filled in. The paths of the drawings go to stdout.
    """
    from omnimask.builder import build
    from omnimask.data.planner import Place
    from omnimask.run.device import choose_device
    from omnimask.run.figures import COUNT, fill_in, held_out_samples, one_file, read_samples, render
    from omnimask.run.resume import choose_checkpoint, load_checkpoint, load_run
    from omnimask.training.precision import Precision

    with messages():
        recipe = load_run(run)
        chosen = choose_checkpoint(run, checkpoint)
        device = choose_device(recipe.device)
        built = build(recipe, initialise=False)
        if input is None:
            samples = held_out_samples(built, count or COUNT)
        else:
            places = [Place(epoch, 0, 0, 0.0) for epoch in range(count or 1)]
            samples = read_samples(one_file(built, input, modality), places, len(places))
        built.model.to(device)
        load_checkpoint(built.model, chosen)
        found = fill_in(built, samples, Precision(recipe.train.precision, device))
        name = f"{'reconstructions' if input is None else input.stem}-{chosen.name}"
        drawn = render(recipe, found, output or run / "figures" / name, title=f"{run.resolve().name}: {chosen.name}")
    for path in drawn:
        write_text(str(path))
