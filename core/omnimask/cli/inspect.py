"""Command ``omnimask inspect``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omnimask.cli.output import messages, quantity, say, size, write_json, write_pairs, write_text

if TYPE_CHECKING:
    from omnimask.builder.build import Built
    from omnimask.report.inspection import Inspection
    from omnimask.training.config import TrainConfig

_MEASURED = 4
"""Samples to measure operations and activations on."""

FLOPS_RULE = (
    "3 x the forward pass, 1 x for passes without gradient (2 per multiply-add, counted by torch on a few samples) x tokens of a "
    "step / tokens measured"
)
MEMORY_RULE = (
    "fp32; activations: what the backward pass needs of a few samples, measured on the CPU, x micro_batch_tokens / tokens "
    "measured. About half of that in bf16 or fp16; kernels' own buffers come on top"
)


def inspect(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Recipe file, shipped recipe, or modality for its quick start.", show_default=False),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides of the recipe.", show_default=False)
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Inspect the recipe of a smoke run.")] = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Draw samples and their masked views.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a recipe with all its defaults, and its cost.

    Counts parameters, tokens, operations and memory, and names the loss terms that are not exact when a step is split. Trains
    nothing, and writes nothing but the figure.
    """
    from omnimask.builder.build import build
    from omnimask.data.planner import Place
    from omnimask.recipe import load_recipe
    from omnimask.report.inspection import inspect as measure
    from omnimask.run.device import choose_device
    from omnimask.run.figures import read_samples
    from omnimask.run.prepare import check_data, check_model
    from omnimask.run.recipe_warnings import oddities

    with messages():
        loaded = load_recipe(recipe, overrides or (), smoke=smoke)
        device = choose_device(loaded.device).type
        built = build(loaded)
        check_data(built)
        check_model(built)
        odd = list(oddities(built))
        places = (Place(0, 0, index, 0.0) for index in built.train_indices)
        samples = read_samples(built.validation, places, _MEASURED)
        found = measure(built, samples, device)
        drawn = [] if figure is None else _draw(built, figure)
    if as_json:
        write_json(_json(built, found, device))
    else:
        _write(built, found, device)
    for oddity in odd:
        say(f"warning: {oddity}")
    for path in drawn:
        say(f"masks drawn in {path}")


def _draw(built: Built, path: Path) -> list[Path]:
    from omnimask.report.reconstruct import masked_only
    from omnimask.run.figures import COUNT, render, varied_samples

    samples = varied_samples(built, built.train_indices, COUNT)
    batch = built.validation.without_repetitions.pack(samples)
    found = masked_only(samples, batch, built.tokenizers, built.specs)
    return render(built.recipe, found, path, title=f"{built.recipe.name}: masks")


def _json(built: Built, found: Inspection, device: str) -> dict[str, Any]:
    from omnimask.recipe.yaml_text import parse

    recipe = parse(built.recipe.to_yaml(), "recipe").data
    assert built.recipe.train.optimizer is not None, "the resolved recipe has no optimizer"
    lr = built.recipe.train.optimizer.options.get("lr")
    rules = {"peak_lr": lr, "flops_rule": FLOPS_RULE, "memory_rule": MEMORY_RULE}
    return {"name": built.recipe.name, "device": device, "recipe": recipe, **dataclasses.asdict(found), **rules}


def _write(built: Built, found: Inspection, device: str) -> None:
    write_text(built.recipe.to_yaml())
    total = sum(found.parameters.values())
    write_pairs({**{name: f"{number:,}" for name, number in found.parameters.items()}, "all": f"{total:,}"}, title="parameters")
    write_text("")
    write_pairs(_data(found, built.recipe.train), title="data")
    write_text("")
    write_pairs(_validation(found, built.recipe.train.validate_every), title="validation")
    write_text("")
    steps = built.recipe.train.steps
    write_pairs(
        {
            "one step": f"about {quantity(found.flops)}FLOP, forward and backward",
            f"all {steps:,} steps": f"about {quantity(found.flops * steps)}FLOP",
            "how": FLOPS_RULE,
            "not exact": ", ".join(found.not_exact) or "no loss term: splitting a step changes no gradient",
        },
        title="operations",
    )
    write_text("")
    memory = {name: size(number) for name, number in found.memory.items() if number}
    write_pairs({**memory, "all": size(sum(found.memory.values())), "how": MEMORY_RULE}, title=f"memory on one device ({device})")


def _data(found: Inspection, train: TrainConfig) -> dict[str, str]:
    from omnimask.training.config import rate_by_batch

    low, mean, high = found.tokens_per_sample
    by_batch = rate_by_batch(train)
    rate = {} if by_batch is None else {"peak learning rate": f"{by_batch} (train.base_lr)"}
    per_sample = f"{low:,}" if low == high else f"{low:,} to {high:,}, {mean:,.1f} on average"
    cost = {} if found.slots_per_token == 1 else {"memory per token": _token_cost(found, train)}
    return {
        "samples": f"{found.num_samples:,} to train on, {found.num_held_out:,} held out",
        "tokens per sample": per_sample,
        **cost,
        "one step": f"{found.samples_per_step:,} samples, {found.tokens_per_step:,} tokens, in "
        f"{found.micro_batches:,} micro-batch{'es' * (found.micro_batches != 1)} of up to {found.micro_batch_tokens:,} tokens",
        "one epoch": f"{_few_digits(found.steps_per_epoch)} steps",
        "the run": f"{_few_digits(found.epochs)} epochs",
        **rate,
    }


def _token_cost(found: Inspection, train: TrainConfig) -> str:
    views = found.gradient_views
    slots = f"{found.slots_per_token:g} slots of the encoder, in {len(views)} view{'s' * (len(views) != 1)} ({', '.join(views)})"
    is_auto = train.micro_batch_tokens == "auto"
    return f"{slots}: micro-batches of {found.micro_batch_tokens:,} tokens{'' if is_auto else ', as set'}"


def _validation(found: Inspection, every: int) -> dict[str, str]:
    cost = found.validation
    if cost is None:
        return {"held out": "nothing (data.validation)"}
    batches = f"{cost.batches:,} batch{'es' * (cost.batches != 1)}"
    return {
        "one validation": f"{cost.samples:,} of {cost.held_out:,} held-out samples, {cost.tokens:,} tokens, in {batches}",
        "the run": f"{cost.validations:,} validation{'s' * (cost.validations != 1)}, every {every:,} steps and after the last one",
        "share of the work": f"{100 * cost.share:.2g} % (a validated token costs a third of a trained one)",
    }


def _few_digits(number: float) -> str:
    return f"{number:,.1f}" if number >= 10 else f"{number:.3g}"
