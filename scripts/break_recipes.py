#!/usr/bin/env python3
"""Breaks shipped recipes in every way that a seed draws, and trains each: it must end with 0 or 2, soon, and leave nothing.

    python scripts/break_recipes.py --cases 2000 --seed 0 --output broken.json

Each case is a shipped recipe, shrunk as by ``--smoke`` and with all defaults written out, and up to two changes: a key removed,
misspelt or given twice, a value of another type or out of range, two values swapped, another component, junk. Which values are
legal is read from the recipe's own schema and the components' signatures. One process runs all cases; the JSON file has for each
its exit code, last message, seconds, and what was left behind after a refusal.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omnimask.cli import main as omnimask
from omnimask.component import Component, kind_of
from omnimask.errors import UserError
from omnimask.recipe import load_recipe, shipped_recipes
from omnimask.recipe.yaml_text import dump, parse
from omnimask.registry import KINDS, discover
from omnimask.registry.signature import options_of

LIMIT = 10.0
"""Seconds of the processor that a case may take more than its unbroken recipe; six times as many by the clock."""
LONG = 5
"""Lines of ``metrics.jsonl`` beyond which a run that was asked to be long is at work, and does not hang."""
MEMORY = 12 << 30
"""Bytes that all cases may address."""
SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 10**6, 10**9, 10**12, 2**62, 10**30, 0.0, 0.5, 1.0, -0.5, 1.5, 1e-300, 1e300),
    *(float("nan"), float("inf"), -float("inf")),
    *("", " ", "???", "auto", "no", "1e3", "5%", "1,00e-3", "x" * 5000, "../..", "/", "a.b", "\x00", "é\n", "{", "${HOME}"),
    *(
        [],
        {},
        [[]],
        [None],
        [1, 2],
        [0.5, "x"],
        {"name": None},
        {"name": "nothing.like.it"},
        {"name": ""},
        {"": 1},
        {"a": {"b": []}},
    ),
)
TEXTS = (
    "0x1F",
    "0b11",
    "0o17",
    "1_000",
    "2026-11-30",
    "12:30:00",
    "!!int 3",
    "!!python/object:os.system {}",
    "&a 1",
    "*a",
    "<<",
    "|",
    "@x",
    "[" * 3000,
    "0x" + "F" * 5000,
)
"""Scalars as they are written, which YAML alone knows."""

_KEPT = ("of", "layer", "weight", "label", "target", "width", "validation")
"""Keys that stay where a component is replaced."""

Keys = tuple[Any, ...]


class TimeIsUp(BaseException):
    """A case took too long."""


class Breaker:
    """Draws changes of a document.

    Args:
        rng: decides everything.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.registry = discover()

    def broken(self, data: dict[str, Any]) -> tuple[str, list[str]]:
        """YAML of a changed copy, and the changes in words."""
        data = copy.deepcopy(data)
        told = [self._change(data) for _ in range(self.rng.choice((1, 1, 1, 2)))]
        text = dump(data)
        if self.rng.random() < 0.15:
            text, how = self._written(text)
            told.append(how)
        return text, told

    def _change(self, data: dict[str, Any]) -> str:
        changes: tuple[Callable[[Any, Keys], str], ...] = (
            *(self._remove, self._misspell, self._add, self._swap, self._wrap),
            *(self._scalar, self._scalar, self._scalar, self._option, self._option, self._component, self._component),
        )
        keys = self.rng.choice([keys for keys in _paths(data) if keys])
        return self.rng.choice(changes)(data, keys)

    def _remove(self, data: Any, keys: Keys) -> str:
        parent = _at(data, keys[:-1])
        del parent[keys[-1]]
        return f"{_dotted(keys)} removed"

    def _misspell(self, data: Any, keys: Keys) -> str:
        parent, key = _at(data, keys[:-1]), keys[-1]
        if not isinstance(key, str) or not key:
            return self._scalar(data, keys)
        place = self.rng.randrange(len(key))
        other = key[:place] + self.rng.choice("xq_-. é") + key[place + 1 :]
        parent[other] = parent.pop(key)
        return f"{_dotted(keys)} spelt {other!r}"

    def _add(self, data: Any, keys: Keys) -> str:
        parent = _at(data, keys[:-1])
        value = self.rng.choice(SCALARS)
        if isinstance(parent, list):
            parent.append(copy.deepcopy(self.rng.choice((value, *parent))))
            return f"{_dotted(keys[:-1])} longer by one"
        name = self.rng.choice(("name", "ratio", "weight", "of", "layer", "extends", "draw", "odd key", "0"))
        parent[name] = copy.deepcopy(value)
        return f"{_dotted((*keys[:-1], name))} = {value!r:.60}"

    def _swap(self, data: Any, keys: Keys) -> str:
        other = self.rng.choice([path for path in _paths(data) if path])
        if other[: len(keys)] == keys or keys[: len(other)] == other:
            return self._scalar(data, keys)
        one, two = _at(data, keys), _at(data, other)
        _at(data, keys[:-1])[keys[-1]], _at(data, other[:-1])[other[-1]] = two, one
        return f"{_dotted(keys)} and {_dotted(other)} swapped"

    def _wrap(self, data: Any, keys: Keys) -> str:
        value = _at(data, keys)
        for _ in range(self.rng.choice((1, 1, 2, 40))):
            value = [value] if self.rng.random() < 0.5 else {"name": value}
        _at(data, keys[:-1])[keys[-1]] = value
        return f"{_dotted(keys)} wrapped"

    def _scalar(self, data: Any, keys: Keys) -> str:
        value = copy.deepcopy(self.rng.choice(SCALARS))
        _at(data, keys[:-1])[keys[-1]] = value
        return f"{_dotted(keys)} = {value!r:.60}"

    def _component(self, data: Any, keys: Keys) -> str:
        """Another component in the place of one, with its defaults."""
        places = [path for path in _paths(data) if isinstance(_at(data, path), dict) and "name" in _at(data, path)]
        path = self.rng.choice(places)
        old = _at(data, path)
        kinds = [kind for kind in KINDS if old["name"] in self.registry.names(kind)] or ["masker"]
        kind = self.rng.choice(kinds if self.rng.random() < 0.9 else [kind for kind in KINDS if self.registry.names(kind)])
        name = self.rng.choice(self.registry.names(kind))
        kept = {
            key: value for key, value in old.items() if key in ("of", "layer", "weight", "label", "target", "width", "validation")
        }
        new = {**kept, "name": name, **self._required(kind, name)}
        if path:
            _at(data, path[:-1])[path[-1]] = new
        return f"{_dotted(path)} = {kind} {name}"

    def _required(self, kind: str, name: str) -> dict[str, Any]:
        try:
            declared = options_of(self.registry.load(kind, name))
        except UserError:
            return {}
        return {option.name: self._legal(option.annotation) for option in declared.values() if option.is_required}

    def _option(self, data: Any, keys: Keys) -> str:
        """An option of a component, of the type that its constructor asks for, at or beyond the ends of its range."""
        places = [path for path in _paths(data) if isinstance(_at(data, path), dict) and "name" in _at(data, path)]
        path = self.rng.choice(places)
        component = _at(data, path)
        for kind in KINDS:
            if component["name"] in self.registry.names(kind):
                declared = options_of(self.registry.load(kind, component["name"]))
                if declared:
                    option = self.rng.choice(list(declared.values()))
                    component[option.name] = self._legal(option.annotation)
                    return f"{_dotted((*path, option.name))} = {component[option.name]!r:.60}"
        return self._scalar(data, keys)

    def _legal(self, annotation: Any) -> Any:
        """A value of an annotation's type, mostly."""
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self._legal(arguments[0])
        if origin is Component:
            kind = kind_of(annotation)
            names = self.registry.names(kind)
            return {"name": self.rng.choice(names)} if names else {"name": "none"}
        if origin is typing.Literal:
            return self.rng.choice(arguments)
        if annotation is bool:
            return self.rng.random() < 0.5
        if annotation is int:
            return self.rng.choice((-1, 0, 1, 2, 3, 4, 5, 8, 16, 17, 64, 1000, 10**5, 10**8, 10**12, 2**62))
        if annotation is float:
            return self.rng.choice((-1.0, 0.0, 1e-12, 0.01, 0.3, 0.5, 0.999, 1.0, 1.1, 10.0, 1e6, 1e30, 1e300))
        if annotation is str:
            return self.rng.choice(("image", "text", "label", "x", ""))
        if arguments and isinstance(origin, type) and issubclass(origin, (list, tuple)):
            return [self._legal(arguments[0]) for _ in range(self.rng.randrange(4))]
        if arguments and isinstance(origin, type) and issubclass(origin, Mapping):
            return {str(self._legal(str)): self._legal(arguments[1])}
        if arguments:
            return self._legal(self.rng.choice(arguments))
        return self.rng.choice(SCALARS)

    def _written(self, text: str) -> tuple[str, str]:
        """The text with one line changed as no document could be."""
        lines = text.splitlines()
        number = self.rng.randrange(len(lines))
        key, separator, _ = lines[number].partition(": ")
        if separator and self.rng.random() < 0.6:
            value = self.rng.choice(TEXTS)
            lines[number] = f"{key}: {value}"
            return "\n".join(lines) + "\n", f"line {number + 1} = {value}"
        how = self.rng.choice(("twice", "tab", "cut", "indented", "byte"))
        new = {"twice": f"{lines[number]}\n{lines[number]}", "tab": f"\t{lines[number]}", "cut": lines[number][:-1]}
        lines[number] = {**new, "indented": f" {lines[number]}", "byte": f"{lines[number]}\x07"}[how]
        return "\n".join(lines) + "\n", f"line {number + 1} {how}"


