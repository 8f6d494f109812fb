"""The device that a recipe asks for, and messages about one that is not there."""

from __future__ import annotations

import pytest
import torch

from omnimask.errors import UserError
from omnimask.recipe import load_recipe
from omnimask.run.device import choose_device


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch):
    """Makes a machine that has some devices."""

    def make(*names: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)

    return make


def test_auto_takes_the_best_that_is_there(has) -> None:
    for names, chosen in (((), "cpu"), (("mps",), "mps"), (("cuda", "mps"), "cuda")):
        has(*names)
        assert choose_device("auto") == torch.device(chosen)
        assert choose_device("cpu") == torch.device("cpu")


def test_a_device_that_is_not_there_says_why_and_what_to_do(has, monkeypatch: pytest.MonkeyPatch) -> None:
    has()
    remedy = "set device=cpu, or device=auto to choose an available one"
    with pytest.raises(UserError, match=f"device: mps requested, but torch .* finds no such device on this machine; {remedy}"):
        choose_device("mps")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match=r"built for CUDA 13\.0\) finds no usable GPU; set device=cpu"):
        choose_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="is built without CUDA; set device=cpu"):
        choose_device("cuda")


def test_a_name_that_is_no_device(has) -> None:
    with pytest.raises(UserError, match="device: must be 'auto', 'cpu', 'cuda' or 'mps'"):
        load_recipe("image", ["device=gpu"])
