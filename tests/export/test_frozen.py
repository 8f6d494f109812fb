"""Frozen networks: an earlier run as a teacher, its weights outside of checkpoints, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests.tiny_recipes import IMAGE
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.errors import UserError
from omnimask.export.frozen import Frozen
from omnimask.export.weights import load_exported
from omnimask.recipe import load_recipe
from omnimask.run.api import pretrain
from omnimask.training.checkpoints.contents import MODEL, read_weights, set_weights, write_weights
from omnimask.training.checkpoints.durable_files import DurableWriter

TEACHER = (
    "views={whole: {masker: {name: none}, corruptor: {name: keep}}}",
    "passes=[{name: teacher, view: whole, encoder: teacher}]",
    "predictors=[{name: decoder, width: 16, depth: 1, heads: 2, target: {name: features, of: teacher}}]",
)


def made(folder: Path, *changes: str) -> Built:
    file = folder / "recipe.yaml"
    file.write_text(IMAGE, encoding="utf-8")
    return build(load_recipe(file, changes))


def student(folder: Path, path: Path | str, *changes: str) -> Built:
    return made(folder, f"encoders={{teacher: {{name: frozen, path: {path}}}}}", *TEACHER, *changes)


def export(built: Built, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(built.recipe.to_yaml(), encoding="utf-8")
    with DurableWriter(folder / MODEL) as file:
        write_weights(built.model, file)
    return folder


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A folder with the weights of another seed."""
    return export(made(tmp_path, "seed=7"), tmp_path / "earlier")


def weights(built: Built, name: str) -> list[Tensor]:
    return list(built.model.networks[name].parameters())


def test_the_teacher_has_the_weights_of_the_earlier_run(tmp_path: Path, earlier: Path) -> None:
    built, theirs = student(tmp_path, earlier), load_exported(earlier)
    pairs = zip(weights(built, "teacher"), theirs.model.networks["main"].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not any(parameter.requires_grad for parameter in weights(built, "teacher"))
    assert not built.model.train().networks["teacher"].training
    before = weights(built, "teacher")[0].clone()
    built.model.settle()
    built.model.after_update(0.5)
    assert torch.equal(weights(built, "teacher")[0], before)


def test_checkpoints_contain_its_digest_alone(tmp_path: Path, earlier: Path) -> None:
    built = student(tmp_path, earlier)
    folder = export(built, tmp_path / "now")
    with safe_open(folder / MODEL, framework="pt") as file:
        assert [name for name in file.keys() if name.startswith("networks.teacher")] == ["networks.teacher.digest"]  # noqa: SIM118
    again = student(tmp_path, earlier, "seed=3")
    set_weights(again.model, read_weights(folder), folder)
    assert all(torch.equal(one, other) for one, other in zip(weights(built, "main"), weights(again, "main"), strict=True))
    assert torch.equal(weights(again, "teacher")[0], weights(built, "teacher")[0])
    assert torch.equal(weights(load_exported(folder), "main")[0], weights(built, "main")[0])  # pyright: ignore[reportArgumentType]


def test_other_frozen_weights_are_refused(tmp_path: Path, earlier: Path) -> None:
    folder = export(student(tmp_path, earlier), tmp_path / "now")
    export(made(tmp_path, "seed=8"), earlier)
    with pytest.raises(UserError, match=r"frozen network networks\.teacher has other weights than in the run"):
        set_weights(student(tmp_path, earlier).model, read_weights(folder), folder)


def test_without_a_path_it_is_the_main_network_as_it_starts(tmp_path: Path, earlier: Path) -> None:
    built = student(tmp_path, "null", f"init={{name: exported, path: {export(student(tmp_path, 'null', 'seed=5'), earlier)}}}")
    pairs = zip(weights(built, "teacher"), weights(built, "main"), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    other = student(tmp_path, "null", "seed=5")
    assert torch.equal(weights(built, "main")[0], weights(other, "main")[0])


def test_a_run_is_a_teacher_too(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(IMAGE, encoding="utf-8")
    pretrain(file, run=tmp_path / "run", show=False)
    built = student(tmp_path, tmp_path / "run")
    assert isinstance(built.model.networks["teacher"], Frozen)
    assert not torch.equal(weights(built, "teacher")[0], weights(built, "main")[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("modalities.image.tokenizer.patch_size=2",), "reads other tokens of 'image' than this recipe's tokenizer makes"),
        (("encoders.teacher.path=nowhere",), "nowhere"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, earlier: Path, changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        student(tmp_path, earlier, *changes)
