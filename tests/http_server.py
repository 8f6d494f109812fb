"""A real HTTP server with ranges, entity tags and faults."""

from __future__ import annotations

import http.server
import re
import threading
from hashlib import blake2b
from pathlib import Path
from typing import Any


class Server:
    """Serves a folder. A ``fault`` meets the next ``times`` requests for names that end in ``faulty``."""

    def __init__(self, root: Path) -> None:
        self.root, self.requests = root, list[tuple[str, str, int]]()
        self.fault, self.faulty, self.times = "", "", 10**9
        self.has_ranges = self.has_tags = True
        self.released, self.gate = threading.Event(), threading.Barrier(1)
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(root))

            def do_HEAD(self) -> None:
                self.answer(has_body=False)

            def do_GET(self) -> None:
                self.answer(has_body=True)

            def answer(self, *, has_body: bool) -> None:
                if server.fault and self.path.endswith(server.faulty) and server.times > 0:
                    server.times -= 1
                    return getattr(self, server.fault)(has_body)
                path = Path(self.translate_path(self.path))
                if path.is_dir() or not path.exists():
                    server.requests.append((self.command, self.path, 0))
                    return super().do_GET() if has_body else super().do_HEAD()
                return self.send_bytes(self.content(), has_body)

            def send_bytes(self, data: bytes, has_body: bool, cut: bool = False) -> None:
                tag = blake2b(data, digest_size=8).hexdigest()
                total, found = len(data), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if found and server.has_ranges:
                    first, last = int(found[1]), min(int(found[2] or total), total - 1)
                    data = data[first : last + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
                else:
                    self.send_response(200)
                if server.has_tags:
                    self.send_header("ETag", f'"{tag}"')
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                server.requests.append((self.command, self.path, len(data) if has_body else 0))
                if has_body:
                    server.gate.wait(10)  # as many requests at a time as the gate has parties
                    self.wfile.write(data[: len(data) // 2] if cut else data)

            def stalls(self, has_body: bool) -> None:
                server.requests.append((self.command, self.path, 0))
                server.released.wait(30)

            def fails(self, has_body: bool) -> None:
                server.requests.append((self.command, self.path, 0))
                self.send_error(503)

            def forbids(self, has_body: bool) -> None:
                server.requests.append((self.command, self.path, 0))
                self.send_error(403)

            def cuts_off(self, has_body: bool) -> None:
                self.send_bytes(self.content(), has_body, cut=True)

            def stalls_halfway(self, has_body: bool) -> None:
                self.send_bytes(self.content(), has_body, cut=True)
                self.wfile.flush()
                server.released.wait(30)

            def damages(self, has_body: bool) -> None:
                data = bytearray(self.content())
                data[min(600, len(data) // 2)] ^= 1
                self.send_bytes(bytes(data), has_body)

            def content(self) -> bytes:
                return Path(self.translate_path(self.path)).read_bytes()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def gets(self, ending: str) -> int:
        """Number of bodies asked for, of names with an ending."""
        return sum(method == "GET" and path.endswith(ending) for method, path, _ in self.requests)

    def num_bytes(self, ending: str) -> int:
        """Bytes sent so far of names with an ending."""
        return sum(size for _, path, size in self.requests if path.endswith(ending))

    def breaks(self, fault: str, faulty: str = "", times: int = 10**9) -> None:
        """Let requests for names with an ending meet a fault."""
        self.fault, self.faulty, self.times = fault, faulty, times

    def close(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.http.server_close()
