"""Scores of answers, as tables on stdout. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from omnimask.cli.output import perplexity, write_table, write_text

if TYPE_CHECKING:
    from omnimask.evaluation.confidence_intervals import Interval
    from omnimask.evaluation.continuous_answers import ContinuousScores
    from omnimask.evaluation.id_answers import AnswerScores

_COLUMNS = ("", "accuracy, %", "among first 5, %", "perplexity")


def write_answers(answers: Sequence[AnswerScores], pseudo: Sequence[AnswerScores], checkpoint: str) -> None:
    """Write both tables, each with the unigram's scores, and describe the scored tokens."""
    for each in answers:
        term = f", {each.term}" if len(answers) > 1 else ""
        _table(each, f"masked tokens{term}, {checkpoint}")
        write_text(
            f"Scored: {each.num_targets:,} masked tokens of {each.num_samples:,} held-out samples,\n"
            + "  with the masks of validation.\n"
        )
    for each in pseudo:
        term = f", {each.term}" if len(pseudo) > 1 else ""
        _table(each, f"every token hidden alone{term}, {checkpoint}: pseudo-perplexity")
        mean, unigram = each.model["cross_entropy"].mean, each.unigram["cross_entropy"].mean
        write_text(
            f"Scored: {each.num_targets:,} tokens of {each.num_samples:,} held-out samples.\n"
            f"Mean: {mean:.4f} nats per token (unigram: {unigram:.4f})."
        )
        write_text("")
    for each in answers[:1]:
        write_text(
            "Perplexity: e to the power of the mean cross-entropy in nats.\n"
            f"Unigram: frequencies of the answers in {each.unigram_samples:,} training samples.\n"
            + (
                "In brackets 95 % intervals over samples (Student's t, on a\nscale without bounds)."
                if all(interval.is_known for interval in each.model.values())
                else f"No intervals: {each.num_samples} samples are too few for them."
            )
        )
        if each.seen:
            write_text(f"Note: {each.seen} of the scored samples were pretrained on.")


def write_continuous(scores: Sequence[ContinuousScores], checkpoint: str) -> None:
    """Write a row for each term with numeric answers, beside the loss of predicting the mean."""
    if not scores:
        return
    columns = ("", "loss", "of the mean", "explained, %")
    rows = [
        [f"{each.modality}, {each.term}", _loss(each.model), _loss(each.baseline), f"{100 * each.explained:.1f}"] for each in scores
    ]
    write_table(columns, rows, title=f"masked numbers, {checkpoint}", right=columns[1:])
    for each in scores:
        seen = f", {each.seen} of them pretrained on" if each.seen else ""
        write_text(f"Scored: {each.num_targets:,} masked tokens ({each.term}) of {each.num_samples:,} held-out samples{seen}.")
    write_text(
        f"Mean: of the answers in {scores[0].baseline_samples:,} training samples. Explained: the share of\n"
        "its loss that the model avoids. "
        + ("In brackets 95 % intervals over samples." if scores[0].model.is_known else "Too few samples for intervals.")
    )


def _loss(interval: Interval) -> str:
    return f"{interval.mean:.4g}" + (f" [{interval.low:.4g}, {interval.high:.4g}]" if interval.is_known else "")


def _table(scores: AnswerScores, title: str) -> None:
    rows = [["model", *_cells(scores.model)], ["unigram", *_cells(scores.unigram)]]
    write_table(_COLUMNS, rows, title=title, right=_COLUMNS[1:])


def _cells(scores: Mapping[str, Interval]) -> list[str]:
    shares = [scores.get(name) for name in ("accuracy", "top5")]
    found = ["" if share is None else _shares(share) for share in shares]
    loss = scores.get("cross_entropy")
    if loss is None:
        return [*found, ""]
    brackets = f" [{perplexity(loss.low)}, {perplexity(loss.high)}]" if loss.is_known else ""
    return [*found, f"{perplexity(loss.mean)}{brackets}"]


def _shares(share: Interval) -> str:
    brackets = f" [{100 * share.low:.1f}, {100 * share.high:.1f}]" if share.is_known else ""
    return f"{100 * share.mean:.1f}{brackets}"
