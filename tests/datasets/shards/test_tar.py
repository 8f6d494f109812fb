"""A walk over headers finds every member where tarfile finds it, and every kind of damage; hostile members are refused."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask_datasets.shards import tar_headers
from omnimask_datasets.shards.tar_headers import Member, Problem, Walk

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
names = st.text("abcäß東/ .", min_size=1, max_size=30).map(lambda text: f"x{text}".strip("/. ").replace("//", "/") + ".txt")


def walk(path: Path) -> list[Member | Problem]:
    with path.open("rb") as file:
        return list(Walk(file.fileno()))


def problems(path: Path) -> list[Problem]:
    return [found for found in walk(path) if isinstance(found, Problem)]


@given(
    st.lists(st.tuples(names, st.binary(max_size=1500)), unique_by=lambda member: member[0], max_size=8), st.sampled_from(FORMATS)
)
def test_members_lie_where_tarfile_finds_them(tmp_path_factory: Any, members: list[tuple[str, bytes]], form: int) -> None:
    path = tmp_path_factory.mktemp("walk") / "a.tar"
    with tarfile.open(path, "w", format=form) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5
            file.addfile(info, io.BytesIO(data))
    found = walk(path)
    with tarfile.open(path) as file:
        assert found == [Member(info.name, info.offset_data, info.size) for info in file]
    assert [path.read_bytes()[m.offset : m.offset + m.size] for m in found if isinstance(m, Member)] == [d for _, d in members]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_folders(tars: Any, tmp_path: Path, form: int) -> None:
    long = "folder/" * 40 + "file.txt"
    path = tars.write(tmp_path / "a.tar", [(long, b"abc"), ("short.txt", b"d")], format=form)
    with tarfile.open(path, "a") as file:
        folder = tarfile.TarInfo("empty")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
    assert [found.name for found in walk(path) if isinstance(found, Member)] == [long, "short.txt"]
    assert not problems(path)


@given(st.data())
def test_a_tar_that_was_cut_off_anywhere_is_noticed(tmp_path_factory: Any, tars: Any, data: st.DataObject) -> None:
    path = tars.write(tmp_path_factory.mktemp("cut") / "a.tar", tars.samples(1, 2, 3))
    whole = [found for found in walk(path) if isinstance(found, Member)]
    kept = data.draw(st.integers(0, whole[-1].offset + 512 + 1023))  # the rest is filling behind the end mark
    os.truncate(path, kept)
    found = walk(path)
    assert isinstance(found[-1], Problem) and found[-1].is_fatal
    assert found[-1].kind in ("cut off", "no end mark")
    assert found[:-1] == whole[: len(found) - 1]
    assert all(member.offset + member.size <= kept for member in found[:-1] if isinstance(member, Member))


def test_a_cut_between_two_members_names_the_place(tars: Any, tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    os.truncate(path, 2048)
    (problem,) = problems(path)
    assert str(problem) == "no end mark at byte 2,048: the file ends after 0001.cls, so it may be truncated"


def test_a_damaged_header_ends_the_walk(tars: Any, tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    data = bytearray(path.read_bytes())
    data[1024 + 3] ^= 0x10
    path.write_bytes(data)
    (problem,) = problems(path)
    assert str(problem) == "damaged header at byte 1,024: bad checksum, after 0001.txt"


def test_data_behind_the_end_mark_are_noticed(tars: Any, tmp_path: Path) -> None:
    one, two = (tars.write(tmp_path / name, tars.samples(number)) for number, name in enumerate("ab"))
    joined = tmp_path / "c.tar"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    (problem,) = problems(joined)
    assert problem.kind == "data behind the end mark"


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [
        (tarfile.SYMTYPE, "a.txt", "a.txt is a symbolic link"),
        (tarfile.LNKTYPE, "a.txt", "a.txt is a hard link"),
        (tarfile.CHRTYPE, "a.txt", "a.txt is a device"),
        (tarfile.BLKTYPE, "a.txt", "a.txt is a device"),
        (tarfile.FIFOTYPE, "a.txt", "a.txt is a pipe"),
        (tarfile.REGTYPE, "../../a.txt", "'../../a.txt' leaves its folder"),
        (tarfile.REGTYPE, "a/../../b.txt", "leaves its folder"),
        (tarfile.REGTYPE, "..\\a.txt", "leaves its folder"),
        (tarfile.REGTYPE, "/etc/a.txt", "'/etc/a.txt' is an absolute path"),
        (tarfile.REGTYPE, "C:\\a.txt", "is an absolute path"),
        (tarfile.REGTYPE, "a\nb.txt", "contains control characters"),
    ],
)
def test_hostile_members_are_refused_and_the_others_found(tars: Any, tmp_path: Path, kind: bytes, name: str, what: str) -> None:
    found = walk(tars.with_member(tmp_path / "a.tar", kind, name, linkname="/etc/passwd"))
    first, problem, last = found
    assert isinstance(problem, Problem) and problem.kind == "refused member"
    assert what in problem.message
    assert [m.name for m in (first, last) if isinstance(m, Member)] == ["0001.txt", "0003.txt"]


def raw(**header: Any) -> bytes:
    """A header block by hand."""
    info = tarfile.TarInfo("a.txt")
    for name, value in header.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_header_that_claims_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        with path.open("wb") as file:
            file.write(raw(type=kind, size=2**33))
            file.truncate(2**33 + 4096)  # sparse: takes no room
        (problem,) = problems(path)
        assert "a header has 8,589,934,592 bytes; the limit is 65,536" in problem.message


def test_a_member_larger_than_what_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_headers, "LARGEST_MEMBER", 100)
    path = tmp_path / "a.tar"
    path.write_bytes(raw(size=101) + bytes(512 + 1024))
    (problem,) = problems(path)
    assert problem.message == "a.txt has 101 bytes; the limit is 100"


@pytest.mark.parametrize(
    ("records", "what"),
    [
        (b"31 GNU.sparse.realsize=1000000\n", "has GNU.sparse.realsize"),
        (b"13 size=-5000\n", "cannot be read"),
        (b"99999 path=a\n", "cannot be read"),
        (b"nonsense", "cannot be read"),
        (b"0 path=a\n", "cannot be read"),
        (b"-9 path=a\n", "cannot be read"),
    ],
)
def test_strange_extended_headers_are_refused(tmp_path: Path, records: bytes, what: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(raw(type=tarfile.XHDTYPE, size=len(records)) + records.ljust(512, b"\0") + raw(size=3) + bytes(2048))
    (problem,) = problems(path)
    assert what in problem.message


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes((raw(type=tarfile.GNUTYPE_LONGLINK, size=1) + b"x".ljust(512, b"\0")) * 50)
    (problem,) = problems(path)
    assert "more than 8 headers" in problem.message


def test_global_headers_may_only_comment(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for records, count in ((b"16 comment=abcd\n", 0), (b"16 path=all.txt\n", 1)):
        data = raw(type=tarfile.XGLTYPE, size=len(records)) + records.ljust(512, b"\0")
        path.write_bytes(data + raw(size=3) + b"abc".ljust(512, b"\0") + bytes(1024))
        assert len(problems(path)) == count


@given(st.binary(max_size=3000))
def test_no_bytes_are_more_than_a_problem(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "a.tar"
    path.write_bytes(data)
    assert problems(path)
