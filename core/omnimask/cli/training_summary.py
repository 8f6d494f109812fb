"""Training of a run, and its outcome in one line. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimask.cli.output import messages, perplexity, say
from omnimask.errors import Interrupted
from omnimask.messages.hints import counted

if TYPE_CHECKING:
    from omnimask.run.prepare import PreparedRun
    from omnimask.training.deadline import Deadline


def train(run: PreparedRun, deadline: Deadline | None = None) -> dict[str, Any]:
    """Train to the end, draw the figure and return the summary. Tell the user how to continue an interrupted run."""
    from omnimask.run.finish import draw

    try:
        summary = run.trainer.fit(deadline)
    except Interrupted:
        say(f"resume with: omnimask resume {run.directory.path}")
        raise
    if run.trainer.ranks.is_first:
        with messages():
            draw(run)
    return summary


def is_finished_already(run: PreparedRun) -> bool:
    """Return whether nothing is left to do. In this case report it, and draw the figure if it is missing."""
    from omnimask.run.finish import FIGURE, draw
    from omnimask.run.resume import is_finished

    if not is_finished(run):
        return False
    directory = run.directory
    if run.trainer.ranks.is_first and not any(directory.figures.glob(f"{FIGURE}*")):
        with messages():
            draw(run)  # the process ended between the summary and the figure
    progress, train = run.trainer.progress, run.recipe.train
    key = "train.patience" if progress.ends_early(train.patience) else "train.steps"
    say(f"{directory.path} is finished at step {progress.step}; {key}=N with a larger N continues training")
    return True


def closing_lines(path: Path, summary: Mapping[str, Any]) -> list[str]:
    """Return the outcome and location of a run, followed by its held-out scores."""
    return [closing_line(path, summary), *held_out_lines(summary)]


def closing_line(path: Path, summary: Mapping[str, Any]) -> str:
    """Return the outcome of a run and its location."""
    figures = sorted((path / "figures").glob("reconstructions.*")) or sorted((path / "figures").glob("reconstructions-*"))
    pictures = "".join(f", {figure.relative_to(path)}" for figure in figures)
    return f"{outcome(summary)}. Output goes to {path}: summary.json, metrics.jsonl{pictures}"


def held_out_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return one line for each term with an accuracy or learned answers, at the best validation.

    For example ``held-out: loss 3.21, perplexity 24.8, ...``, or ``held-out: RankMe 12.3, spread 45.1 %, ...``.
    The loss is the cross-entropy, which equals the term if there are no weights.
    """
    scores: Mapping[str, Mapping[str, float]] = summary["best_validation_scores"]
    shown = [term for term, found in scores.items() if found.get("accuracy") is not None or found.get("rankme") is not None]
    when = "" if summary["best_step"] == summary["step"] else f" at step {summary['best_step']}"
    lines: list[str] = []
    for term in shown:
        found, baseline = scores[term], summary["baseline_scores"].get(term, {})
        parts: list[str] = []
        if found.get("cross_entropy") is not None:
            beside = _unigram(baseline and perplexity(baseline["cross_entropy"]))
            parts = [f"loss {found['cross_entropy']:.2f}", f"perplexity {perplexity(found['cross_entropy'])}{beside}"]
        if found.get("accuracy") is not None:
            parts.append(f"accuracy {_percent(found)}{_unigram(baseline and _percent(baseline))}")
        if found.get("rankme") is not None:
            parts.append(f"RankMe {found['rankme']:.3g}, spread {100 * found['spread']:.1f} %")
        lines.append(f"held-out{when}{'' if len(shown) == 1 else f', {term}'}: {', '.join(parts)}")
    return lines


def _percent(scores: Mapping[str, float]) -> str:
    return f"{100 * scores['accuracy']:.1f} %"


def _unigram(value: Any) -> str:
    return f" (unigram: {value})" if value else ""


def outcome(summary: Mapping[str, Any]) -> str:
    """Return the numbers of ``summary.json`` on the end of a run."""
    parts = [f"{summary['status']} at step {summary['step']} of {summary['steps']}"]
    for name in ("loss", "best_validation_loss"):
        if summary[name] is not None:
            parts.append(f"{name.replace('_', ' ')} {summary[name]:.4f}")
    if summary.get("ended_early"):
        many = counted(summary["validations_without_gain"], "validation")
        parts.append(f"ended early after {many} in a row without a lower loss than at step {summary['best_step']} (train.patience)")
    if summary["bad_samples"]:
        parts.append(f"{counted(len(summary['bad_samples']), 'unreadable sample')} skipped")
    if summary.get("bad_validation_samples"):
        parts.append(f"{counted(len(summary['bad_validation_samples']), 'unreadable held-out sample')} skipped")
    return ", ".join(parts)
