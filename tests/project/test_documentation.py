"""What the documentation shows works: recipes load, commands exist, examples run, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import omnimask
from omnimask.builder.build import Built
from omnimask.cli import root
from omnimask.cli.plugin_commands import Placeholder
from omnimask.errors import UserError
from omnimask.interfaces import Context, Draw
from omnimask.recipe import load_recipe
from omnimask.registry import Plugin, Registrar
from omnimask.registry.distributions import OWN
from omnimask.registry.signature import options_of
from omnimask.run.changes import MAY_CHANGE

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMANDS = {
    name: command.loaded() if isinstance(command, Placeholder) else command
    for name, command in root().commands.items()
    if not isinstance(command, Placeholder) or {claim.distribution for claim in command.claims} == {OWN}
}

OF_EXAMPLES = ("waves", "lab")
"""Recipes of packages that pages build, which have tests of their own."""


def blocks(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """What stands behind the language of each fenced block, and its text."""
    for found, rest, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield rest, text


def commands() -> Iterator[tuple[str, list[str], bool]]:
    """Page, arguments behind ``omnimask``, and whether the page shows an error below."""
    for page in PAGES:
        for _, text in blocks(page, "console"):
            lines = text.replace("\\\n", " ").splitlines()  # a command may go on in the next line
            for line, after in zip(lines, [*lines[1:], ""], strict=True):
                for part in line.removeprefix("$ ").split("&&"):
                    words = shlex.split(part)
                    if words and Path(words[0]).name == "omnimask":
                        yield page.name, words[1:], after.startswith("error:")


def recipes() -> Iterator[tuple[str, str]]:
    """Page and text of every whole recipe; the reference shows files that have tests of their own."""
    for page in (page for page in PAGES if page.parent.name != "reference"):
        for rest, text in blocks(page, "yaml"):
            if text.startswith("omnimask:") and "title=" not in rest:
                yield page.name, text


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the recipe of the page about one's own images."""
    monkeypatch.chdir(tmp_path)
    (_, text), *_ = blocks(ROOT / "docs" / "own-images.md", "yaml")
    (tmp_path / "photos.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "photos.yaml"


@pytest.mark.parametrize(("page", "text"), [pytest.param(*found, id=f"{found[0]}-{i}") for i, found in enumerate(recipes())])
def test_recipes_load(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("arguments", "fails"), [pytest.param(words, bad, id=f"{page}-{' '.join(words)}") for page, words, bad in commands()]
)
def test_commands_exist(arguments: list[str], fails: bool, photos: Path) -> None:
    name, *rest = arguments
    assert name in COMMANDS, f"omnimask has no command {name}"
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= known
    changes = [word for word in rest if "=" in word]
    if name in ("pretrain", "inspect") and rest[0] not in OF_EXAMPLES:
        if fails:
            with pytest.raises(UserError):
                load_recipe(rest[0], changes)
        else:
            load_recipe(rest[0], changes, smoke="--smoke" in rest)
    if name == "resume":
        assert all(change.partition("=")[0] in MAY_CHANGE for change in changes)


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `omnimask ([\w-]+)", text, flags=re.MULTILINE)) == set(COMMANDS)
    for command in COMMANDS.values():
        for parameter in command.params:
            long = next((option for option in parameter.opts if option.startswith("--")), None)
            text_everywhere = "".join(page.read_text(encoding="utf-8") for page in PAGES)
            assert long in (None, "--help", "--modality") or long in text_everywhere, f"{command.name} {long} is documented nowhere"


def test_what_may_change_is_documented() -> None:
    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    table = text[text.index("| may change |") : text.index("Anything else")]
    assert set(re.findall(r"`((?:train|data)\.\w+|device|plugins)`", table)) - {"train.precision"} == set(MAY_CHANGE)


def test_error_messages_are_those_shown(photos: Path) -> None:
    """The page shows the beginning of each message, then three dots."""
    text = photos.read_text(encoding="utf-8").replace("patch_size", "patch_sise").replace("ratio: 0.75", "ratio: 75")
    lines = text.splitlines()
    photos.write_text("\n".join([*lines[:4], lines[7], *lines[8:]]), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        load_recipe("photos.yaml", ["train.steps=0"])
    (shown,) = (text for _, text in blocks(ROOT / "docs" / "recipes.md", "text"))
    for line, message in zip(shown.splitlines(), raised.value.messages, strict=True):
        assert f"error: {message}".startswith(line.removesuffix("...").rstrip())


def test_error_in_the_readme_is_the_real_one() -> None:
    with pytest.raises(UserError) as raised:
        load_recipe("image", ["train.step=5"])
    shown = re.search(r"^error: (.*?) ?\.\.\.$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert shown is not None and raised.value.messages[0].startswith(shown[1])


def test_readme_loop_runs() -> None:
    loop, _ = (text for _, text in blocks(ROOT / "README.md", "python"))
    space: dict[str, object] = {}
    exec(loop.replace("train.steps=10", "train.steps=2"), space)
    built = space["built"]
    assert isinstance(built, Built)
    assert all(p.grad is not None for p in built.model.parameters() if p.requires_grad)


def test_readme_plugin_works() -> None:
    _, plugin = (text for _, text in blocks(ROOT / "README.md", "python"))
    space: dict[str, object] = {"__name__": "my_timeseries"}
    exec(plugin, space)
    registrar = Registrar(Plugin("timeseries", "my-timeseries", "0.1"))
    space["omnimask_register"](registrar)  # pyright: ignore[reportCallIssue]
    assert [entry.name for entry in registrar.entries] == ["timeseries.window"]
    cls: type = space["WindowTokenizer"]  # pyright: ignore[reportAssignmentType]
    assert list(options_of(cls)) == ["window"]
    tokenizer = cls(Context(), window=4)
    series = [float(number) for number in range(12)]
    tokens = tokenizer(series, Draw(0, 0, "a"))
    assert tokens.content.shape == (3, 4) and len(tokens) == tokenizer.count(series)
    assert tokenizer.decode(tokens).tolist() == series


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Inside ``docs`` the strict build of the documentation checks them, anchors included."""
    links = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("https://") and not (page.parent / link.partition("#")[0]).exists()]
    assert not missing


def test_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased = text[text.index("## [Unreleased]") :]
    assert f"## [{omnimask.__version__}]" in text or omnimask.__version__ in unreleased


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index, site = (folder / "index.md").read_text(encoding="utf-8"), (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for record in sorted(folder.glob("0*.md")):
        text = record.read_text(encoding="utf-8")
        assert f"({record.name})" in index and record.name in site
        assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Context", "## Choice", "## Consequences"]
