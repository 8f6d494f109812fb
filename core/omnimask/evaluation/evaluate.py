"""Evaluation of a run directory, including its output files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_args

import torch

from omnimask.builder.build import Built, build, build_dataset, read_part
from omnimask.component import Component
from omnimask.data.label_tables import Row, read_labels
from omnimask.data.validation_split import held_out, whole_keys
from omnimask.errors import UserError
from omnimask.evaluation.confidence_intervals import CONFIDENCE
from omnimask.evaluation.continuous_answers import ContinuousScores, MeanAnswer, mean_answers, score_continuous
from omnimask.evaluation.curve_figure import check_installed, draw
from omnimask.evaluation.encoder_scores import Evaluation, answers_as_json, as_json, continuous_as_json, evaluate
from omnimask.evaluation.features import Pool
from omnimask.evaluation.few_label_curves import PER_CLASS
from omnimask.evaluation.id_answers import AnswerScores, score_answers
from omnimask.evaluation.labelled_samples import NoLabels
from omnimask.evaluation.other_data import with_other_data
from omnimask.evaluation.probe import FEW_LABEL_C, FOLDS, GRID_C, NEIGHBOURS, PROBES, TEMPERATURE
from omnimask.evaluation.pseudo_perplexity import pseudo_perplexity
from omnimask.evaluation.raw_input import MOST_IDS
from omnimask.evaluation.result_files import find_place, write
from omnimask.messages.printable import printable
from omnimask.recipe import Recipe
from omnimask.run.device import choose_device
from omnimask.run.resume import check_fingerprint
from omnimask.run.trained_run import load_checkpoint, load_run, open_trained
from omnimask.run.unigram import count_answers, has_ids
from omnimask.training.checkpoints.run_directory import RunDirectory, versions
from omnimask.training.devices.precision import Precision

logger = logging.getLogger(__name__)

FORMAT = 1

PROTOCOL = {
    "features": "encoder over the clean view: no augmentation, nothing masked; without special tokens; documents, not their parts",
    "raw_ids": f"tf-idf: log(1 + count) x (1 + log((1 + N) / (1 + n))), length 1; up to {MOST_IDS} ids",
    "scaling": "mean of the training part removed, then divided by one number (root mean square length)",
    "knn": {"neighbours": NEIGHBOURS, "similarity": "cosine", "temperature": TEMPERATURE},
    "linear": {"few_label_c": FEW_LABEL_C, "grid_c": list(GRID_C), "folds": FOLDS, "penalty": "l2"},
    "labels_per_class": [*PER_CLASS, "all"],
    "interval": CONFIDENCE,
}
"""Protocol of the scores for ``evaluation.json``; the constants are those of :mod:`omnimask.evaluation.probe`."""


@dataclass(frozen=True)
class EvaluatedRun:
    """Results of an evaluation.

    ``answers`` are scores of id answers with masks (empty if the model has none); ``pseudo`` those with tokens hidden one by one
    (empty unless requested); ``continuous`` are scores of continuous answers. ``evaluation`` has the probes' scores; if None,
    ``no_probes`` is the reason. ``record`` is the content of ``evaluation.json``, ``files`` are the written files, and ``note``
    names earlier files that were kept.
    """

    answers: tuple[AnswerScores, ...]
    pseudo: tuple[AnswerScores, ...]
    continuous: tuple[ContinuousScores, ...]
    evaluation: Evaluation | None
    no_probes: str
    record: dict[str, Any]
    files: tuple[Path, ...]
    note: str = ""


def evaluate_run(
    path: Path,
    *,
    probes: Sequence[str] | None = None,
    data: Sequence[str] = (),
    labels: Path | None = None,
    pool: str = "mean",
    draws: int = 20,
    limit: int = 10_000,
    max_tokens: int | None = None,
    checkpoint: str = "best",
    output: Path | None = None,
    modality: str | None = None,
) -> EvaluatedRun:
    """Score a run's checkpoint and write ``evaluation.json`` and, with probes, ``figures/few_label.png``.

    Args:
        path: the run directory.
        probes: names of probes; empty for none; None for all, if there are labels.
        data: changes to the recipe's ``data``, ``data.path=...``, to score other samples.
        labels: a CSV table; None for the data set's own labels.
        pool, draws, limit: see :func:`omnimask.evaluation.evaluate`.
        max_tokens: of pseudo-perplexity; None to skip it.
        checkpoint: ``best``, ``last`` or a name.
        output: folder of the results; the run directory if None.
        modality: whose answers and features are scored; None for all.

    Results of other data or other settings are kept; the new ones get a separate name (:mod:`omnimask.evaluation.result_files`).

    Raises:
        UserError: the input is invalid; nothing was written.
        RunStopped: the results cannot be written.
    """
    _check_arguments(probes, pool, output)
    table = None if labels is None else read_labels(labels)
    opened = _open(path, data, checkpoint)
    _check_modality(opened.built, modality)
    means = _means(opened.built, modality)
    has_answers = _check_answers(opened.built, probes, max_tokens, has_numbers=bool(means))
    options: dict[str, Any] = {"pool": pool, "draws": draws, "limit": limit, "modality": modality}
    found, no_probes = _probe(opened, probes, has_answers or bool(means), {**options, "table": table, "source": str(labels)})
    answers, pseudo = _answers(opened, max_tokens, modality) if has_answers else ((), ())
    continuous = _continuous(opened, means, limit)
    settings = {
        "checkpoint": opened.checkpoint,
        "data": {"fingerprint": opened.built.dataset.fingerprint(), "changes": list(data)},
        "labels": None if table is None else {"file": str(labels), "digest": _digest(table)},
        "probes": None if probes is None else list(probes),
        "max_tokens": max_tokens,
        **options,
    }
    scores = _scores_as_json(answers, pseudo, continuous, found)
    record = _record(opened, path.resolve().name, settings, scores)
    title = printable(f"{path.resolve().name}, {opened.checkpoint}, on {_data_name(opened.recipe)}")
    other = None if opened.is_own or output is not None else _short_name(opened.recipe)
    place = find_place(RunDirectory(output or path), settings, other)
    written = write(place, record, draw(found, title) if found else None)
    return EvaluatedRun(answers, pseudo, continuous, found, no_probes, record, written, place.note)


def _check_arguments(probes: Sequence[str] | None, pool: str, output: Path | None) -> None:
    if pool not in get_args(Pool):
        raise UserError(f"--pool: {pool!r} is not one of {', '.join(get_args(Pool))}")
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"--output: {output} is a file; must be a folder")
    check_installed(has_figure=probes is None or len(probes) > 0)


def _record(opened: _OpenedRun, name: str, settings: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of ``evaluation.json``."""
    return {
        "format": FORMAT,
        "run": name,
        "checkpoint": opened.checkpoint,
        "data": {"name": opened.recipe.data.dataset.name, **settings["data"]},
        "settings": settings,
        **({} if settings["modality"] is None else {"modality": settings["modality"]}),
        "versions": versions(),
        **scores,
    }


