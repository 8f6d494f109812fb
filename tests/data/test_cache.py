"""Files of the cache are complete or absent; what code read the data; progress of long scans."""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from omnimask.cache import code_digest, keep, keep_array, kept_array
from omnimask.data.progress_lines import watched


def fail(stream: BinaryIO) -> None:
    stream.write(b"half")
    raise KeyboardInterrupt


def test_a_file_is_complete_or_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "deep" / "file"
    with pytest.raises(KeyboardInterrupt):
        keep(file, fail, "numbers")
    assert list(file.parent.iterdir()) == []
    keep(file, lambda stream: stream.write(b"whole"), "numbers")
    assert file.read_bytes() == b"whole"
    keep(file / "below", lambda stream: stream.write(b""), "numbers")
    assert "numbers are not cached" in caplog.text


def test_an_array_that_does_not_fit_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.npy"
    assert kept_array(file, lambda _: True, "numbers") is None
    assert not caplog.records
    keep_array(file, np.arange(3), "numbers")
    found = kept_array(file, lambda array: len(array) == 3, "numbers")
    assert found is not None and found.tolist() == [0, 1, 2]
    assert kept_array(file, lambda array: len(array) == 4, "numbers") is None
    np.save(file, np.arange(3.0))
    assert kept_array(file, lambda _: True, "numbers") is None
    assert caplog.text.count("do not fit the data set and are recomputed") == 2


def test_what_read_the_data_is_their_code_and_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("made_up")
    package.__file__, package.__path__ = str(tmp_path / "__init__.py"), [str(tmp_path)]
    (tmp_path / "__init__.py").write_text("one = 1")
    monkeypatch.setitem(sys.modules, "made_up", package)

    class Plain:
        __module__ = "made_up.tokenize.plain"

    class Holds(Plain):
        __module__ = "made_up"
        vocabulary = "a b c"

        def fingerprint(self) -> str:
            return self.vocabulary

    before = code_digest(Plain(), Holds())
    assert code_digest(Plain(), Holds()) == before
    assert code_digest(Plain()) != before
    monkeypatch.setattr(Holds, "vocabulary", "a b d")
    changed = code_digest(Plain(), Holds())
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "beside.py").write_text("two = 2")
    assert len({before, changed, code_digest(Plain(), Holds())}) == 3


def test_a_long_scan_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("omnimask.data.progress_lines.time.monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO):
        assert list(watched(range(8), "counting")) == list(range(8))
    assert [record.getMessage() for record in caplog.records] == [
        "counting: 2 of 8, about 36 seconds left",
        "counting: 5 of 8, about 14 seconds left",
    ]
