"""Model with sharded weights, gradients and optimizer state: torch's FSDP2 [0].

[0] Zhao et al.: PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, 2023; ``torch.distributed.fsdp.fully_shard``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from omnimask.errors import UserError
from omnimask.interfaces import MaskedBatch
from omnimask.training.devices.precision import Precision
from omnimask.training.devices.ranks import Joined
from omnimask.training.devices.replicas import Replicas

_MOST = 1_000_000


class FullySharded(Replicas):
    """Sharded model: every rank holds a shard of each parameter and gathers the other shards when a block runs.

    Modules with ``compile_me`` (blocks) are gathered one by one. Everything else is one group, gathered around the whole forward
    and backward pass. Blocks run with weights in the run's precision, and inputs of their norms are cast to it. The residual stream
    stays fp32, and the rest casts its weights where needed. Gradients are summed in fp32. During gradient accumulation they stay on
    their rank, unsharded, and are reduced with the last micro-batch of the step.

    Ranks must gather and reduce in step. Their micro-batches can prevent this: unequal numbers, one without targets for a
    predictor, no readable sample. Then everything is gathered before the step and summed after it, and each rank computes its own
    micro-batches. This step needs more memory; the gradient is the same. A parameter used by no rank has a gradient of 0 here, none
    in :class:`Replicas`.

    Args:
        ranks: processes that train together.
        precision: of the forward pass.

    Raises:
        UserError: the precision is fp16, whose loss scale is not shared.
    """

    is_sharded = True

    def __init__(self, ranks: Joined, precision: Precision) -> None:
        super().__init__(ranks)
        if precision.scaler is not None:
            raise UserError("train.distributed: fsdp needs bf16 or fp32; set train.precision, or train.distributed=ddp")
        self.group = ranks.device_group
        self.is_bf16 = precision.name == "bf16"
        self.root = _Root(nn.Identity())
        self.modules: list[FSDPModule] = []
        self._is_gathered = False

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Move this rank's shard of the model to its device."""
        if scalar := [name for name, parameter in model.named_parameters() if parameter.ndim == 0]:
            raise UserError(f"train.distributed: fsdp cannot shard {scalar[0]}, a scalar; set train.distributed=ddp")
        self.spread(model)
        assert self.group is not None
        mesh = DeviceMesh.from_group(self.group, device.type)
        policy = MixedPrecisionPolicy(torch.bfloat16 if self.is_bf16 else None, torch.float32, cast_forward_inputs=False)
        blocks = blocks_of(model)
        for block in blocks:
            block.register_forward_hook(_touch_own)
            for norm in norms_of(block) if self.is_bf16 else ():
                norm.register_forward_pre_hook(_cast_to_own)
            fully_shard(block, mesh=mesh, mp_policy=policy)
        self.root = _Root(model)
        fully_shard(self.root, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
        self.modules = [cast(FSDPModule, module) for module in (self.root, *blocks)]
        for module in self.modules:
            module.set_gradient_divide_factor(1.0)  # sums, not means
            module.set_force_sum_reduction_for_comms(True)
        with torch.no_grad():
            self.root(None, {})  # the first forward makes it the FSDP root of all blocks
        self._reshard()

    @contextmanager
    def step(self, counts: Sequence[Mapping[str, float]]) -> Generator[None]:
        mine = len(counts)
        # one reduction finds both extremes: _MOST - mine is largest on the rank with the fewest micro-batches
        is_alike = all(all(count.values()) for count in counts) and mine > 0
        most, fewest, differs = self.ranks.largest([mine, _MOST - mine, not is_alike])
        if most == _MOST - fewest and not differs:
            yield
            return
        with self._gathered():
            root = self.modules[0]
            root.set_requires_gradient_sync(False)
            root.set_reshard_after_backward(False)
            yield
            root.set_requires_gradient_sync(True)
            root.set_reshard_after_backward(True)
            self.root(None, {}).backward()

    def forward(self, model: nn.Module, batch: MaskedBatch, denominators: Mapping[str, float], *, is_last: bool) -> Any:
        if not self._is_gathered:
            self.modules[0].set_requires_gradient_sync(is_last)
        loss, output = self.root(batch, denominators, is_touching=is_last and not self._is_gathered)
        return dataclasses.replace(output, loss=loss)

    def evaluate(self, model: nn.Module, batch: MaskedBatch, denominators: Mapping[str, float]) -> Any:
        return self.root(batch, denominators, is_scored=True)[1]

    def reduce(self, parameters: Sequence[nn.Parameter], failure: BaseException | None = None) -> None:
        """Do nothing but raise ``failure``: gradients were summed in the backward pass. The other ranks see a lost connection."""
        if failure is not None:
            raise failure

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        norm = get_total_norm(gradients)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    @contextmanager
    def whole(self, model: nn.Module) -> Generator[None]:
        with self._gathered():
            yield

    @contextmanager
    def _gathered(self) -> Generator[None]:
        """Keep all parameters gathered inside the ``with`` block."""
        self._is_gathered = True
        self.modules[0].set_reshard_after_forward(False)
        for module in self.modules:
            module.unshard()
        yield
        for module in self.modules[1:]:
            module.set_reshard_after_forward(True, recurse=False)
        self._reshard()
        self._is_gathered = False

    def _reshard(self) -> None:
        for module in self.modules:
            module.reshard()


class _Root(nn.Module):
    """Root module for FSDP: returns the loss as a tensor, and reaches all gathered parameters even without a batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: MaskedBatch | None, denominators: Mapping[str, float], *, is_scored: bool = False, is_touching: bool = False
    ) -> Any:
        gathered = [p for p in self.model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
        if batch is None:
            return touched(torch.zeros((), device=gathered[0].device), gathered)
        output = self.model(batch, denominators, is_scored=is_scored)
        gathered = [p for p in self.model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
        return (touched(output.loss, gathered) if is_touching else output.loss), output


def _touch_own(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    """Make every parameter of a block take part in the backward pass, used or not (forward hook)."""
    if not torch.is_grad_enabled():
        return output
    own = [p for p in module.parameters() if p.requires_grad]
    if isinstance(output, tuple):  # of a tapped block
        return touched(output[0], own), *output[1:]
    return touched(output, own) if isinstance(output, Tensor) else output


def _cast_to_own(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast the input of a norm to the dtype of its weights (hook). Some devices lack kernels for mixed dtypes."""
    dtype = next(module.parameters()).dtype
    return tuple(value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value for value in inputs)


class _Touch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, *parameters: Tensor) -> Tensor:
        ctx.shapes = [(parameter.shape, parameter.dtype) for parameter in parameters]
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        return gradient, *(gradient.new_zeros((), dtype=dtype).expand(shape) for shape, dtype in ctx.shapes)


def touched(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the same value, with a gradient of 0 for parameters without another gradient."""
    return cast(Tensor, _Touch.apply(value, *parameters))


def norms_of(block: nn.Module) -> list[nn.Module]:
    """Return the leaf modules of a block whose parameters are all vectors."""
    leaves = [module for module in block.modules() if next(module.children(), None) is None]
    return [leaf for leaf in leaves if (own := list(leaf.parameters())) and all(parameter.ndim == 1 for parameter in own)]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the modules with ``compile_me`` that share no parameter with others, inner ones first.

    A module shared by several passes counts once.
    """
    blocks = [module for module in model.modules() if getattr(module, "compile_me", False)]
    inside = Counter(id(p) for block in blocks for p in block.parameters())
    everywhere = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    own = [block for block in blocks if all(inside[id(p)] == 1 == everywhere[id(p)] for p in block.parameters())]
    return [block for block in reversed(own) if any(True for _ in block.parameters())]
