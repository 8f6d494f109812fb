from __future__ import annotations

import errno
import json
import os
import shutil

import pytest
import torch

from omnimask.errors import RunStopped, UserError
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import Checkpoints, Damaged, verify

PRIMITIVES = ("_write", "_sync", "_rename")


@pytest.fixture
def failing(monkeypatch):
    """``failing(n)``: the n-th change of the disk (from 0) fails as on a full disk; the counter is returned."""
    originals = {name: getattr(files, name) for name in PRIMITIVES}

    def install(number: int) -> dict[str, int]:
        seen = {"calls": 0}

        def wrap(original):
            def operation(*arguments):
                seen["calls"] += 1
                if seen["calls"] - 1 == number:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return original(*arguments)

            return operation

        for name, original in originals.items():
            monkeypatch.setattr(files, name, wrap(original))
        return seen

    def remove() -> None:
        for name, original in originals.items():
            monkeypatch.setattr(files, name, original)

    install.remove = remove
    return install


def test_a_failure_of_any_write_leaves_every_checkpoint_intact(runs, failing, fingerprint, lines) -> None:
    options = {"steps": 4, "checkpoint_every": 2, "validate_every": 2, "schedule": None}
    whole = runs.trainer("whole", **options)
    total = failing(-1)
    whole.fit()
    failing.remove()
    assert total["calls"] > 50
    for number in range(total["calls"]):
        name = f"run-{number}"
        trainer = runs.trainer(name, **options)
        failing(number)
        try:
            with pytest.raises(RunStopped, match=r"No space left on device \([\d,.]+ MB free there\)(.|\n)*omnimask resume"):
                trainer.fit()
        finally:
            failing.remove()
        left = [path.name for path in trainer.directory.path.rglob("*.tmp")]
        assert not left, (number, left)
        for path in trainer.checkpoints.paths():
            verify(path)
        again = runs.trainer(name, **options)
        again.restore()
        again.fit()
        assert fingerprint(again) == fingerprint(whole)
        assert lines(again.directory.path) == lines(whole.directory.path)
        assert again.checkpoints.best() is not None


def test_a_crash_in_the_middle_of_a_save_leaves_no_checkpoint(runs, monkeypatch, caplog) -> None:
    trainer = runs.trainer()
    trainer.fit()
    half = trainer.directory.checkpoints / "step-00000099.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert trainer.checkpoints.newest() == trainer.checkpoints.paths()[-1]
    again = runs.trainer(steps=13)
    again.restore()
    again.fit()
    assert not half.exists()


def damage(path, how: str) -> None:
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "training.pt", "manifest.json"])
def test_any_damage_is_found(runs, name, how, caplog) -> None:
    trainer = runs.trainer()
    trainer.fit()
    *_, older, newest = trainer.checkpoints.paths()
    damage(newest / name, how)
    with pytest.raises(Damaged, match=name):
        verify(newest)
    assert trainer.checkpoints.newest() == older
    assert f"damaged checkpoint ignored: {newest}" in caplog.text


def test_when_all_are_damaged_the_run_does_not_start_anew(runs) -> None:
    trainer = runs.trainer()
    trainer.fit()
    for path in trainer.checkpoints.paths():
        damage(path / "training.pt", "flipped")
    with pytest.raises(RunStopped, match="no intact checkpoint"):
        runs.trainer().restore()


def test_a_renamed_checkpoint_is_found(runs) -> None:
    trainer = runs.trainer()
    trainer.fit()
    path = trainer.checkpoints.paths()[-1]
    with pytest.raises(Damaged, match="is for step"):
        verify(path.rename(path.with_name("step-00000077")))


def test_a_newer_format_is_named(runs, monkeypatch) -> None:
    from omnimask.training.checkpoints import directory as checkpoint

    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    trainer = runs.trainer()
    trainer.fit()
    monkeypatch.undo()
    with pytest.raises(UserError, match="99"):
        runs.trainer().restore()


def test_the_newest_and_the_best_are_kept(runs) -> None:
    trainer = runs.trainer(steps=20, validate_every=20, checkpoint_every=1, keep_checkpoints=3)
    best = trainer.directory.checkpoints / "step-00000002"
    original = trainer.checkpoints.prune
    marked = []

    def prune() -> None:
        if best.exists() and not marked:
            marked.append(True)
            trainer.checkpoints.mark_best(best, 0.0)
            trainer.progress.best_loss = 0.0
        original()

    trainer.checkpoints.prune = prune
    trainer.fit()
    assert [path.name for path in trainer.checkpoints.paths()] == [f"step-{n:08d}" for n in (2, 18, 19, 20)]
    assert trainer.checkpoints.best() == best
    assert json.loads((trainer.directory.checkpoints / "best.json").read_text())["step"] == 2


def test_the_manifest_says_what_is_there(runs) -> None:
    trainer = runs.trainer(trainer_options={"plugins": {"omnimask-birds": "1.2"}})
    trainer.fit()
    path = trainer.checkpoints.paths()[-1]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == 2 and manifest["step"] == 12 and set(manifest["cursor"]) == {"epoch", "position"}
    assert set(manifest["files"]) == {file.name for file in path.iterdir()} - {"manifest.json"}
    assert manifest["versions"]["torch"] == torch.__version__.split("+")[0] or manifest["versions"]["torch"] == torch.__version__
    assert manifest["versions"]["omnimask-birds"] == "1.2"


def test_files_load_without_unpickling_code(runs) -> None:
    trainer = runs.trainer(precision="fp16")
    trainer.fit()
    state = torch.load(trainer.checkpoints.paths()[-1] / "training.pt", weights_only=True)
    assert set(state) == {"progress", "optimizer", "scaler", "ema_updates"}


def test_a_directory_with_other_things_is_read(tmp_path) -> None:
    for name in ("step-1", "step-00000001.tmp", "notes", "step-00000003.before-attempt-2"):
        (tmp_path / name).mkdir()
    assert Checkpoints(tmp_path).paths() == [] and Checkpoints(tmp_path).newest() is None
    assert Checkpoints(tmp_path / "absent").paths() == []


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_none_that_is_damaged(runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing is interrupted behind its first file, at every old checkpoint of the run."""
    remove = shutil.rmtree

    def interrupted(path, **options) -> None:
        if path.exists():
            (path / "manifest.json").unlink(missing_ok=True)
            raise KeyboardInterrupt

    trainer = runs.trainer("killed", steps=8, checkpoint_every=1, validate_every=8)
    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    monkeypatch.setattr(shutil, "rmtree", remove)
    checkpoints = Checkpoints(trainer.checkpoints.directory)
    assert len(checkpoints.paths()) >= 2
    for path in checkpoints.paths():
        verify(path)
    assert any(entry.name.endswith(".tmp") for entry in checkpoints.directory.iterdir())
    again = runs.trainer("killed", steps=8, checkpoint_every=1, validate_every=8)
    again.restore()
    again.fit()
    assert not any(entry.name.endswith(".tmp") for entry in checkpoints.directory.iterdir())
