#!/usr/bin/env python3
"""Measure the structure of the code: rooms, import levels, circles, sizes, names defined twice, private imports of plugins.

    python scripts/structure.py
    python scripts/structure.py --json structure.json

A room is a module or a package directly inside of ``core/omnimask``. An arrow is one room importing another: at import time, inside
a function, or for type checkers alone. The level of a room is the longest chain of arrows below it, with the rooms of a circle
counted as one.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "core" / "omnimask"
PLUGINS = (ROOT / "plugins", ROOT / "datasets")
HOST = ("__init__", "registry", "installed", "discovery", "hooks", "distributions", "commands", "inventory")
"""Modules of the plugin host, in ``omnimask.registry``."""
COMPATIBILITY = ROOT / "docs" / "compatibility.md"

Graph = dict[str, set[str]]


def modules_of(folder: Path) -> dict[str, Path]:
    """Map dotted module names to the files of a package."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(tree: ast.Module, known: Iterable[str], package: str, *, only_at_import: bool = False) -> Iterator[str]:
    """Yield the modules of ``package`` that a module imports.

    Args:
        tree: of the module.
        known: names of the package's modules; ``from a import b`` is module ``a.b`` where there is one.
        package: name of the package.
        only_at_import: leave out imports inside functions and those for type checkers.
    """
    names = set(known)
    for node in _imports(tree, only_at_import):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif node.module is not None and node.module.partition(".")[0] == package and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else node.module


