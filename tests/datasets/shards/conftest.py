"""Tar files for tests: good ones, and every kind of bad one."""

from __future__ import annotations

import http.server
import io
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from omnimask.interfaces import Context
from omnimask.registry.installed import GROUP, collect
from omnimask_datasets.shards.dataset import Shards

Content = Sequence[tuple[str, bytes]]


class Tars:
    """Writes tar files and reads them as shards."""

    @staticmethod
    def write(path: Path, members: Content, **options: Any) -> Path:
        """A tar file with members in this order; ``options`` are those of ``tarfile.open``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", **options) as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    @staticmethod
    def samples(*numbers: int) -> list[tuple[str, bytes]]:
        """Members of samples: the number as text, and its remainder by 10 as label."""
        pairs = [((f"{n:04d}.txt", f"text {n}".encode()), (f"{n:04d}.cls", b"%d" % (n % 10))) for n in numbers]
        return [member for pair in pairs for member in pair]

    @staticmethod
    def with_member(path: Path, kind: bytes, name: str = "evil.txt", **attributes: Any) -> Path:
        """A tar file with a good sample, a member of a kind, and another good sample."""
        with tarfile.open(path, "w") as tar:
            for number in (1, 3):
                good = tarfile.TarInfo(f"{number:04d}.txt")
                good.size = 3
                tar.addfile(good, io.BytesIO(b"abc"))
                if number == 1:
                    info = tarfile.TarInfo(name)
                    info.type = kind
                    for attribute, value in attributes.items():
                        setattr(info, attribute, value)
                    tar.addfile(info, io.BytesIO(bytes(info.size)))
        return path

    @staticmethod
    def open(path: Path | None = None, **options: Any) -> Shards:
        """The data set as a recipe would build it."""
        return Shards(Context(), **({} if path is None else {"path": path}), **options)

    @staticmethod
    def content(dataset: Shards) -> dict[str, Mapping[str, Any]]:
        """All samples by key."""
        return {dataset.key(index): dataset[index] for index in range(len(dataset))}


class Server:
    """Serves a folder over HTTP; ``fault`` says what happens to requests for names ending in ``faulty``."""

    def __init__(self, root: Path) -> None:
        self.requests: list[str] = []
        self.fault, self.faulty, self.times = "", ".tar", 10**9
        self.released = threading.Event()
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(root))

            def do_GET(self) -> None:
                server.requests.append(self.path)
                if server.fault and self.path.endswith(server.faulty) and server.times > 0:
                    server.times -= 1
                    return getattr(self, server.fault)()
                return super().do_GET()

            def hangs(self) -> None:
                server.released.wait(30)

            def hangs_halfway(self) -> None:
                self.begin()
                server.released.wait(30)

            def cuts_off(self) -> None:
                self.begin()

            def refuses(self) -> None:
                self.send_error(503)

            def damages(self) -> None:
                data = bytearray((root / self.path.lstrip("/")).read_bytes())
                data[600] ^= 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def begin(self) -> None:
                data = (root / self.path.lstrip("/")).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()

            def log_message(self, *args: Any) -> None: ...

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def gets(self, ending: str) -> int:
        """Requests so far for names with an ending."""
        return sum(path.endswith(ending) for path in self.requests)

    def close(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.http.server_close()


class Toys:
    """The toy plugins and their recipes."""

    def __init__(self) -> None:
        names = ("toy_signal", "toy_grammar", "toy_pairs")
        toys = [EntryPoint(name=name, value=name, group=GROUP) for name in names]
        self.registry = collect([*entry_points(group=GROUP), *toys])

    @staticmethod
    def recipe(name: str) -> Path:
        return Path(__file__).parents[2] / "toys" / "recipes" / f"{name}.yaml"


@pytest.fixture(scope="session")
def toys() -> Toys:
    return Toys()


@pytest.fixture
def tars() -> type[Tars]:
    return Tars


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards with 12 samples."""
    for shard, numbers in enumerate((range(5), range(5, 6), range(6, 12))):
        Tars.write(tmp_path / "data" / f"s-{shard}.tar", Tars.samples(*numbers))
    return tmp_path / "data"


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