def _scores_as_json(
    answers: Sequence[AnswerScores],
    pseudo: Sequence[AnswerScores],
    continuous: Sequence[ContinuousScores],
    found: Evaluation | None,
) -> dict[str, Any]:
    return {
        **({"answers": [answers_as_json(each) for each in answers]} if answers else {}),
        **({"pseudo_perplexity": [answers_as_json(each) for each in pseudo]} if pseudo else {}),
        **({"continuous": [continuous_as_json(each) for each in continuous]} if continuous else {}),
        **({"protocol": PROTOCOL, **as_json(found)} if found else {}),
    }


def _digest(table: Mapping[str, Row]) -> str:
    return blake2b(repr(sorted(table.items())).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


@dataclass(frozen=True)
class _OpenedRun:
    """Run with a checkpoint's weights, on the data to score.

    ``is_own`` tells whether the data are the run's; ``seen`` are the keys of its training samples.
    """

    recipe: Recipe
    built: Built
    checkpoint: str
    device: torch.device
    seen: frozenset[str]
    is_own: bool


def _open(path: Path, data: Sequence[str], checkpoint: str) -> _OpenedRun:
    original, chosen = open_trained(path, checkpoint)
    recipe = load_run(path, with_other_data(original, data)) if data else original
    device = choose_device(recipe.device)
    built = build(recipe, initialise=False)
    if not data:
        _warn_of_other_data(RunDirectory(path), built)
    load_checkpoint(built.model, chosen)
    logger.info("%s, on %s", chosen, _data_name(recipe))
    is_own = recipe.data.dataset == original.data.dataset
    return _OpenedRun(recipe, built, chosen.name, device, _pretrained_on(original, built), is_own)


def _warn_of_other_data(directory: RunDirectory, built: Built) -> None:
    """Warn if the data changed, since held-out samples may have been trained on."""
    try:
        check_fingerprint(directory, built)
    except UserError as error:
        logger.warning("%s", str(error).partition(", so it cannot")[0] + "; held-out samples may have been trained on")


def _check_modality(built: Built, modality: str | None) -> None:
    if modality is not None and modality not in built.specs:
        raise UserError(f"--modality: the run has no modality {modality!r}; its modalities: {', '.join(built.specs)}")


def _means(built: Built, modality: str | None) -> dict[str, MeanAnswer]:
    """Return the mean answers of terms with continuous answers, if there are held-out samples."""
    if not len(built.validation_indices):
        return {}
    return {term: mean for term, mean in mean_answers(built).items() if modality in (None, mean.modality)}


def _continuous(opened: _OpenedRun, means: Mapping[str, MeanAnswer], limit: int) -> tuple[ContinuousScores, ...]:
    opened.built.model.to(opened.device)
    precision = Precision(opened.recipe.train.precision, opened.device)
    return tuple(score_continuous(opened.built, means, precision, opened.seen, limit=limit))


def _check_answers(built: Built, probes: Sequence[str] | None, max_tokens: int | None, *, has_numbers: bool) -> bool:
    """Return whether there are id answers on held-out samples. Raise ``UserError`` if a requested score needs them."""
    why = "" if has_ids(built) else "no predictor of this run predicts ids"
    if not why and not len(built.validation_indices):
        why = "no held-out samples; hold some out, for example with --data validation=0.1"
    if why and max_tokens is not None:
        raise UserError(f"--pseudo-perplexity: {why}")
    if why and not has_numbers and probes is not None and not probes:
        raise UserError(f"--probe none: nothing else to score: {why}")
    return not why


def _probe(
    opened: _OpenedRun, probes: Sequence[str] | None, has_answers: bool, options: Mapping[str, Any]
) -> tuple[Evaluation | None, str]:
    """Return scores of probes, or None and the reason. Labels may be missing unless probes were requested."""
    if probes is not None and not probes:
        return None, "none requested"
    names = tuple(PROBES) if probes is None else probes
    try:
        return evaluate(opened.built, probes=names, pretrained_on=opened.seen, device=opened.device, **options), ""
    except NoLabels as error:
        if probes is not None or not has_answers:
            raise
        return None, str(error)


def _answers(
    opened: _OpenedRun, max_tokens: int | None, modality: str | None
) -> tuple[tuple[AnswerScores, ...], tuple[AnswerScores, ...]]:
    """Return scores with the masks of validation and, if requested, with tokens hidden one by one."""
    built, seen = opened.built, opened.seen
    built.model.to(opened.device)
    precision, counted = Precision(opened.recipe.train.precision, opened.device), count_answers(built)
    unigrams = {term: unigram for term, unigram in counted.items() if modality in (None, unigram.modality)}
    answers = score_answers(built, unigrams, precision, seen)
    if max_tokens is None:
        return tuple(answers), ()
    return tuple(answers), tuple(pseudo_perplexity(built, unigrams, precision, max_tokens=max_tokens, pretrained_on=seen))


def _data_name(recipe: Recipe) -> str:
    component: Component[Any] = recipe.data.dataset
    place = component.options.get("path")
    return component.name if place is None else f"{component.name} {Path(str(place)).name}"


def _short_name(recipe: Recipe) -> str:
    """Return a short name of the data, for a file name."""
    place = recipe.data.dataset.options.get("path")
    return recipe.data.dataset.name if place is None else Path(str(place)).stem


def _pretrained_on(original: Recipe, built: Built) -> frozenset[str]:
    """Return the keys of the run's own training samples (for parts, of the wholes), if they can still be listed."""
    if original == built.recipe:
        dataset = built.dataset
    else:
        try:
            dataset = build_dataset(original, built.specs, {name: read_part(original, name) for name in original.modalities})
        except UserError as error:
            logger.warning("the run's own data cannot be listed, so scored samples are not compared with them: %s", error)
            return frozenset()
    keys = list(whole_keys(dataset))
    train, _ = held_out(keys, original.data.options.validation, original.seed)
    return frozenset(keys[index] for index in train.tolist())
