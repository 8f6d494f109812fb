"""Refused input: exit code 2, nothing is written, and the message names place, key, value and remedy.

`bad_recipes.yaml` lists them case by case.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..tiny_recipes import IMAGE, TEXT

Command = Callable[..., Any]
Case = Mapping[str, Any]

CASES: dict[str, Case] = {
    case["case"]: case for case in yaml.safe_load(Path(__file__).with_name("bad_recipes.yaml").read_text(encoding="utf-8"))
}
BASES = {"image": IMAGE, "text": TEXT}


def lay_out(case: Case, folder: Path) -> list[str]:
    """Write the files of a case, `r.yaml` among them, and return the command's arguments."""
    text = case.get("recipe", BASES[case.get("base", "image")])
    for old, new in case.get("edit", {}).items():
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    (folder / "r.yaml").write_bytes(bytes.fromhex(case["bytes"]) if "bytes" in case else text.encode())
    for name, content in case.get("files", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return case.get("command", ["pretrain", "r.yaml", *case.get("changes", []), "--run", "new"])


def is_named(fact: str, text: str) -> bool:
    """Whether a text holds a fact as a whole word."""
    return re.search(rf"(?<![\w.:]){re.escape(fact)}(?!\w|[.:]\w)", text) is not None


def missing(case: Case, arguments: Sequence[str], text: str) -> list[str]:
    """Return the facts of a case that a text does not name; an override that is repeated as the place names nothing."""
    text = " ".join(text.split())
    rest = text
    for argument in arguments:
        rest = rest.replace(f"command line: {argument}: ", "")
    return [fact for fact in map(str, case["facts"]) if not is_named(fact, text if fact.startswith("command line: ") else rest)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the image recipe."""
    from omnimask.cli import main

    folder = tmp_path_factory.mktemp("finished")
    (folder / "r.yaml").write_text(IMAGE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNIMASK_CACHE", str(folder / "cache"))
        assert main(["pretrain", str(folder / "r.yaml"), "--run", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_message_names_every_fact(omnimask: Command, tmp_path: Path, request: pytest.FixtureRequest, case: Case) -> None:
    arguments = lay_out(case, tmp_path)
    if case.get("run"):
        shutil.copytree(request.getfixturevalue("finished"), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if ".cache" not in path.parts}
    result = omnimask(*arguments, traceback=case.get("traceback", False))
    assert (result.code, result.out) == (2, ""), result.err
    assert missing(case, arguments, result.err.replace(f"{tmp_path}/", "")) == [], result.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if ".cache" not in path.parts} == before
