"""Writes the reference pages of the documentation from the constructors' signatures and docstrings.

``python scripts/write_reference.py`` writes docs/reference/*.md; a test compares them with what this script would write.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from omnimask.data.config import BadSamples, DataOptions
from omnimask.recipe import OptionSchema, config, describe, shipped_recipes
from omnimask.registry import KINDS, Entry, Registry, discover
from omnimask.training.config import TrainConfig
from omnimask.training.monitoring import metrics

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
SYSTEMS = FOLDER.parent / "systems.yaml"
DISTRIBUTION = "omnimask"
_SECTIONS = {
    "Top level": config.Recipe,
    "modalities.NAME": config.ModalityConfig,
    "labels.NAME": config.LabelConfig,
    "views.NAME": config.ViewConfig,
    "passes": config.PassConfig,
    "predictors, beside the predictor's options": config.PredictorConfig,
    "data.group": config.GroupConfig,
}
_NOTE = "<!-- Written by scripts/write_reference.py; edit the docstrings instead. -->\n"
_SECTION = re.compile(r"^(?:Args|Raises|Returns|Yields):$", flags=re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_TRAIN = {
    "optimizer": OptionSchema("optimizer", "optimizer component", None, "what updates the weights"),
    "schedule": OptionSchema("schedule", "schedule component", "{name: constant}", "learning rate as a factor of its peak"),
}
_DATA = {"max_bad": OptionSchema("max_bad", "mapping", "{fraction: 0.001, at_least: 10}", "unreadable samples tolerated")}


def pages(registry: Registry | None = None) -> dict[str, str]:
    """Text of every reference page by file name."""
    registry = registry or discover()
    return {
        "components.md": components_page(registry),
        "metrics.md": metrics_page(),
        "recipe-keys.md": keys_page(),
        "recipes.md": recipes_page(registry),
        "systems.md": systems_page(),
    }


def components_page(registry: Registry) -> str:
    """Every component of this distribution, by kind."""
    lines = [
        _NOTE,
        "# Components",
        "",
        "Everything that a recipe can name, as this version ships it. Plugins add to it: `omnimask components` lists what is "
        "installed, and `omnimask components KIND NAME` shows one. Options without a default are required.",
    ]
    for kind in KINDS:
        entries = [entry for entry in registry.entries(kind) if entry.distribution == DISTRIBUTION]
        if entries:
            lines += ["", f"## {kind.replace('_', ' ').capitalize()}"]
        for entry in entries:
            lines += ["", *_component(entry, registry.load(kind, entry.name))]
    return "\n".join(lines) + "\n"


def recipes_page(registry: Registry) -> str:
    """The shipped recipes, each under the comment that its file begins with."""
    own = {folder.path() for folder in registry.folders if folder.plugin.distribution == DISTRIBUTION}
    files = {name: path for name, path in shipped_recipes(registry).items() if path.parent in own}
    lines = [
        _NOTE,
        "# Shipped recipes",
        "",
        "The bare name of a modality (`image`) is its `quickstart`. [Recipes](../recipes.md) explains the keys.",
    ]
    for name, path in files.items():
        comment, rest = _split(path.read_text(encoding="utf-8"))
        lines += ["", f"## `{name}` {{ #{name.replace('/', '-')} }}", "", comment, "", "```yaml", rest, "```"]
    return "\n".join(lines) + "\n"


def _split(text: str) -> tuple[str, str]:
    """The comment at the beginning of a file, as a paragraph, and what follows."""
    lines = text.strip().splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:first]), "\n".join(lines[first:])


def keys_page() -> str:
    """The keys of a recipe's sections."""
    lines = [
        _NOTE,
        "# Recipe keys",
        "",
        "The keys of each section of a recipe, as declared in `omnimask.recipe.config`. [Recipes](../recipes.md) explains them, "
        "and [Components](components.md) lists the options of components.",
        "",
        *(line for title, section in _SECTIONS.items() for line in (f"## {title}", "", *_table(describe(section)), "")),
        "## train",
        "",
        *_table(_TRAIN.get(option.name, option) for option in describe(TrainConfig)),
        "",
        "## data",
        "",
        "All other keys under `data:` belong to the data set that is named there.",
        "",
        *_table(_DATA.get(option.name, option) for option in describe(DataOptions)),
        "",
        "## data.max_bad",
        "",
        "The larger of the two counts; one unreadable sample more, and the run stops with its last checkpoint intact.",
        "",
        *_table(describe(BadSamples)),
    ]
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """The keys of ``metrics.jsonl``."""

    def table(rows: Iterable[tuple[str, str]]) -> list[str]:
        return ["| key | |", "|---|---|", *(f"| {_code(name)} | {meaning} |" for name, meaning in rows)]

    position = [(metric.name, metric.meaning) for metric in metrics.POSITION]
    lines = [
        "<!-- Written by scripts/write_reference.py; edit core/omnimask/training/monitoring/metrics.py instead. -->\n",
        "# Metrics",
        "",
        "The keys of `metrics.jsonl`, one JSON object per logged step and per validation. Non-finite values are null. Observers of "
        "[plugins](../hooks.md#metrics) can add metrics to a step's line.",
        "",
        "## A step",
        "",
        *table([*position, *((metric.name, metric.meaning) for metric in metrics.STEP), *metrics.FAMILIES.items()]),
        "",
        "## A validation",
        "",
        *table([*position, *metrics.VALIDATION.items()]),
    ]
    return "\n".join(lines) + "\n"


