"""One pass over the headers of a tar file, which finds its members and its problems. Nothing is ever extracted.

``tarfile`` parses single headers, but does not walk the file: it would read an extended header of any size into memory, and stop
without an error at a file truncated between two members.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

LARGEST_HEADER = 64 * 1024
"""Largest extended header (for example a long name), in bytes."""
LARGEST_MEMBER = 2**31
"""Largest member, in bytes. Each is read into memory as a whole."""
_MOST_HEADERS = 8
"""Most headers per member."""
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**20

_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = {
    tarfile.DIRTYPE: "a folder",
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


@dataclass(frozen=True)
class Member:
    """File in the tar: its ``name``, and the ``offset`` and ``size`` of its bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Problem:
    """Problem at a byte of the tar. After an ``is_fatal`` one, nothing more can be found."""

    kind: str
    offset: int
    message: str
    is_fatal: bool = False

    def __str__(self) -> str:
        return f"{self.kind} at byte {self.offset:,}: {self.message}"


_Found: TypeAlias = Member | Problem | Literal["folder", "end"]


class Walk:
    """Iterator over the members and the problems of a tar file, in file order.

    Args:
        descriptor: descriptor of the open file. Its position is neither read nor changed.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._digest = blake2b(digest_size=16)
        self._at = 0
        self._last = "the beginning"

    @property
    def headers(self) -> str:
        """Return a digest of all headers so far: names, sizes, times."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Member | Problem]:
        while (found := self._next()) != "end":
            if found != "folder":
                yield found
            if isinstance(found, Problem) and found.is_fatal:
                return

    def _next(self) -> _Found:
        begin, said = self._at, dict[str, str]()
        for _ in range(_MOST_HEADERS):
            header = self._header()
            if not isinstance(header, tarfile.TarInfo):
                return header
            if header.type not in _EXTENDED:
                return self._member(header, begin, said)
            found = self._extended(header)
            if isinstance(found, Problem):
                return found
            said.update(found)
        return Problem("refused member", begin, f"it has more than {_MOST_HEADERS} headers", is_fatal=True)

    def _header(self) -> tarfile.TarInfo | Problem | Literal["end"]:
        """Read the header at the current place, and move behind it."""
        block = os.pread(self.descriptor, _BLOCK, self._at)
        self._digest.update(block)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if not block.strip(b"\0") and len(block) == _BLOCK:
                return self._end()
            if not block:
                return Problem("no end mark", self._at, f"the file ends after {self._last}, so it may be truncated", True)
            kind = "cut off" if len(block) < _BLOCK else "damaged header"
            return Problem(kind, self._at, f"{error}, after {self._last}", is_fatal=True)
        if header.size < 0:
            return Problem("damaged header", self._at, f"a member has {header.size} bytes, after {self._last}", is_fatal=True)
        self._at += _BLOCK
        return header

    def _extended(self, header: tarfile.TarInfo) -> dict[str, str] | Problem:
        """Return ``path`` and ``size`` from an extended header before a member's own header."""
        begin = self._at - _BLOCK
        if header.size > LARGEST_HEADER:
            message = f"a header has {header.size:,} bytes; the limit is {LARGEST_HEADER:,}"
            return Problem("refused member", begin, message, is_fatal=True)
        data = os.pread(self.descriptor, header.size, self._at)
        self._digest.update(data)
        if len(data) < header.size:
            return Problem("cut off", begin, f"the file ends within a header, after {self._last}", is_fatal=True)
        self._at += _padded(header.size)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
        if header.type == tarfile.GNUTYPE_LONGLINK:
            return {}
        try:
            values = _pax(data)
        except ValueError:
            return Problem("damaged header", begin, f"an extended header cannot be read, after {self._last}", is_fatal=True)
        if any(name.startswith("GNU.sparse") for name in values) or (header.type == tarfile.XGLTYPE and values):
            message = f"an extended header has {', '.join(values)}; such tar files are not supported"
            return Problem("refused member", begin, message, is_fatal=True)
        return values

    def _member(self, header: tarfile.TarInfo, begin: int, said: dict[str, str]) -> _Found:
        name = said.get("path", header.name)
        size = 0 if header.type in _WITHOUT_DATA else int(said.get("size", header.size))
        offset = self._at
        if offset + size > self.size:
            there = max(0, self.size - offset)
            return Problem("cut off", offset, f"{name} has {size:,} bytes, but only {there:,} are present", is_fatal=True)
        self._at += _padded(size)
        self._last = name
        if header.type == tarfile.DIRTYPE:
            return "folder"
        if header.type not in _REGULAR:
            what = _WITHOUT_DATA.get(header.type, "neither a file nor a folder")
            return Problem("refused member", begin, f"{name} is {what}")
        if reason := _unsafe(name):
            return Problem("refused member", begin, f"{name!r} {reason}")
        if size > LARGEST_MEMBER:
            return Problem("refused member", begin, f"{name} has {size:,} bytes; the limit is {LARGEST_MEMBER:,}")
        return Member(name, offset, size)

    def _end(self) -> Problem | Literal["end"]:
        """Check the end mark: two blocks of zeros, optionally followed by zeros up to the end of the file."""
        if self.size < self._at + 2 * _BLOCK:
            return Problem("no end mark", self._at, f"the file ends within its end mark, after {self._last}", is_fatal=True)
        for place in range(self._at, self.size, _CHUNK):
            data = os.pread(self.descriptor, _CHUNK, place)
            if data.strip(b"\0"):
                return Problem("data behind the end mark", place, f"data after {self._last} are not read", is_fatal=True)
        return "end"


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _pax(data: bytes) -> dict[str, str]:
    """Return the records ``length key=value`` that determine a member's name and size.

    Raises:
        ValueError: the data is malformed.
    """
    found: dict[str, str] = {}
    while data:
        length = data.partition(b" ")[0]
        size = int(length)
        key, separator, value = data[len(length) + 1 : size].partition(b"=")
        if not 0 < size <= len(data) or not separator or not value.endswith(b"\n"):
            raise ValueError("a malformed record")
        name = key.decode("utf-8", "surrogateescape")
        if name in ("path", "size") or name.startswith("GNU.sparse"):
            found[name] = value[:-1].decode("utf-8", "surrogateescape")
        data = data[size:]
    if not found.get("size", "0").isdecimal():
        raise ValueError("a size that is not a number")
    return found


def _unsafe(name: str) -> str:
    """Return the problem of a name, if any. No file ever gets the name, but a key that looks like a path might be used as one."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name):
        return "is an absolute path"
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return "leaves its folder"
    if any(ord(letter) < 32 for letter in name):
        return "contains control characters"
    return "" if name else "has no name"
