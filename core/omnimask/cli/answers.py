"""Scores of answers that are ids, as tables on stdout. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from omnimask.cli.output import perplexity, write_table, write_text

if TYPE_CHECKING:
    from omnimask.evaluation.answers import AnswerScores
    from omnimask.evaluation.curves import Interval

_COLUMNS = ("", "accuracy, %", "among first 5, %", "perplexity")


def write_answers(answers: Sequence[AnswerScores], pseudo: Sequence[AnswerScores], checkpoint: str) -> None:
    """Both tables, each beside the unigram's scores, and what they are scores of."""
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
                "In brackets 95 % intervals over samples (Student's t)."
                if all(interval.is_known for interval in each.model.values())
                else f"No intervals: {each.num_samples} samples are too few for them."
            )
        )
        if each.seen:
            write_text(f"Note: {each.seen} of the scored samples were pretrained on.")


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
