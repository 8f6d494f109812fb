"""An export is complete and equal, or it is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from omnimask.cli import main
from omnimask.errors import RunStopped, UserError
from omnimask.export import export_run, load_exported
from omnimask.export.weights import outputs
from omnimask.interfaces import Context, Exported, Exporter, Initializer, Trained
from omnimask.recipe import load_recipe
from omnimask.registry import Plugin, Registrar, Registry, discover
from omnimask.run.trained_run import choose_checkpoint
from omnimask.training.checkpoints.contents import read_weights

SMALL = ["train.steps=2", "train.batch_tokens=64", "train.checkpoint_every=1", "train.workers=0", "train.ema=0.5"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["pretrain", "image/digits", "--smoke", "--run", str(folder), *SMALL]) == 0
    return folder


def test_weights_and_recipe(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says what was compared; the folder alone makes the model again, with the averaged weights."""
    out = tmp_path / "out"
    assert main(["export", str(run), str(out), "--to", "safetensors"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "written by safetensors and read back; features and predictions are equal bit for bit" in captured.err
    assert sorted(path.name for path in out.iterdir()) == ["model.safetensors", "recipe.yaml"]
    loaded = load_exported(out)
    assert loaded.recipe == load_recipe(run / "recipe.yaml") and not loaded.model.training
    assert set(loaded.tokenizers) == set(loaded.specs) == {"image"}
    stored, exported = read_weights(choose_checkpoint(run, "best")), read_weights(out)
    assert stored.keys() == exported.keys()
    assert any(not torch.equal(stored[name], exported[name]) for name in stored)


def test_checkpoints_by_name(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), str(tmp_path / "a"), "--to", "safetensors", "--checkpoint", "step-00000001"]) == 0
    assert main(["export", str(run), str(tmp_path / "b"), "--to", "safetensors", "--checkpoint", "last"]) == 0
    first, last = read_weights(tmp_path / "a"), read_weights(tmp_path / "b")
    assert any(not torch.equal(first[name], last[name]) for name in first)
    assert main(["export", str(run), str(tmp_path / "c"), "--to", "safetensors", "--checkpoint", "step-3"]) == 2
    assert "no checkpoint 'step-3'" in capsys.readouterr().err and not (tmp_path / "c").exists()


def test_a_recipe_begins_with_an_export(run: Path, tmp_path: Path) -> None:
    from omnimask.builder.build import build

    export_run(run, "safetensors", tmp_path / "out")
    loaded = load_exported(tmp_path / "out")
    begun = build(load_recipe(run / "recipe.yaml", [f"init={{name: exported, path: {tmp_path / 'out'}}}", "seed=7"]))
    state = loaded.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in begun.model.state_dict().items())
    for option, reason in (("encoder.depth=1", "model lacks networks"), ("encoder.width=16", "encoder")):
        with pytest.raises(UserError, match=reason):
            build(load_recipe(run / "recipe.yaml", [f"init={{name: exported, path: {tmp_path / 'out'}}}", option]))
    with pytest.raises(UserError, match="does not exist"):
        build(load_recipe(run / "recipe.yaml", [f"init={{name: exported, path: {tmp_path / 'nowhere'}}}"]))


