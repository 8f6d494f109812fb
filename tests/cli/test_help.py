"""Help texts are broken where the terminal ends, and nowhere else."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from omnimask.cli import root
from omnimask.cli.plugin_commands import Placeholder, filled
from omnimask.cli.resume import resume
from omnimask.run.changes import MAY_CHANGE

from .conftest import Command

WIDTH = 80


def test_every_command_is_tried() -> None:
    of_plugins = {name for name, command in root().commands.items() if isinstance(command, Placeholder)}
    assert {"resume", "evaluate", "shard", "data", "train-tokenizer"} <= set(root().commands)
    assert "shard" in of_plugins and "resume" not in of_plugins


def test_resume_names_all_that_may_change() -> None:
    assert set(MAY_CHANGE) <= set(re.findall(r"[\w.]*\w", str(resume.__doc__)))


@pytest.mark.parametrize("name", sorted(root().commands))
def test_no_sentence_is_broken_early(omnimask: Command, name: str) -> None:
    """The first word of a line would not have fitted on the line before it."""
    result = omnimask(name, "--help")
    assert result.code == 0
    lines = [line.rstrip() for line in result.out.partition("\u256d")[0].splitlines()]
    lines = lines[next(number for number, line in enumerate(lines) if "Usage:" in line) + 1 :]
    assert sum(map(bool, lines)) >= 1
    assert max(map(len, result.out.splitlines())) <= WIDTH
    for line, following in pairwise(lines):
        if line.strip() and following.strip():
            assert len(line) + 1 + len(following.split()[0]) > WIDTH - 2, (line, following)


def test_lists_stay() -> None:
    assert filled("One\ntwo.\n\nThree:\n\n- four\n- five") == "One two.\n\nThree:\n\n- four\n- five"
    assert filled(None) is None
