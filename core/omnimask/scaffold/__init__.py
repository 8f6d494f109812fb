"""Generator of new plugins: installable packages that pass their own tests and train. Imports no torch.

The files are templates in ``modality/`` and ``masker/`` beside this module, with placeholders such as ``$name``.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from string import Template

from omnimask.errors import UserError
from omnimask.messages.hints import listed, nearest
from omnimask.registry import Registry, discover
from omnimask.version import __version__

FOLDER = Path(__file__).resolve().parent
KINDS = ("modality", "masker")
MAX_LENGTH = 30
_SUFFIX = ".template"
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


def new_plugin(name: str, kind: str, parent: Path, registry: Registry | None = None) -> Path:
    """Write ``parent/omnimask-NAME``, either completely or not at all.

    Args:
        name: name of the plugin: its entry point, its modality or recipes, and the prefix of its components.
        kind: one of :data:`KINDS`.
        parent: parent of the package's folder; created if missing.
        registry: registry of installed plugins.

    Raises:
        UserError: the name or the kind is invalid, the folder exists, or it cannot be written.
    """
    if kind not in KINDS:
        raise UserError(f"--kind: {kind!r} is not a kind of plugin{nearest(kind, KINDS)}; kinds: {', '.join(KINDS)}")
    check_name(name, registry or discover())
    values = names_of(name)
    folder = parent / values["distribution"]
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} already exists; choose another name, or another parent folder with --out")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _write(folder, dict(rendered(kind, values)))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def names_of(name: str) -> Mapping[str, str]:
    """Return the values of the templates' placeholders: ``name``, ``distribution``, ``package``, and omnimask's ``version``."""
    return {
        "name": name,
        "distribution": f"omnimask-{name.replace('_', '-')}",
        "package": f"omnimask_{name.replace('-', '_')}",
        "version": __version__,
    }


def rendered(kind: str, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield path inside the package's folder, and text, of every file."""
    for path in sorted((FOLDER / kind).rglob(f"*{_SUFFIX}")):
        parts = path.relative_to(FOLDER / kind).with_suffix("").parts
        first = {"package": values["package"], "gitignore": ".gitignore"}.get(parts[0], parts[0])
        yield "/".join((first, *parts[1:])), Template(path.read_text(encoding="utf-8")).substitute(values)


def check_name(name: str, registry: Registry) -> None:
    """Reject a name that cannot be a package name or is already taken.

    Raises:
        UserError: the name is rejected. The message suggests an alternative if there is one.
    """
    if name.startswith(("omnimask-", "omnimask_")):
        raise UserError(f"{name!r}: drop 'omnimask' and use {name[9:]!r}; the package will be {name.replace('_', '-')}")
    if not _NAME.fullmatch(name) or len(name) > MAX_LENGTH:
        hint = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:MAX_LENGTH].rstrip("-")
        raise UserError(
            f"{name!r} is not a valid plugin name: use lower-case letters and digits, joined by - or _, starting with a letter, "
            f"{MAX_LENGTH} characters at most" + (f"; {hint!r} is valid" if _NAME.fullmatch(hint) else "")
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UserError(f"{name!r} is a Python keyword; choose another name")
    taken = {plugin.name for plugin in registry.plugins} | {failure.plugin.name for failure in registry.failures}
    taken |= {*registry.left_out, *(folder.modality for folder in registry.folders)}
    if name in taken:
        raise UserError(f"plugin {name!r} is already installed; taken: {listed(taken - {'?'})}")
    values = names_of(name)
    if importlib.util.find_spec(values["package"]) is not None or _is_installed(values["distribution"]):
        raise UserError(f"{values['distribution']} is already installed; choose a name other than {name!r}")


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files beside their final place, then rename once."""
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        for name, text in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
