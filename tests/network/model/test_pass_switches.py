"""Compilation, bf16 and recomputation of activations with several networks and passes: a step is the same, or as near as bf16."""

from __future__ import annotations

import itertools
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnimask.builder.build import Built, build
from omnimask.components.encoders.average import Average
from omnimask.data.planner import Cursor
from omnimask.interfaces import MaskedBatch
from omnimask.network.model import Output
from omnimask.recipe import load_recipe
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.devices.precision import Precision
from omnimask.training.devices.switches import checkpoint_activations, compile_blocks
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer

sys.path.insert(0, str(Path(__file__).parents[2]))
from toys.conftest import RECIPES, toy_registry

REGISTRY = toy_registry()
NAMES = ["signal_latent", "words_corrected", "words_mirrored", "pairs_stacked"]
CPU = torch.device("cpu")
CONSTANT = "train.schedule={name: constant}"


def made(name: str, *changes: str) -> tuple[Built, MaskedBatch]:
    built = build(load_recipe(RECIPES / f"{name}.yaml", changes, registry=REGISTRY))
    batch = built.pipeline(built.planner().step(0, Cursor()).places).batch
    assert batch is not None
    return built, batch


def gradients(model: nn.Module, batch: MaskedBatch, precision: str = "fp32") -> tuple[Output, dict[str, Tensor]]:
    model.train()
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with Precision(precision, CPU).autocast():  # pyright: ignore[reportArgumentType]
        output = model(batch)
    output.loss.backward()
    return output, {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Relative, of all gradients together."""
    assert found.keys() == expected.keys()
    difference = sum(float((found[name] - expected[name]).square().sum()) for name in expected)
    return (difference / sum(float(part.square().sum()) for part in expected.values())) ** 0.5


@pytest.fixture
def without_inductor(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Blocks are traced and differentiated ahead of time, without a C++ compiler. Returns the compiled modules."""
    compiled: list[nn.Module] = []
    plain = nn.Module.compile

    def traced(module: nn.Module, **options: Any) -> None:
        compiled.append(module)
        plain(module, **options, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", traced)
    return compiled


@pytest.mark.parametrize("name", NAMES)
def test_compiled_blocks_give_the_same_gradients(name: str, without_inductor: list[nn.Module]) -> None:
    built, batch = made(name)
    _, expected = gradients(built.model, batch)
    compile_blocks(built.model)
    networks = built.model.networks.values()
    assert all(any(part in without_inductor for part in network.modules()) for network in networks)
    _, found = gradients(built.model, batch)
    assert distance(found, expected) < 1e-6


def test_a_compiled_run_has_the_same_teacher(tmp_path: Path, without_inductor: list[nn.Module]) -> None:
    """A teacher follows compiled blocks, too."""

    def after_training(switch: str) -> dict[str, Tensor]:
        built, _ = made("signal_latent", "train.steps=4", "train.validate_every=4", CONSTANT, f"train.compile={switch}")
        data = TrainingData(lambda cursor, number: built.loader(cursor, number), built.validation_batches)
        context = RunContext(RunDirectory(tmp_path / switch), CPU, 0, show=False)
        Trainer(built.model, data, built.recipe.train, context).fit()
        return {name: part.detach() for name, part in built.model.networks["teacher"].named_parameters()}

    expected, found = after_training("false"), after_training("true")
    assert without_inductor
    assert distance(found, expected) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_near_fp32(name: str) -> None:
    """Losses are finite, and no gradient is missing."""
    built, batch = made(name)
    expected_output, expected = gradients(built.model, batch)
    output, found = gradients(built.model, batch, "bf16")
    assert torch.isfinite(output.loss) and all(bool(torch.isfinite(part).all()) for part in found.values())
    assert 1e-5 < distance(found, expected) < 0.1
    assert float(output.loss.detach()) == pytest.approx(float(expected_output.loss.detach()), rel=0.02)
    assert {part.dtype for part in built.model.parameters()} == {torch.float32}


def test_bf16_reaches_weights_that_an_untrained_pass_used_before() -> None:
    """One network in both passes: casts of its weights without gradient are not kept for the pass with gradient."""
    probe = ("views={shown: {corruptor: {name: keep}}}", "passes=[{name: probe, view: shown}]")
    built, batch = made("words_in_place", *probe)
    _, expected = gradients(built.model, batch)
    _, found = gradients(built.model, batch, "bf16")
    assert 1e-5 < distance(found, expected) < 0.1


def test_a_teacher_stays_fp32_in_a_run_in_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps are smaller than the spacing of bf16 numbers: half of them would be lost."""
    built, _ = made(
        "signal_latent",
        "train.steps=6",
        "train.validate_every=6",
        CONSTANT,
        "train.precision=bf16",
        "encoders.teacher.decay=0.9999",
    )
    teacher = built.model.networks["teacher"]
    before = [part.detach().clone() for part in teacher.parameters()]
    seen: list[Tensor] = []
    plain = Average.after_update

    def noted(self: Average, progress: float) -> None:
        plain(self, progress)
        seen.append(next(iter(self.encoder.parameters())).detach().clone())

    monkeypatch.setattr(Average, "after_update", noted)
    data = TrainingData(lambda cursor, number: built.loader(cursor, number), built.validation_batches)
    Trainer(built.model, data, built.recipe.train, RunContext(RunDirectory(tmp_path / "run"), CPU, 0, show=False)).fit()
    assert {part.dtype for part in teacher.parameters()} == {torch.float32} and len(seen) == 6
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(seen))
    now = list(teacher.parameters())
    is_moved = torch.cat([(one != other).flatten() for one, other in zip(now, before, strict=True)])
    is_moved_in_bf16 = torch.cat([(a.bfloat16() != b.bfloat16()).flatten() for a, b in zip(now, before, strict=True)])
    assert float(is_moved.float().mean()) > 0.5 > 10 * float(is_moved_in_bf16.float().mean())


@pytest.mark.parametrize("name", NAMES)
def test_recomputed_activations_give_the_same_gradients(name: str) -> None:
    built, batch = made(name)
    _, expected = gradients(built.model, batch)
    checkpoint_activations(built.model)
    _, found = gradients(built.model, batch)
    assert distance(found, expected) < 1e-6


def test_recomputed_blocks_with_tapped_mlps_give_the_same_gradients() -> None:
    """Gradients flow through the tapped outputs themselves, with stochastic depth; blocks run again for the backward pass."""
    built, batch = made("signal_latent", "encoder.drop_path=0.3")
    network = built.model.networks["main"].train()
    stream = batch.views["main"].context
    calls: list[int] = []
    for number, block in enumerate(network.encoder.stack.blocks):
        block.norm_mlp.register_forward_pre_hook(partial(lambda number, *_: calls.append(number), number))

    def tapped() -> dict[str, Tensor]:
        network.zero_grad(set_to_none=True)
        calls.clear()
        torch.manual_seed(0)
        encoded = network(stream, batch, mlps=(2, 3), layers=(1,))
        generator = torch.Generator().manual_seed(1)
        parts = [encoded.mlps[2], encoded.mlps[3], encoded.layers[1], encoded.features.data]
        torch.stack([(part * torch.randn(part.shape, generator=generator)).sum() for part in parts]).sum().backward()
        return {name: part.grad.clone() for name, part in network.named_parameters() if part.grad is not None}

    expected = tapped()
    assert calls == [0, 1, 2]
    checkpoint_activations(built.model)
    found = tapped()
    assert sorted(calls) == [0, 0, 1, 1, 2, 2]
    assert distance(found, expected) < 1e-6
