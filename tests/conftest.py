"""Settings of all tests: one torch thread, derandomised property tests, and the toy plugins on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from .http_server import Server

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # and in runs that tests begin, whatever their recipes say of threads
settings.register_profile(
    "project",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """Serves a folder over HTTP until the test ends."""
    servers: list[Server] = []

    def start(root: Path) -> Server:
        servers.append(Server(root))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Distribution = Callable[..., Path]


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """Puts a distribution on the path, as an installation would, for this test only; returns its metadata folder.

    ``distribution("foo", {"foo": "import omnimask\n..."}, "[omnimask]\nfoo = foo\n")`` writes ``foo.py`` beside
    ``foo-1.0.dist-info``; a source named ``foo/__init__`` lands in a package.
    """
    from omnimask.registry import commands, installed

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)

    def write(
        name: str, modules: dict[str, str], entry_points: str | bytes, *, version: str = "1.0", requires: Sequence[str] = ()
    ) -> Path:
        for module, source in modules.items():
            (folder / f"{module}.py").parent.mkdir(exist_ok=True)
            (folder / f"{module}.py").write_text(source, encoding="utf-8")
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        required = "".join(f"Requires-Dist: {one}\n" for one in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}", encoding="utf-8")
        (info / "entry_points.txt").write_bytes(entry_points.encode() if isinstance(entry_points, str) else entry_points)
        monkeypatch.syspath_prepend(folder)  # what the path holds is cached
        commands.find.cache_clear()
        installed.find.cache_clear()
        return info

    yield write
    monkeypatch.undo()
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[module]
    commands.find.cache_clear()
    installed.find.cache_clear()


TOY_PLUGINS = Path(__file__).parent / "toys" / "plugins"
if str(TOY_PLUGINS) not in sys.path:
    sys.path.append(str(TOY_PLUGINS))
