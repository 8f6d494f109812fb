"""Running out of memory stops a run with the knob to turn, and its checkpoints stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.errors import RunStopped
from omnimask.training.devices.memory import is_out_of_memory

ON_HOST = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(ON_HOST),
    RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
    MemoryError(),
]


def fail_at(step: int, error: BaseException, *, micro: int = 2) -> Callable[[Tensor], Tensor]:
    """A poison of the tiny model's loss: raises in the first micro-batch of a step, counted from 1; validation is let through."""
    calls = 0

    def poison(loss: Tensor) -> Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        if calls > (step - 1) * micro:
            raise error
        return loss

    return poison


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_knob_is_named_and_the_checkpoint_stays(runs, tiny, error: Exception) -> None:
    model = tiny()
    model.poison = fail_at(8, error)
    trainer = runs.trainer(model=model)
    with pytest.raises(RunStopped, match="out of memory in step 8") as raised:
        trainer.fit()
    message = str(raised.value)
    assert "a micro-batch had 14 tokens, 4 samples;" in message
    assert "set train.micro_batch_tokens=7 (gradients stay the same), or train.activation_checkpointing=true" in message
    assert (str(error) or "MemoryError") in message
    assert raised.value.__cause__ is error
    assert [path.name for path in trainer.checkpoints.paths()][-1] == "step-00000006"
    assert '"status": "stopped"' in trainer.directory.summary.read_text()
    again = runs.trainer(model=tiny())
    assert again.restore() is not None
    assert again.fit()["step"] == 12


def test_what_the_model_refuses_ends_the_run_with_what_it_says(runs, tiny, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny()
    model.poison = fail_at(8, ValueError("field 'kind' reaches 5, and types: 3 end before; raise types"))
    trainer = runs.trainer(model=model)
    with pytest.raises(RunStopped, match="a part of the model rejects step 8: field 'kind' reaches 5,"):
        trainer.fit()
    assert '"status": "stopped"' in trainer.directory.summary.read_text()
    assert "test_memory.py" in (trainer.directory.logs / "rank0.log").read_text()
    assert runs.trainer(model=tiny()).restore() is not None


def test_one_sample_cannot_be_cut_further(runs, tiny, stream) -> None:
    model = tiny()
    model.poison = fail_at(1, MemoryError(), micro=8)
    with pytest.raises(RunStopped, match=r", 1 sample; set train\.activation_checkpointing=true \(slower\)") as raised:
        runs.trainer(model=model, stream=stream(12, micro=8)).fit()
    assert "micro_batch_tokens" not in str(raised.value)


@pytest.mark.parametrize(
    ("slots", "told"), [(1.0, None), (1.04, None), (1.83, "and a token costs 1.8 slots of the encoder, because several")]
)
def test_several_views_are_named_as_the_cause(runs, tiny, slots: float, told: str | None) -> None:
    model = tiny()
    model.poison = fail_at(1, MemoryError())
    seen: list[int] = []
    cost = {"slots_per_token": lambda batch: seen.append(batch.num_tokens) or slots}
    with pytest.raises(RunStopped, match=r"11 tokens, 4 samples.*set train\.micro_batch_tokens=5 ") as raised:
        runs.trainer(model=model, trainer_options=cost).fit()
    assert seen == [11]
    assert (
        "slots" not in str(raised.value) if told is None else f"a micro-batch had 11 tokens, 4 samples, {told}" in str(raised.value)
    )


def test_where_no_knob_is_left(runs, tiny, stream, monkeypatch) -> None:
    model = tiny()
    model.poison = fail_at(1, MemoryError(), micro=8)
    monkeypatch.setattr("omnimask.training.setup.checkpoint_activations", lambda model: None)
    with pytest.raises(RunStopped, match="a smaller model, or a device with"):
        runs.trainer(model=model, stream=stream(12, micro=8), activation_checkpointing=True).fit()


def test_in_validation(runs, tiny) -> None:
    model = tiny()

    def poison(loss: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            raise MemoryError
        return loss

    model.poison = poison
    with pytest.raises(RunStopped, match=r"in the validation after step 4: lower train\.micro_batch_tokens \(now auto\)"):
        runs.trainer(model=model).fit()


def test_other_errors_stay_what_they_are(runs, tiny) -> None:
    model = tiny()
    model.poison = fail_at(2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        runs.trainer(model=model).fit()


def test_what_torch_and_numpy_really_raise() -> None:
    for allocate in (lambda: torch.empty(2**60), lambda: np.empty(2**45)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            allocate()
        assert is_out_of_memory(raised.value), raised.value
