from __future__ import annotations

import pytest
import torch
from torch import nn

from omnimask.training.optim.optimizers import SGD, AdamW, parameter_groups


class Block(nn.Module):
    no_weight_decay = {"position", "inner.weight"}

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(3, 4))
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4)


def names_in(model: nn.Module, group: dict) -> set[str]:
    held = {id(p) for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in held}


def test_vectors_and_declared_names_have_no_decay() -> None:
    model = nn.Sequential(Block(), nn.LayerNorm(4))
    decayed, free = parameter_groups(model, 0.1)
    assert names_in(model, decayed) == {"0.outer.weight"} and decayed["weight_decay"] == 0.1
    assert names_in(model, free) == {"0.position", "0.inner.weight", "0.inner.bias", "0.outer.bias", "1.weight", "1.bias"}
    assert free["weight_decay"] == 0.0


def test_a_tied_parameter_is_exempt_under_all_of_its_names() -> None:
    block, head = Block(), nn.Linear(4, 4, bias=False)
    head.weight = block.inner.weight
    model = nn.Sequential(head, block)
    _, free = parameter_groups(model, 0.1)
    assert "0.weight" in names_in(model, free)


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(model, 0.1)] == [1]


def test_a_declared_name_must_exist() -> None:
    block = Block()
    block.no_weight_decay = {"positon"}
    with pytest.raises(ValueError, match="positon"):
        parameter_groups(nn.Sequential(block), 0.1)


def test_a_declared_parameter_may_be_absent() -> None:
    block = Block()
    block.position = None
    _, free = parameter_groups(block, 0.1)
    assert "inner.weight" in names_in(block, free)


def test_adamw_moves_as_its_formula_says(context) -> None:
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    optimizer = AdamW(context, lr=0.1, betas=(0.9, 0.95), weight_decay=0.5, eps=1e-8)(model)
    model.weight.grad = torch.full_like(model.weight, 2.0)
    optimizer.step()
    assert model.weight.item() == pytest.approx(start * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)  # the first Adam step is lr x sign


def test_sgd_moves_as_its_formula_says(context) -> None:
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    optimizer = SGD(context, lr=0.1, momentum=0.5, weight_decay=0.0)(model)
    for _ in range(2):
        model.weight.grad = torch.full_like(model.weight, 2.0)
        optimizer.step()
    assert model.weight.item() == pytest.approx(start - 0.1 * 2 - 0.1 * 3, abs=1e-6)


def test_options_that_contradict_are_refused(context) -> None:
    with pytest.raises(ValueError, match="betas"):
        AdamW(context, lr=0.1, betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="momentum"):
        SGD(context, lr=0.1, momentum=0.0, nesterov=True)


def test_the_constructors_obey_the_component_rule() -> None:
    from omnimask.registry.signature import options_of

    assert options_of(AdamW)["lr"].is_required
    assert set(options_of(SGD)) == {"lr", "momentum", "weight_decay", "nesterov"}
