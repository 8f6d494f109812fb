"""Cost of a recipe, measured on a few of its samples on the CPU. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from omnimask.builder.build import Built
from omnimask.data.planner import Cursor, StepPlan
from omnimask.data.training_indices import tokens_in
from omnimask.interfaces import Context, MaskedBatch, Run, Sample
from omnimask.network.model import MaskedModel, own_predictions
from omnimask.network.network import Network
from omnimask.training.devices.switches import checkpoint_activations
from omnimask.training.validation_cost import cost_share, num_validations


@dataclass(frozen=True)
class ValidationCost:
    """Cost of validation.

    Attributes:
        samples: scored samples of one validation, out of ``held_out``.
        tokens: tokens of one validation, before masking.
        batches: batches of one validation on one device.
        validations: number of validations in the run.
        share: their share of the run's work, in [0, 1).
    """

    samples: int
    held_out: int
    tokens: int
    batches: int
    validations: int
    share: float


@dataclass(frozen=True)
class Inspection:
    """Measured cost of a recipe.

    Attributes:
        parameters: parameters by part.
        num_trained: parameters that the optimizer changes.
        tokens_per_sample: smallest, mean and largest number, before masking.
        samples_per_step, tokens_per_step, micro_batches, flops: of one optimizer step.
        micro_batch_tokens: tokens per training micro-batch, before masking.
        slots_per_token: memory that a token costs, in slots of the encoder; :class:`omnimask.builder.micro_batches.TokenCost`.
        gradient_views: names of the views computed with gradients.
        memory: bytes by use, on one device.
        validation: cost of validations.
        not_exact: terms whose gradient depends on the division of a step into micro-batches.
        measured: names of the measured samples.
    """

    parameters: Mapping[str, int]
    num_trained: int
    num_samples: int
    num_held_out: int
    tokens_per_sample: tuple[int, float, int]
    samples_per_step: int
    tokens_per_step: int
    micro_batches: int
    micro_batch_tokens: int
    slots_per_token: float
    gradient_views: Sequence[str]
    steps_per_epoch: float
    epochs: float
    flops: float
    memory: Mapping[str, int]
    validation: ValidationCost | None
    not_exact: Sequence[str]
    measured: Sequence[str]


def inspect(built: Built, samples: Sequence[Sample], device: str) -> Inspection:
    """Count and measure the cost of a recipe.

    Args:
        built: the recipe's model on the CPU. Its weights stay unchanged.
        samples: a few training samples to measure.
        device: device type of the run, which determines ``micro_batch_tokens: auto``.
    """
    train = built.recipe.train
    if train.activation_checkpointing:
        checkpoint_activations(built.model)
    batch = built.validation.pack(samples)
    plan = _first_step(built, device)
    counts, number = built.counts, len(built.train_indices)
    least, total, largest = (counts, counts * number, counts) if isinstance(counts, int) else tokens_in(counts, built.train_indices)
    sizes = [int(np.broadcast_to(built.counts, len(built.dataset))[place.index]) for place in plan.places]
    per_token = 1 / max(1, batch.num_tokens)
    return Inspection(
        parameters_by_part(built.model),
        _num_trained(built.model),
        number,
        len(built.validation_indices),
        (least, total / number, largest),
        len(plan.places),
        sum(sizes),
        len(plan.micro_batches),
        built.micro_batch_tokens(device),
        built.token_cost.slots,
        built.token_cost.views,
        number / len(plan.places),
        train.steps * len(plan.places) / number,
        step_flops(built.model, batch) * per_token * sum(sizes),
        _memory(built, batch, device),
        validation_cost(built, device),
        not_exact(built.model, batch),
        batch.keys,
    )


def _first_step(built: Built, device: str) -> StepPlan:
    return built.planner(device).step(0, Cursor())


def validation_cost(built: Built, device: str) -> ValidationCost | None:
    """Return the cost of the run's validations on a type of device; None if nothing is held out."""
    scored, train = built.scored, built.recipe.train
    if not scored.held_out:
        return None
    tokens = built.validation_tokens(scored.samples)
    batches = sum(1 for _ in built.validation_places(built.inference_tokens(device), scored.samples))
    return ValidationCost(scored.samples, scored.held_out, tokens, batches, num_validations(train), cost_share(train, tokens))