def _imports(node: ast.AST, only_at_import: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif not only_at_import or not (is_function or is_for_types):
            yield from _imports(child, only_at_import)


def graph_of(folder: Path, *, only_at_import: bool = False) -> Graph:
    """Map each module of a package to the modules of the package that it imports."""
    modules = modules_of(folder)
    found: Graph = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = set(imports_of(tree, modules, folder.name, only_at_import=only_at_import)) - {name}
    return found


def rooms_of(graph: Graph) -> Graph:
    """Reduce a graph of modules to one of rooms; the package's own ``__init__`` is the room ``__init__``."""
    rooms: Graph = {}
    for name, imported in graph.items():
        room = _room(name)
        rooms.setdefault(room, set()).update(_room(other) for other in imported)
        rooms[room].discard(room)
    return rooms


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def circles_of(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node, largest first (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return sorted((each for each in found if len(each) > 1), key=lambda each: (-len(each), each))


def levels_of(graph: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the level of every node, counted from 1; the nodes of a circle share one."""
    leader = {node: node for node in graph}
    for circle in circles_of(graph):
        leader.update(dict.fromkeys(circle, circle[0]))
    below: Graph = {leader[node]: set() for node in graph}
    for node, imported in graph.items():
        below[leader[node]] |= {leader[other] for other in imported if other in leader} - {leader[node]}
    levels: dict[str, int] = {}

    def level(node: str) -> int:
        if node not in levels:
            levels[node] = 1 + max((level(other) for other in below[node]), default=0)
        return levels[node]

    return {node: level(leader[node]) for node in graph}


def sizes_of(paths: Sequence[Path]) -> dict[str, Any]:
    """Count lines of files and functions, and the share of comment lines."""
    files: dict[str, int] = {}
    functions: dict[str, int] = {}
    comments = total = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        name = _shown(path)
        files[name] = len(lines)
        total += len(lines)
        comments += sum(line.lstrip().startswith("#") for line in lines)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions[f"{name}:{node.name}"] = (node.end_lineno or node.lineno) - node.lineno + 1
    lengths = sorted(functions.values())
    return {
        "files": len(files),
        "lines": total,
        "median file": statistics.median(files.values()),
        "files over 400 lines": {name: size for name, size in files.items() if size > 400},
        "function p50": _quantile(lengths, 0.5),
        "function p90": _quantile(lengths, 0.9),
        "function max": max(functions.items(), key=lambda item: item[1]),
        "functions over 60 lines": {name: size for name, size in functions.items() if size > 60},
        "comment share, %": round(100 * comments / total, 2),
    }


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def public_modules(page: Path = COMPATIBILITY) -> set[str]:
    """Return the dotted names that the compatibility page promises."""
    found: set[str] = set()
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `omnimask") or line.startswith("| names of"):
            first = line.split("|")[1]
            found |= {name for name in first.replace("`", " ").replace(",", " ").split() if name.startswith("omnimask")}
    return found


def private_imports(folder: Path, public: Iterable[str]) -> dict[str, list[str]]:
    """Map each private core module to the files of a plugin that import it."""
    core = modules_of(CORE)
    promised = set(public)
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        for name in set(imports_of(ast.parse(path.read_text(encoding="utf-8")), core, CORE.name)):
            is_public = name == CORE.name or any(name == each or each.startswith(f"{name}.") for each in promised)
            if not is_public:
                found.setdefault(name, []).append(path.name)
    return {name: sorted(files) for name, files in sorted(found.items())}


def shared_classes(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Map each class name that several modules define to these modules. A leading underscore does not count."""
    found: dict[str, set[str]] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), set()).add(_shown(path))
    return _of_several(found)


def copied_constants(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Map each constant that several modules define alike, by name and value, to these modules.

    Numbers may coincide (the versions of two formats), and type variables and loggers belong to their module.
    """
    found: dict[str, set[str]] = {}
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
            else:
                continue
            if value is not None and name.isupper() and not _may_coincide(value):
                found.setdefault(f"{name.lstrip('_')} = {ast.unparse(value)}", set()).add(_shown(path))
    return _of_several(found)


def _may_coincide(value: ast.expr) -> bool:
    names = {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(value)
        if isinstance(node, (ast.Name, ast.Attribute))
    }
    literals = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant)]
    is_number = bool(literals) and all(isinstance(literal, (int, float)) for literal in literals)
    return is_number or bool(names & {"TypeVar", "getLogger", "__file__"})


def _of_several(found: Mapping[str, set[str]]) -> dict[str, list[str]]:
    return {name: sorted(modules) for name, modules in sorted(found.items()) if len(modules) > 1}


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def code_lines(path: Path) -> int:
    """Return the lines of a file without blank ones, comments and docstrings (those of attributes included)."""
    text = path.read_text(encoding="utf-8")
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate((line.strip() for line in text.splitlines()), 1)
    return sum(1 for number, line in lines if line and not line.startswith("#") and number not in documented)


def measure() -> dict[str, Any]:
    """Return all figures of the project."""
    graph = graph_of(CORE)
    rooms = rooms_of(graph)
    sources = [path for folder in (CORE, *PLUGINS) for path in sorted(folder.rglob("*.py"))]
    plugins = sorted(path for folder in PLUGINS for path in folder.iterdir() if (path / "plugin.py").is_file())
    public = public_modules()
    return {
        "root files": len(list(CORE.glob("*.py"))),
        "rooms": len(rooms),
        "levels of rooms": max(levels_of(rooms).values()),
        "arrows between rooms": sum(map(len, rooms.values())),
        "circles of rooms": circles_of(rooms),
        "circles of modules at import": circles_of(graph_of(CORE, only_at_import=True)),
        "circles of modules": circles_of(graph),
        **sizes_of(sources),
        "class names of several modules": shared_classes(sources),
        "constants of several modules": copied_constants(sources),
        "lines of code of the plugin host": sum(code_lines(CORE / "registry" / f"{name}.py") for name in HOST),
        "private imports": {path.name: private_imports(path, public) for path in plugins},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    found = measure()
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}: {len(value)}")
            for key, inner in value.items():
                shown = ", ".join(inner) if isinstance(inner, list) else len(inner) if isinstance(inner, dict) else inner
                print(f"  {key}: {shown}")
        elif isinstance(value, list):
            print(f"{name}: {len(value)}")
            for circle in value:
                print(f"  {len(circle)}: {', '.join(circle)}"[:200])
        else:
            print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
