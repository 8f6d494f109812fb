"""Scans in ranges: several processes, interruption, a killed worker, other ranks, and folders that cannot be written."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omnimask.data import scans
from omnimask.data.column_files import compact, join_columns, read_columns
from omnimask.data.scans import Columns, RangeScan
from omnimask.data.worker_processes import in_processes
from omnimask.errors import RunStopped

TOTAL = 23


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "RANGE", 4)
    monkeypatch.setattr(scans, "_PATIENCE", -1.0)
    monkeypatch.setattr(scans, "cores_per_rank", lambda: 2)


def squares(numbers: range) -> Columns:
    return {"square": np.array(numbers, np.int64) ** 2, "process": np.full(len(numbers), os.getpid())}


def scan_of(work: Callable[[range], Columns], folder: Path) -> RangeScan:
    return RangeScan(work, TOTAL, folder / "ranges", "squaring")


def column(scan: RangeScan, name: str = "square") -> list[int]:
    return np.concatenate([found[name] for found in scan]).tolist()


SQUARES = [number**2 for number in range(TOTAL)]


def test_one_range_here_and_the_others_in_processes(tmp_path: Path) -> None:
    scan = scan_of(squares, tmp_path)
    scan.run()
    assert column(scan) == SQUARES
    processes = column(scan, "process")
    assert processes[:4] == [os.getpid()] * 4 and os.getpid() not in processes[4:]
    assert len(list((tmp_path / "ranges").iterdir())) == 6
    scan.remove()
    assert not list(tmp_path.iterdir())


def test_a_finished_range_is_never_scanned_again(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()

    def stops_at(last: int) -> Callable[[range], Columns]:
        def work(numbers: range) -> Columns:
            if numbers.start > last:
                raise RuntimeError(f"stopped at {numbers.start}")
            (calls / f"{numbers.start}-{last}").touch()
            return squares(numbers)

        return work

    with pytest.raises(RuntimeError, match=r"stopped at (12|16|20)"):
        scan_of(stops_at(8), tmp_path).run()
    done = {file.name.partition("-")[0] for file in calls.iterdir()}
    assert "0" in done and len(done) < 6
    scan = scan_of(stops_at(TOTAL), tmp_path)
    scan.run()
    assert column(scan) == SQUARES
    assert sorted(int(file.name.partition("-")[0]) for file in calls.iterdir()) == list(range(0, TOTAL, 4))


def test_a_killed_worker_stops_the_scan_and_its_range_is_absent(tmp_path: Path) -> None:
    def work(numbers: range) -> Columns:
        if numbers.start == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return squares(numbers)

    with pytest.raises(RunStopped, match=r"squaring: worker process \d+ died \(exit code -9\)"):
        scan_of(work, tmp_path).run()
    assert not (tmp_path / "ranges" / "000002.npz").exists()
    scan = scan_of(squares, tmp_path)
    scan.run()
    assert column(scan) == SQUARES


def test_ranks_share_the_work_of_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "cores_per_rank", lambda: 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    order: list[int] = []

    def work(numbers: range) -> Columns:
        order.append(numbers.start)
        (tmp_path / "ranges").mkdir(exist_ok=True)
        if len(order) == 2:  # meanwhile another rank finishes a range
            with (tmp_path / "ranges" / "000000.npz").open("wb") as stream:
                np.savez(stream, **squares(range(4)))  # pyright: ignore[reportArgumentType]
        return squares(numbers)

    scan = scan_of(work, tmp_path)
    scan.run()
    assert order == [12, 16, 20, 4, 8]
    assert column(scan) == SQUARES


def test_a_damaged_range_is_scanned_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan_of(squares, tmp_path).run()
    (tmp_path / "ranges" / "000001.npz").write_bytes(b"rubbish")
    (tmp_path / "ranges" / "000002.npz").unlink()
    assert column(scan_of(squares, tmp_path)) == SQUARES
    assert "000001.npz cannot be read" in caplog.text


@pytest.mark.parametrize("num_held", [0, 2, 6])
def test_ranges_are_read_from_files_where_memory_does_not_hold_them(
    tmp_path: Path, num_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "_HELD_BYTES", num_held * 4 * 16)  # two columns of four numbers
    scan = scan_of(squares, tmp_path)
    scan.run()
    assert column(scan) == SQUARES
    assert len(scan._in_memory) == num_held


def test_results_stay_in_memory_without_a_writable_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "ranges").write_text("no folder")
    scan = scan_of(squares, tmp_path)
    with caplog.at_level(logging.WARNING):
        scan.run()
    assert column(scan) == SQUARES
    assert len([record for record in caplog.records if "are not cached" in record.message]) == 1
    folder = tmp_path / "ranges" / "columns"
    columns = join_columns(lambda: ({"square": compact(found["square"])} for found in scan), folder, "squares")
    assert columns["square"].tolist() == SQUARES


def test_joined_columns_are_mapped_in_the_smallest_type(tmp_path: Path) -> None:
    parts: list[Columns] = [{"a": compact([1, 2]), "b": compact([])}, {"a": compact([300]), "b": compact([7])}]
    joined = join_columns(lambda: iter(parts), tmp_path / "columns", "numbers")
    assert isinstance(joined["a"].base, np.memmap) and joined["a"].dtype == np.uint16 and joined["b"].dtype == np.uint8
    again = read_columns(tmp_path / "columns", "numbers")
    assert again is not None and again["a"].tolist() == [1, 2, 300] and again["b"].tolist() == [7]
    assert read_columns(tmp_path / "others", "numbers") is None
    assert sorted(file.name for file in tmp_path.iterdir()) == ["columns"]


def test_an_exception_of_a_worker_shows_where_it_was_raised() -> None:
    def fail(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError) as caught:
        list(in_processes(fail, [1, 0], 1, "dividing"))
    assert "1 // number" in str(caught.value.__cause__)


def test_results_come_with_their_inputs_and_workers_end_with_the_iterator() -> None:
    found = in_processes(lambda number: (number * 2, os.getpid()), range(5), 2, "doubling")
    number, (double, process) = next(found)
    assert double == 2 * number
    found.close()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
