"""Evaluates a run directory and writes what was found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from omnimask.builder import Built, build, build_dataset, read_part
from omnimask.component import Component
from omnimask.data.labels import read_labels
from omnimask.data.split import held_out, whole_keys
from omnimask.errors import RunStopped, UserError
from omnimask.evaluation.curves import CONFIDENCE, PER_CLASS
from omnimask.evaluation.features import Pool
from omnimask.evaluation.figure import check_matplotlib, draw
from omnimask.evaluation.probe import FEW_LABEL_C, FOLDS, GRID_C, NEIGHBOURS, TEMPERATURE
from omnimask.evaluation.scores import Evaluation, as_json, evaluate
from omnimask.recipe import Recipe
from omnimask.run.device import choose_device
from omnimask.run.resume import choose_checkpoint, load_checkpoint, load_run
from omnimask.training import files
from omnimask.training.run_directory import RunDirectory, versions

logger = logging.getLogger(__name__)

FORMAT = 1
RESULT, FIGURE = "evaluation.json", "few_label.png"

PROTOCOL = {
    "features": "encoder over the clean view: no augmentation, nothing masked",
    "scaling": "mean of the training part removed, then divided by one number (root mean square length)",
    "knn": {"neighbours": NEIGHBOURS, "similarity": "cosine", "temperature": TEMPERATURE},
    "linear": {"few_label_c": FEW_LABEL_C, "grid_c": list(GRID_C), "folds": FOLDS, "penalty": "l2"},
    "labels_per_class": [*PER_CLASS, "all"],
    "interval": CONFIDENCE,
}
"""What ``evaluation.json`` says about how scores were made; the constants are those of :mod:`omnimask.evaluation.probe`."""


@dataclass(frozen=True)
class EvaluatedRun:
    """The scores, the ``record`` that ``evaluation.json`` holds, and the ``files`` that were written."""

    evaluation: Evaluation
    record: dict[str, Any]
    files: tuple[Path, ...]


def evaluate_run(
    path: Path,
    *,
    probes: Sequence[str],
    data: Sequence[str] = (),
    labels: Path | None = None,
    pool: str = "mean",
    draws: int = 20,
    limit: int = 10_000,
    checkpoint: str = "best",
    output: Path | None = None,
) -> EvaluatedRun:
    """Scores a run's checkpoint and writes ``evaluation.json`` and ``figures/few_label.png``.

    Args:
        path: the run directory.
        probes: names of probes.
        data: changes to the recipe's ``data``, ``data.path=...``, to score on other samples.
        labels: a CSV table; None: the data set's own labels.
        pool, draws, limit: see :func:`omnimask.evaluation.evaluate`.
        checkpoint: ``best``, ``last`` or a name.
        output: folder of the results; the run directory if None.

    Raises:
        UserError: something is wrong with the input; nothing was written.
        RunStopped: the results cannot be written.
    """
    if pool not in get_args(Pool):
        raise UserError(f"--pool: {pool!r} is none of {', '.join(get_args(Pool))}")
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"--output: {output} is a file; the results need a folder")
    check_matplotlib()
    table = None if labels is None else read_labels(labels)
    original = load_run(path)
    recipe = load_run(path, data) if data else original
    chosen = choose_checkpoint(path, checkpoint)
    device = choose_device(recipe.device)
    built = build(recipe, initialise=False)
    load_checkpoint(built.model, chosen)
    logger.info("%s, on %s", chosen, _data_name(recipe))
    found = evaluate(
        built,
        probes=probes,
        pool=cast(Pool, pool),
        draws=draws,
        table=table,
        source=str(labels),
        pretrained_on=_pretrained_on(original, built),
        limit=limit,
        device=device,
    )
    record = {
        "format": FORMAT,
        "run": path.resolve().name,
        "checkpoint": chosen.name,
        "data": {"name": recipe.data.dataset.name, "fingerprint": built.dataset.fingerprint(), "changes": list(data)},
        "versions": versions(),
        "protocol": PROTOCOL,
        **as_json(found),
    }
    title = f"{path.resolve().name}, {chosen.name}, on {_data_name(recipe)}"
    return EvaluatedRun(found, record, _write(RunDirectory(output or path), record, draw(found, title)))


def _data_name(recipe: Recipe) -> str:
    component: Component[Any] = recipe.data.dataset
    place = component.options.get("path")
    return component.name if place is None else f"{component.name} {Path(str(place)).name}"


def _pretrained_on(original: Recipe, built: Built) -> frozenset[str]:
    """Keys of the run's own training samples, wherever they can still be listed."""
    if original == built.recipe:
        dataset = built.dataset
    else:
        try:
            dataset = build_dataset(original, built.specs, {name: read_part(original, name) for name in original.modalities})
        except UserError as error:
            logger.warning("the run's own data cannot be listed, so scored samples are not compared with them: %s", error)
            return frozenset()
    train, _ = held_out(whole_keys(dataset), original.data.options.validation, original.seed)
    return frozenset(dataset.key(index) for index in train.tolist())


def _write(directory: RunDirectory, record: dict[str, Any], picture: bytes) -> tuple[Path, ...]:
    """Each file complete or as it was before."""
    result, figure = directory.path / RESULT, directory.figures / FIGURE
    try:
        directory.figures.mkdir(parents=True, exist_ok=True)
        files.replace(figure, picture)
        files.replace_json(result, record)
    except OSError as error:
        raise RunStopped(f"the scores cannot be written to {directory.path}: {error.strerror or error}; choose --output") from error
    return result, figure