def _paths(data: Any, above: Keys = ()) -> Iterator[Keys]:
    yield above
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from _paths(value, (*above, key))


def _at(data: Any, keys: Keys) -> Any:
    for key in keys:
        data = data[key]
    return data


def _dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))


def shrunk_recipes(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Recipes by name, shrunk, with a run of two steps; those that need something absent are left out."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        try:
            data: Any = parse(load_recipe(name, smoke=True).to_yaml(), name).data
        except UserError as error:
            print(f"{name} is left out: {error.messages[0]}", file=sys.stderr)
            continue
        data["device"] = "cpu"
        data["data"]["max_validation"] = 4
        data["train"] |= {"steps": 2, "batch_tokens": 512, "validate_every": 2, "checkpoint_every": 2, "workers": 0}
        found[name] = data
    return found


def run_case(text: str, folder: Path, limit: float = LIMIT) -> dict[str, Any]:
    """Trains a recipe in a folder that is empty, and tells how that ended; it may take ``limit`` seconds of the processor."""
    file, run = folder / "recipe.yaml", folder / "run"
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    messages = io.StringIO()
    begin = time.monotonic()
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _alarm)
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.setitimer(signal.ITIMER_REAL, 6 * limit)
    try:
        with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(io.StringIO()):
            code: int | str = omnimask(["pretrain", str(file), "--run", str(run)])
    except TimeIsUp:
        code = "trains" if _steps(run) > LONG else "hang"
    except BaseException as error:  # whatever leaves the command line's main is a fault to report
        code = f"left main: {type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    told = messages.getvalue()
    is_left = run.exists() and code == 2 and not (run / "summary.json").exists()  # which a run that began and stopped has
    is_clean = code in (0, 2, "trains") and "Traceback" not in told and not is_left
    return {
        "code": code,
        "seconds": round(time.monotonic() - begin, 2),
        "message": (told.strip().splitlines() or [""])[-1][:400],
        "left_behind": is_left,
        "is_clean": is_clean,
        **({} if is_clean else {"recipe": text, "stderr": told[-6000:]}),
    }