def systems_page() -> str:
    """What docs/systems.yaml says of published systems, as tables."""
    data = yaml.safe_load(SYSTEMS.read_text(encoding="utf-8"))
    counts = Counter(system["status"] for system in data["systems"])
    lines = [
        "<!-- Written by scripts/write_reference.py; edit docs/systems.yaml instead. -->\n",
        "# Published systems",
        "",
        "Which systems of the literature omnimask carries today, and what the others wait for.",
        "",
        f"- **runs** ({counts['runs']}): a shipped recipe trains it, which is tried with every change; a test shows what it does.",
        f"- **expressible** ({counts['expressible']}): a recipe says it, but for named components that a plugin can bring.",
        f"- **open** ({counts['open']}): it needs a seam that recipes do not have yet.",
    ]
    for group in dict.fromkeys(system["group"] for system in data["systems"]):
        lines += ["", f"## {group}", "", "| system | of | status | |", "|---|---|---|---|"]
        lines += [_system(system) for system in data["systems"] if system["group"] == group]
    lines += ["", "## Seams that are missing", "", "| seam | |", "|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {text} |" for name, text in data["seams"].items()]
    return "\n".join(lines) + "\n"


def _system(system: Mapping[str, Any]) -> str:
    match system["status"]:
        case "runs":
            recipe = system["recipe"]
            text = f"[`{recipe}`](recipes.md#{recipe.replace('/', '-')}): {system['shows']} (`{system['test']}`)"
        case "expressible":
            text = "needs " + ", ".join(f"{kind} `{name}`" for kind, name in map(str.split, system["missing"]))
        case _:
            text = f"waits for the seam *{system['seam'].replace('_', ' ')}*"
    return f"| {_cell(system['system'])} | {system['modality']} | {system['status']} | {_cell(text)} |"


def _component(entry: Entry, cls: type) -> Iterator[str]:
    yield f"### `{entry.name}` {{ #{entry.kind}-{entry.name.replace('.', '-')} }}"
    yield ""
    yield from _prose(inspect.getdoc(cls) or "")
    options = describe(cls)
    if options:
        yield ""
        yield from _table(options)


def _prose(docstring: str) -> Iterator[str]:
    """A docstring without its sections of options and errors; sources become a list."""
    text = _ROLE.sub(r"`\1`", docstring)
    paragraphs = [paragraph for paragraph in re.split(r"\n\s*\n", text) if not _SECTION.match(paragraph)]
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ""
        is_list_of_sources = re.match(r"\[\d+\] ", paragraph)
        yield re.sub(r"(?:^|\s)\[(\d+)\] ", r"\n- [\1] ", paragraph).strip() if is_list_of_sources else paragraph


def _table(options: Iterable[OptionSchema]) -> Iterator[str]:
    yield "| option | type | default | |"
    yield "|---|---|---|---|"
    for option in options:
        default = "required" if option.default is None else _code(option.default) if option.default else ""
        yield f"| `{option.name}` | {_cell(option.type)} | {default} | {_cell(option.description)} |"


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Writes the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
