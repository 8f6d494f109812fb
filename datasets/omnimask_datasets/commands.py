"""Commands ``omnimask shard`` and ``omnimask data``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimask.commands import counted, messages, say, size, write_json, write_table, write_text
from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask_datasets.shards.sources import SampleSource
    from omnimask_datasets.shards.verify import VerificationReport
    from omnimask_datasets.shards.write import Counter

_NAME = "name="


class Action(StrEnum):
    """Actions of ``omnimask data``."""

    verify = "verify"


class Keys(StrEnum):
    """Scope of unique keys: all shards (``sample``), or each shard (``shard``)."""

    sample = "sample"
    shard = "shard"


def shard(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder with files, or name=DATASET for the samples of a data set.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write, which must not exist.", show_default=False)],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options of the data set.")] = None,
    shard_bytes: Annotated[int, typer.Option("--shard-bytes", metavar="N", help="Bytes of a tar file, at most.")] = 256_000_000,
    shard_samples: Annotated[int, typer.Option("--shard-samples", metavar="N", help="Samples of a tar file, at most.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the order in which samples are written.")] = 0,
    in_order: Annotated[bool, typer.Option("--in-order", help="Write the samples in the order of SOURCE.")] = False,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links to folders outside of a folder.")] = False,
    count: Annotated[
        str | None, typer.Option("--count", metavar="RECIPE", help="Keep the tokens of every sample, as this recipe counts them.")
    ] = None,
) -> None:
    """Write samples into tar files with an index and a manifest.

    Files of a folder that differ only in their endings form one sample. Samples are written in an order drawn from --seed, since
    training shuffles within windows of neighbors. Repeat an interrupted command to continue it.
    """
    _check_limits(shard_bytes, shard_samples)
    from omnimask_datasets.shards.write import Limits, check_out, write_shards

    check_out(out)
    with messages():
        found = _source(source, options or [], follow_links)
        counter = None if count is None else _counter(count, out)
        listed = write_shards(found, out, Limits(shard_bytes, shard_samples, None if in_order else seed), counter)
    total = size(sum(entry.size for entry in listed.shards))
    counts = f"{counted(len(found), 'sample')} in {counted(len(listed.shards), 'shard')}"
    say(f"{counts}, {total}. In a recipe:\n  data: {{name: shards, path: {out}}}")


def data(
    action: Annotated[Action, typer.Argument(metavar="verify", help="What to do.", show_default=False)],
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="A folder with tar files, or one tar file.", show_default=False)],
    keys: Annotated[Keys, typer.Option("--keys", help="What must be unique among all shards.")] = Keys.sample,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> int:
    """Look for damage in shards: data verify SHARDS.

    Reads every byte. Finds missing or truncated shards, damaged headers and members, duplicate or split samples, and refused
    members. Exits with 1 if there are findings.
    """
    assert action is Action.verify
    from omnimask_datasets.shards.verify import verify

    try:
        with messages():
            report = verify(shards, may_share_keys=keys is Keys.shard)
    except ValueError as error:
        raise UserError(str(error)) from error
    if json:
        write_json(report.to_json())
    else:
        _show(report)
    return 1 if report.findings else 0


def _check_limits(shard_bytes: int, shard_samples: int) -> None:
    problems = [
        f"--{name}: must be at least {least:,}, got {value}"
        for name, value, least in (("shard-bytes", shard_bytes, 10_240), ("shard-samples", shard_samples, 1))
        if value < least
    ]
    if problems:
        raise UserError(*problems)


def _source(source: str, options: Sequence[str], follow_links: bool) -> SampleSource:
    from omnimask_datasets.shards.sources import DatasetSource, FolderSource

    if not source.startswith(_NAME):
        if options:
            raise UserError(f"a folder has no options (got {' '.join(options)}); other data are named: name=DATASET")
        return FolderSource(Path(source), follow_links=follow_links)
    from omnimask.commands import load_component
    from omnimask.interfaces import Context

    component = load_component("dataset", [source, *options])
    return DatasetSource(component(Context()), component.name)


def _counter(recipe: str, out: Path) -> Counter:
    from omnimask import load_recipe
    from omnimask_datasets.shards.count import counter

    return counter(load_recipe(recipe, ["data.name=shards", f"data.path={out.absolute()}"]))


def _show(report: VerificationReport) -> None:
    read = f"{counted(report.shards, 'shard')} with {counted(report.samples, 'sample')}, {size(report.bytes)}"
    if not report.findings:
        write_text(f"{read}: nothing is wrong")
        return
    rows = [[f.shard, f.kind, "" if f.byte is None else f"{f.byte:,}", f.message] for f in report.findings]
    write_table(("shard", "what", "byte", ""), rows, title=f"{read}: {counted(len(report.findings), 'finding')}", right=("byte",))