def _steps(run: Path) -> int:
    """How many steps a run took, as far as it wrote them down."""
    try:
        return len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    except OSError:
        return 0


def _in_folder(text: str, limit: float) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="broken-")) / "some" / "where"  # paths that are drawn climb at most two folders
    folder.mkdir(parents=True)
    try:
        return run_case(text, folder, limit)
    finally:
        shutil.rmtree(folder.parents[1], ignore_errors=True)


def _alarm(*_: object) -> None:
    raise TimeIsUp


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no case after so many")
    parser.add_argument("--only", type=int, help="number of the one case to run, with its recipe on stdout")
    parser.add_argument("--output", type=Path, default=Path("broken_recipes.json"))
    given = parser.parse_args()
    os.environ.setdefault("OMNIMASK_CACHE", tempfile.mkdtemp(prefix="omnimask-cache-"))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    bases, cases = shrunk_recipes(shipped_recipes()), []
    unbroken: dict[str, float] = {}
    begin = time.monotonic()
    for number in range(given.cases) if given.only is None else (given.only,):
        if time.monotonic() - begin > given.seconds:
            break
        rng = random.Random(f"{given.seed}/{number}")
        name = rng.choice(sorted(bases))
        text, changes = Breaker(rng).broken(bases[name])
        if name not in unbroken:
            unbroken[name] = _in_folder(dump(bases[name]), 10 * LIMIT)["seconds"]
        found = {"number": number, "base": name, "changes": changes, **_in_folder(text, LIMIT + unbroken[name])}
        cases.append(found)
        if not found["is_clean"]:
            print(f"{number} {name}: {'; '.join(changes)}: {found['code']}: {found['message']}", file=sys.stderr, flush=True)
        if given.only is not None:
            print(text)
            print(found.get("stderr", found["message"]))
    codes = Counter(str(case["code"]) for case in cases)
    faults = sum(not case["is_clean"] for case in cases)
    record = {"seed": given.seed, "cases": len(cases), "faults": faults, "codes": dict(codes), "results": cases}
    given.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {faults} faults, exit codes {dict(codes)}: {given.output}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
