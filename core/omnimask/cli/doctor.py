"""Command ``omnimask doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from omnimask.cli.output import write_json, write_table


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the installation: versions, devices, disk. Exit 1 if something will not work."""
    import dataclasses

    from omnimask.cli.doctor_checks import examine, facts

    findings = examine()
    if as_json:
        write_json({**facts(), "checks": [dataclasses.asdict(finding) for finding in findings]})
    else:
        write_table(("", "", ""), [(finding.status, finding.name, finding.text) for finding in findings])
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)
