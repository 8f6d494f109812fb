"""English from Python's own documentation: what is taken, in which order, the cache, libraries without sources."""

from __future__ import annotations

import json
import logging
import sys
import zipfile
from pathlib import Path

import pytest

from omnimask.interfaces import Context, Dataset
from omnimask.testing import DatasetContract
from omnimask_datasets import documentation
from omnimask_datasets.documentation import collect, library
from omnimask_datasets.english import English

LIBRARY = {
    "pydoc_data/topics.py": 'topics = {"loops": "A loop repeats.\\n\\nwhile_stmt ::= x", "assert": "It checks.\\n"}',
    "b/__init__.py": '"""Module b.\n\nA loop   repeats.\n"""\nraise ImportError("never run")',
    "b/inner.py": (
        'class First:\n    """Is first.\n\n    >>> 1\n    """\n    def f(self):\n        "Method f."\n\ndef g():\n    "Function g."'
    ),
    "a.py": '"Module a."\nx = "no docstring"',
    "empty.py": "x = 1",
    "broken.py": "def",
    "test/support.py": '"A test."',
    "site-packages/other.py": '"Not the library."',
    "notes.txt": "No module.",
}
EXPECTED = {
    "topics/assert": "It checks.",
    "topics/loops": "A loop repeats.",
    "modules/a.py": "Module a.",
    "modules/b/__init__.py": "Module b.",
    "modules/b/inner.py": "Is first.\n\nMethod f.\n\nFunction g.",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(cache))


class TestEnglish(DatasetContract):
    def dataset(self) -> Dataset:
        return English(Context())


def test_it_is_english_and_enough_to_learn_from(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))
    with caplog.at_level(logging.INFO):
        dataset = English(Context())
    texts = [dataset[index]["text"] for index in range(len(dataset))]
    assert sum(map(len, texts)) > 1_000_000
    assert sum(text.count(" the ") for text in texts) > 10_000
    assert "topics/assert" in dataset.names
    assert not any(">>> " in text for text in texts)
    paragraphs = [paragraph for text in texts for paragraph in text.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    assert dataset.fingerprint() in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        English(Context())
    assert not caplog.text  # what was said once is said no more


def test_documents_are_topics_and_modules_in_order_and_nothing_comes_twice(tmp_path: Path) -> None:
    before = set(sys.modules)
    found = collect(write(tmp_path, LIBRARY))
    assert found == EXPECTED
    assert list(found) == list(EXPECTED)
    assert not (set(sys.modules) - before) & {"b", "a", "b.inner"}


def test_a_library_in_a_zip_file_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for member, text in LIBRARY.items():
            archive.writestr(member, text)
    monkeypatch.setattr(documentation.sysconfig, "get_path", lambda _: str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / name)])
    assert library() == tmp_path / name
    assert collect(library()) == EXPECTED


def test_without_sources_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "compiled.zip", "w") as archive:
        archive.writestr("os.pyc", b"")
    with pytest.raises(ValueError, match=r"compiled.zip has no sources; .* install Python with its sources"):
        collect(tmp_path / "compiled.zip")
    monkeypatch.setattr(documentation.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ValueError, match="no standard library in"):
        library()


@pytest.mark.parametrize("damage", ["{", "[]", '{"hash": "x", "documents": {"a": "b"}}', '{"hash": "x", "documents": [1]}'])
def test_the_cache_is_used_and_a_damaged_one_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))
    source = write(tmp_path / "library", LIBRARY)
    monkeypatch.setattr("omnimask_datasets.english.library", lambda: source)
    before = English(Context())
    write(source, {"a.py": '"Another module a."'})
    assert English(Context()).texts == before.texts
    (file,) = (tmp_path / "cache").rglob("*.json")
    assert json.loads(file.read_text())["hash"] == before.fingerprint()
    file.write_text(damage)
    assert "Another module a." in English(Context()).texts
    assert "is damaged; collecting its texts again" in caplog.text
