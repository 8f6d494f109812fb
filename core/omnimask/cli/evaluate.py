"""Command ``omnimask evaluate``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omnimask.cli.output import messages, say, write_json, write_table, write_text
from omnimask.cli.score_tables import write_answers, write_continuous
from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.evaluation import Evaluation
    from omnimask.evaluation.confidence_intervals import Interval
    from omnimask.evaluation.evaluate import EvaluatedRun
    from omnimask.evaluation.few_label_curves import Point


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)]
Probe = Annotated[
    str | None,
    typer.Option(
        "--probe",
        metavar="NAMES",
        help="knn, linear, both (knn,linear), or none. Default: both, if there are labels.",
        show_default=False,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="KEY=VALUE", help="Other data: path=FOLDER, name=csv. Repeatable.", show_default=False),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="CSV with the columns key,label[,split].", show_default=False),
]
Pool = Annotated[str, typer.Option("--pool", metavar="HOW", help="mean (over tokens), summary, both, or first (token).")]
Draws = Annotated[int, typer.Option("--draws", metavar="N", min=2, help="Number of random draws of few labels.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=2, help="Maximum samples of each side of the split.")]
PseudoPerplexity = Annotated[
    bool, typer.Option("--pseudo-perplexity", help="Also mask the tokens of some held-out samples one at a time.")
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", metavar="N", min=1, help="Maximum tokens for pseudo-perplexity; each costs a forward pass.")
]
Checkpoint = Annotated[str, typer.Option("--checkpoint", metavar="NAME", help="best, last, or step-00001000.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Output folder; default: RUN.", show_default=False),
]
Modality = Annotated[
    str | None,
    typer.Option("--modality", metavar="NAME", help="Score the predictions and features of one modality.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")]


def evaluate(
    run: Run,
    probe: Probe = None,
    data: Data = None,
    labels: Labels = None,
    pool: Pool = "mean",
    draws: Draws = 20,
    limit: Limit = 10_000,
    pseudo_perplexity: PseudoPerplexity = False,
    max_tokens: MaxTokens = 2_000,
    checkpoint: Checkpoint = "best",
    output: Output = None,
    modality: Modality = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained model: its predictions of masked tokens, and probes on its features with few labels.

    Masked tokens are scored on held-out samples: ids against the frequencies of ids, numbers against their mean. Features are
    compared with those of the untrained encoder and with raw input. The weights stay fixed; only probes are fitted.

    Writes evaluation.json and figures/few_label.png into RUN. File names contain the data's name for other data (--data), and a
    number for other settings.
    """
    from omnimask.evaluation.evaluate import evaluate_run

    with messages():
        found = evaluate_run(
            run,
            probes=_probes(probe),
            data=[data_key(change) for change in data or ()],
            labels=labels,
            pool=pool,
            draws=draws,
            limit=limit,
            max_tokens=max_tokens if pseudo_perplexity else None,
            checkpoint=checkpoint,
            output=output,
            modality=modality,
        )
    if as_json:
        write_json(found.record)
    else:
        _write_tables(found)
    if found.note:
        say(found.note)
    say(f"written: {', '.join(str(path) for path in found.files)}")


def _write_tables(found: EvaluatedRun) -> None:
    checkpoint = str(found.record["checkpoint"])
    write_answers(found.answers, found.pseudo, checkpoint)
    write_continuous(found.continuous, checkpoint)
    if found.answers or found.continuous:
        write_text("")
    if found.evaluation is not None:
        _show(found.evaluation, checkpoint)
    else:
        write_text(textwrap.fill(f"No probes: {found.no_probes}.", 79, break_long_words=False))


def _probes(names: str | None) -> list[str] | None:
    """Return the names of the probes: None without the option, an empty list for ``none``."""
    if names is None:
        return None
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise UserError("--probe: must not be empty; probes: knn, linear, none")
    return [] if found == ["none"] else found


def data_key(change: str) -> str:
    """Add the prefix ``data.`` to a key if it is missing. ``data.path=FOLDER`` and ``data={...}`` stay unchanged."""
    key, separator, _ = change.partition("=")
    if not separator:
        raise UserError(f"--data {change}: must have the form key=value, for example path=FOLDER")
    return change if key == "data" or key.startswith("data.") else f"data.{change}"


def _show(evaluation: Evaluation, checkpoint: str) -> None:
    from omnimask.evaluation.feature_table import PRETRAINED, RANDOM, RAW

    names = (PRETRAINED, RANDOM, RAW)
    for probe in dict.fromkeys(point.probe for point in evaluation.points):
        mine = [point for point in evaluation.points if point.probe == probe]
        rows = [[_per_class(labels), *_cells(mine, labels, names)] for labels in dict.fromkeys(point.labels for point in mine)]
        write_table(("labels per class", *names), rows, title=f"{probe}, {checkpoint}: accuracy in %", right=names)
        write_text("")
        columns = ("labels per class", "against", "difference", "")
        write_table(
            columns, _verdicts(evaluation, probe), title=f"{probe}: pretrained minus baseline, in points", right=("difference",)
        )
        write_text("")
    write_text(
        f"Scored: {evaluation.num_test} samples of {evaluation.num_classes} classes ({evaluation.split_from}),\n"
        f"  {evaluation.seen} of which were pretrained on, without labels.\n"
        f"Labels: {evaluation.labels_from}, of {evaluation.num_train} training samples.\n"
        f"Always predicting the most frequent training class, {evaluation.most_frequent!r:.20}:\n"
        f"  {evaluation.num_by_chance} of {evaluation.num_test} scored samples, {100 * evaluation.chance:.1f} %.\n"
        f"In brackets: 95 % intervals over {evaluation.draws} draws of labels (Student's t on a scale\n"
        "  without bounds); with all labels, over the scored samples (Wilson).\n"
        "  Differences are paired."
    )
    for note in evaluation.notes:
        write_text(textwrap.fill(f"Note: {note}.", 80, subsequent_indent="  "))


def _per_class(labels: Any) -> str:
    return "all" if labels == "all" else str(labels)


def _cells(points: Sequence[Point], labels: Any, names: Sequence[str]) -> list[str]:
    found = {point.features: point.accuracy for point in points if point.labels == labels}
    return [f"{100 * found[name].mean:.1f} {_brackets(found[name])}" for name in names]


def _brackets(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _verdicts(evaluation: Evaluation, probe: str) -> list[list[str]]:
    """Return one row per comparison: ``2 | raw input | +6.1 [4.2, 8.0] | better beyond the interval``."""
    return [
        [_per_class(each.labels), each.baseline, f"{100 * each.difference.mean:+.1f} {_brackets(each.difference)}", each.verdict]
        for each in evaluation.differences
        if each.probe == probe
    ]