def test_folders_that_are_no_export(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains no recipe\.yaml;"):
        load_exported(tmp_path)
    export_run(run, "safetensors", tmp_path / "out")
    weights = tmp_path / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        load_exported(tmp_path / "out")


def test_wrong_input_is_found_before_anything_is_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        ("--to", "safetensor"): "did you mean 'safetensors'?",
        ("--to", "safetensors", "--data", "path"): "have the form key=value,",
        ("--to", "safetensors", "--data", "nothing=1"): "data.nothing",
    }
    for options, reason in cases.items():
        assert main(["export", str(run), str(tmp_path / "out"), *options]) == 2
        assert reason in capsys.readouterr().err
    assert main(["export", str(tmp_path / "nowhere"), str(tmp_path / "out"), "--to", "safetensors"]) == 2
    assert main(["export", str(run), str(tmp_path / "no" / "out"), "--to", "safetensors"]) == 2
    assert main(["export", str(run), str(tmp_path / "out")]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")], ids=["folder", "file", "link"])
def test_nothing_is_written_over(
    make: Callable[[Path], Any], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    make(out)
    assert main(["export", str(run), str(out), "--to", "safetensors"]) == 2
    assert f"{out} already exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not (out.is_dir() and any(out.iterdir()))


# ---- exporters that fail --------------------------------------------------------------------------------------------------------


class Toy:
    """Writes a file, and ends as its subclass says."""

    format: ClassVar[str] = "toy"
    tolerance: ClassVar[float] = 1e-3

    def __init__(self, context: Context) -> None:
        assert set(context.specs) == set(context.modalities) == {"image"}

    def __call__(self, trained: Trained, folder: Path) -> Exported:
        assert not trained.model.training and outputs(trained.model, trained.batch) and "encoder:" in trained.recipe
        (folder / "half").mkdir()
        (folder / "half" / "file").write_text("half a model")
        return self.end()

    def end(self) -> Exported:
        return Exported("numbers", 1.0, 2000.0)


def toys(**ends: Callable[[], Exported] | BaseException) -> Registry:
    """Exporters by name."""
    registrar = Registrar(Plugin("toys", "toys", "1"))
    for name, end in ends.items():

        def act(self: Toy, end: Any = end) -> Exported:
            if isinstance(end, BaseException):
                raise end
            return end()

        registrar.add_exporter(name, type(name, (Toy,), {"end": act}))
    return Registry([registrar])


def good() -> Exported:
    return Exported("numbers", 1.0, 2000.0)


def test_the_first_that_accepts_writes(run: Path, tmp_path: Path) -> None:
    registry = toys(a=ValueError("no pictures here"), b=good, c=good)
    written = export_run(run, "toy", tmp_path / "out", registry=registry)
    assert written.exporter == "b" and written.checkpoint.startswith("step-") and written.tolerance == 1e-3
    assert "at most 1 apart (the largest is 2e+03)" in str(written)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "half" / "file").read_text() == "half a model"


def test_every_refusal_is_told(run: Path, tmp_path: Path) -> None:
    registry = toys(a=ValueError("no pictures here"), b=ValueError("nor there"))
    with pytest.raises(UserError) as info:
        export_run(run, "toy", tmp_path / "out", registry=registry)
    assert info.value.messages == ("this model cannot be written for toy", "a: no pictures here", "b: nor there")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda: Exported("numbers", 3.0, 2000.0), RunStopped),
        (lambda: Exported("numbers", float("nan"), 2000.0), RunStopped),
        (OSError(28, "No space left on device"), RunStopped),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("a bug"), RuntimeError),
    ],
    ids=["another model", "not a number", "full disk", "interrupted", "bug"],
)
def test_half_an_export_is_none(end: Any, error: type[BaseException], run: Path, tmp_path: Path) -> None:
    with pytest.raises(error) as info:
        export_run(run, "toy", tmp_path / "out", registry=toys(a=end))
    assert list(tmp_path.iterdir()) == []
    if isinstance(end, OSError):
        assert "No space left on device" in str(info.value) and "the partial export was removed" in str(info.value)
    elif error is RunStopped:
        assert "at most 2 is allowed" in str(info.value)


def test_a_killed_export_does_not_look_like_one(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last moment the folder has another name, and everything in it is on the disk when it gets its own."""
    out = tmp_path / "out"
    calls: list[str] = []

    def rename(source: Path, target: Path) -> None:
        calls.append(f"{source.name} -> {target.name}")
        assert (source / "half" / "file").exists() and not out.exists()

    monkeypatch.setattr("omnimask.training.checkpoints.durable_files._rename", rename)
    export_run(run, "toy", out, registry=toys(a=good))
    assert len(calls) == 1 and calls[0].startswith("out.partial-") and calls[0].endswith(" -> out")


def test_exporters_that_cannot_be_loaded(run: Path, tmp_path: Path) -> None:
    """They disturb no other; where no other has the format, the reason is told."""
    registrar = Registrar(Plugin("broken", "broken", "1"))
    registrar.add_exporter("broken", "omnimask_nowhere:Nothing", extra="nowhere")
    registrar.add_exporter("toy", type("Fine", (Toy,), {}))
    export_run(run, "toy", tmp_path / "out", registry=Registry([registrar]))
    with pytest.raises(UserError, match="omnimask_nowhere"):
        export_run(run, "other", tmp_path / "other", registry=Registry([registrar]))


def test_installed_components_are_what_they_say() -> None:
    for name in discover().names("exporter"):
        cls = discover().load("exporter", name)
        assert isinstance(cls(Context()), Exporter) and cls.tolerance >= 0 and cls.format
    for name in discover().names("initializer"):
        assert issubclass(discover().load("initializer", name), Initializer)
