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
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder of files, or name=DATASET for a data set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder; must not exist.", show_default=False)],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options of the data set.")] = None,
    shard_bytes: Annotated[int, typer.Option("--shard-bytes", metavar="N", help="Maximum size of a tar file.")] = 256_000_000,
    shard_samples: Annotated[int, typer.Option("--shard-samples", metavar="N", help="Maximum samples of a tar file.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Random seed of the order of samples.")] = 0,
    in_order: Annotated[bool, typer.Option("--in-order", help="Keep the order of SOURCE.")] = False,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links to outside folders.")] = False,
    count: Annotated[
        str | None, typer.Option("--count", metavar="RECIPE", help="Store the number of tokens of every sample for this recipe.")
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
    action: Annotated[Action, typer.Argument(metavar="verify", help="Action.", show_default=False)],
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder of tar files, or one tar file.", show_default=False)],
    keys: Annotated[Keys, typer.Option("--keys", help="Required uniqueness across shards.")] = Keys.sample,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
            raise UserError(f"a folder has no options (got {' '.join(options)}); to use a data set: name=DATASET")
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
        write_text(f"{read}: no findings")
        return
    rows = [[f.shard, f.kind, "" if f.byte is None else f"{f.byte:,}", f.message] for f in report.findings]
    write_table(("shard", "what", "byte", ""), rows, title=f"{read}: {counted(len(report.findings), 'finding')}", right=("byte",))