def parameters_by_part(model: MaskedModel) -> dict[str, int]:
    """Return the number of parameters of every embedding, encoder, predictor and replacer.

    Shared ones count in the first part only. Together they are all parameters of the model.
    """
    parts: dict[str, nn.Module] = {}
    for name, network in cast(Mapping[str, Network], model.networks).items():
        prefix = f"{name} " if len(model.networks) > 1 else ""
        parts.update({f"{prefix}embedding {modality}": module for modality, module in network.embeddings.items()})
        if network.adapt is not None:
            parts[f"{prefix}map of embeddings"] = network.adapt
        parts[f"{prefix}encoder"] = network.encoder
    parts.update({f"predictor {label}": module for label, module in model.predictors.items()})
    parts.update({f"replacer {name}": module for name, module in model.replacers.items() if any(module.parameters())})
    seen: set[int] = set()
    found: dict[str, int] = {}
    for name, module in parts.items():
        mine = {id(p): p.numel() for p in module.parameters() if id(p) not in seen}
        seen |= mine.keys()
        found[name] = sum(mine.values())
    return found


class _Operations(TorchDispatchMode):
    """Counts operations of products and convolutions, in forward and backward passes.

    Torch's own counter follows modules as well, and fails where one is called inside a function with its own gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += float(count(*args, **(kwargs or {}), out_val=result))
        return result


def step_flops(model: MaskedModel, batch: MaskedBatch) -> float:
    """Return the floating-point operations of training on a batch: matrix products and convolutions, 2 per multiply-add.

    Forward and backward pass are run and counted, so passes without gradient count their forward pass alone, and recomputed
    activations count twice. Gradients are cleared.
    """
    model.train()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _Operations() as counter:
        loss = model(batch).loss
        if loss.requires_grad:
            loss.backward()
    model.zero_grad(set_to_none=True)
    return counter.total


def activation_bytes(model: nn.Module, batch: MaskedBatch) -> int:
    """Return the bytes stored by a batch's forward pass for the backward pass in fp32, without parameters."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}
    held: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)  # so that its memory is not used again, and counted once, before the end
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(batch).loss
    del loss
    return sum(kept.values())


def not_exact(model: Any, batch: MaskedBatch) -> list[str]:
    """Return the names of batch-statistic terms."""
    with torch.no_grad():
        results = model.predict(batch)
        run = Run(batch, results)
        return [
            term.name
            for one in model.each()
            for wired in (one.wired(batch) if one.grad else ())
            for term in wired.predictor.losses(own_predictions(wired, results[one.name]), run)
            if not term.exact
        ]


def _memory(built: Built, batch: MaskedBatch, device: str) -> dict[str, int]:
    train = built.recipe.train
    trained = _num_trained(built.model)
    total = built.model.num_parameters
    tokens = max(built.micro_batch_tokens(device), 1)
    return {
        "parameters": 4 * total,
        "gradients": 4 * trained,
        "optimizer": optimizer_bytes(built.model, train.optimizer),
        "ema": 4 * trained if train.ema is not None else 0,
        "activations": round(activation_bytes(built.model, batch) * tokens / max(1, batch.num_tokens)),
    }


def optimizer_bytes(model: nn.Module, component: Any) -> int:
    """Return the bytes of the optimizer's state, measured on parameters of one number each."""
    probe = nn.Linear(1, 1, bias=False)
    optimizer: torch.optim.Optimizer = component(Context())(probe)
    (probe(torch.ones(1, 1))).sum().backward()
    optimizer.step()
    numbers = sum(
        value.numel()
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, Tensor) and value.shape == (1, 1)
    )
    return 4 * numbers * _num_trained(model)


def _num_trained(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
