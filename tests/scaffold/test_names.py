"""What a new plugin may be called, and that it is written as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask import scaffold
from omnimask.cli import main
from omnimask.errors import UserError
from omnimask.registry import discover

Distribution = Callable[..., Path]


def refusal(name: str, folder: Path, kind: str = "modality") -> str:
    with pytest.raises(UserError) as info:
        scaffold.new_plugin(name, kind, folder)
    assert not any(folder.iterdir())
    return str(info.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Seismic Waves", "'seismic-waves' is valid"),
        ("", "is not a valid plugin name"),
        ("3d", "'d' is valid"),
        ("a--b", "'a-b' is valid"),
        ("-a", "starting with a letter"),
        ("a.b", "joined by - or _"),
        ("../up", "'up' is valid"),
        ("wellenlänge", "lower-case letters"),
        ("x" * 31, "30 characters at most"),
        ("omnimask-seismic", "drop 'omnimask' and use 'seismic'; the package will be omnimask-seismic"),
        ("class", "is a Python keyword"),
        ("match", "is a Python keyword"),
        ("image", "plugin 'image' is already installed; taken: "),
        ("core", "already"),
        ("datasets", "already"),
    ],
)
def test_names_that_are_refused(name: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(name, tmp_path)


def test_a_kind_that_is_none(tmp_path: Path) -> None:
    assert "did you mean 'masker'?" in refusal("seismic", tmp_path, "maskr")


def test_what_is_installed_keeps_its_name(distribution: Distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a plugin that fails, one that OMNIMASK_PLUGINS leaves out, and a package without a plugin."""
    distribution("omnimask-broken", {}, "[omnimask]\nfaulty = no_such_module\n")
    distribution("omnimask-plain", {}, "")
    distribution("elsewhere", {"omnimask_module": ""}, "")
    folder = tmp_path / "out"
    folder.mkdir()
    assert "plugin 'faulty' is already installed" in refusal("faulty", folder)
    assert "omnimask-plain is already installed" in refusal("plain", folder)
    assert "omnimask-module is already installed" in refusal("module", folder)
    monkeypatch.setenv("OMNIMASK_PLUGINS", "core")
    discover(refresh=True)
    assert "plugin 'faulty' is already installed" in refusal("faulty", folder)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "omnimask-seismic").mkdir()
    with pytest.raises(UserError, match="already exists; choose another name, or another parent folder with --out"):
        scaffold.new_plugin("seismic", "modality", tmp_path)
    (tmp_path / "omnimask-other").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="exists"):
        scaffold.new_plugin("other", "modality", tmp_path)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write_text = Path.write_text

    def full(path: Path, *args: Any, **options: Any) -> int:
        written.append(path)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return write_text(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    assert "No space left on device" in refusal("seismic", tmp_path)
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        scaffold.new_plugin("seismic", "modality", tmp_path / "file")


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_the_command_writes_a_package_and_says_where(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "radio-waves", "--kind", kind, "--out", "some/where"]) == 0
    captured = capsys.readouterr()
    folder = Path(captured.out.strip())
    assert folder == Path("some/where/omnimask-radio-waves")
    assert "omnimask pretrain radio-waves" in captured.err
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "README.md", "LICENSE", ".gitignore", "tests/test_conformance.py"} < files
    assert {"omnimask_radio_waves/plugin.py", "omnimask_radio_waves/recipes/quickstart.yaml"} < files
    text = "".join((folder / name).read_text(encoding="utf-8") for name in files)
    assert "$" not in text.replace("\n$ ", "\n") and "template" not in text
    assert [path.name for path in (tmp_path / "some" / "where").iterdir()] == ["omnimask-radio-waves"]
    assert main(["new-plugin", "radio-waves", "--out", "some/where"]) == 2
