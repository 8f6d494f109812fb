"""Parity of timeseries/patchtst with transformers' PatchTSTForPretraining: same loss and gradients for the same weights and hidden
windows.

The peer runs with ``norm_type="layernorm"`` and learned positions, and takes the hidden windows from the batch. Both compute in
float32, in a different order of operations. The tolerances, listed beside the measured worst cases, allow for other CPUs' kernels.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import omnimask
from omnimask.interfaces import MaskedBatch
from omnimask.pretrained import gather, load

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5  # measured: loss 1.5e-7, whole gradient 4.4e-7, single tensors 1.6e-6 of their scale
LENGTH, CHANNELS = 100, 3
WITHOUT_PEER = ("networks.main.encoder.norm", "networks.main.embeddings.timeseries.missing")
"""Unused parameters: the last norm, and the vectors of missing values (the series have none)."""
SIZES = {
    "tiny": {"window": 8, "width": 32, "depth": 2, "heads": 4, "hidden": 64},
    "published": {"window": 12, "width": 128, "depth": 3, "heads": 16, "hidden": 512},
}


def names(depth: int) -> list[tuple[str, tuple[str, ...]]]:
    """Return the peer's parameters for each of ours."""
    peer, ours = "model.encoder", "networks.main.encoder.stack.blocks"
    found: list[tuple[str, tuple[str, ...]]] = []
    for part in ("weight", "bias"):
        found.append((f"networks.main.embeddings.timeseries.project.{part}", (f"{peer}.embedder.input_embedding.{part}",)))
        found.append((f"predictors.in_place.heads.timeseries.{part}", (f"head.linear.{part}",)))
        for number in range(depth):
            layer, block = f"{peer}.layers.{number}", f"{ours}.{number}"
            found += [
                (f"{block}.norm_attention.{part}", (f"{layer}.norm_sublayer1.{part}",)),
                (f"{block}.attention.qkv.{part}", tuple(f"{layer}.self_attn.{name}_proj.{part}" for name in "qkv")),
                (f"{block}.attention.project.{part}", (f"{layer}.self_attn.out_proj.{part}",)),
                (f"{block}.norm_mlp.{part}", (f"{layer}.norm_sublayer3.{part}",)),
                (f"{block}.mlp.0.{part}", (f"{layer}.ff.0.{part}",)),
                (f"{block}.mlp.2.{part}", (f"{layer}.ff.3.{part}",)),
            ]
    found.append(("networks.main.encoder.position.tables.timeseries", (f"{peer}.positional_encoder.position_enc",)))
    return found


class Given(torch.nn.Module):
    """Masking with given windows instead of the peer's random ones."""

    def __init__(self, is_hidden: Tensor) -> None:
        super().__init__()
        self.is_hidden = is_hidden

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        return patches.masked_fill(self.is_hidden[..., None], 0), self.is_hidden


def reference(size: dict[str, Any], is_hidden: Tensor) -> Any:
    """Return the peer with random weights of a realistic scale (its own initialisation has zero biases)."""
    torch.manual_seed(1)
    config = transformers.PatchTSTConfig(
        num_input_channels=CHANNELS,
        context_length=LENGTH,
        patch_length=size["window"],
        patch_stride=size["window"],
        d_model=size["width"],
        num_hidden_layers=size["depth"],
        num_attention_heads=size["heads"],
        ffn_dim=size["hidden"],
        norm_type="layernorm",
        positional_encoding_type="random",
    )
    model = transformers.PatchTSTForPretraining(config)
    model.model.masking = Given(is_hidden)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.05 * torch.randn_like(parameter)
    return model


def ours(size: dict[str, Any], file: Any) -> Any:
    """Build the recipe at another size."""
    changes = {
        "data.path": file,
        "data.length": LENGTH,
        "modalities.timeseries.tokenizer.window": size["window"],
        "encoder.width": size["width"],
        "encoder.depth": size["depth"],
        "encoder.heads": size["heads"],
        "encoder.mlp_ratio": size["hidden"] / size["width"],
        "encoder.position.max_length": LENGTH // size["window"],
        "predictors.0.layer": size["depth"],
        "data.validation": 0.5,
    }
    return omnimask.build(omnimask.load_recipe("timeseries/patchtst", [f"{key}={value}" for key, value in changes.items()]))


def held_out(built: Any, series: np.ndarray) -> tuple[MaskedBatch, Tensor, Tensor]:
    """Return the batch, and for the peer its values (B, n, C) and hidden windows (B, C, windows).

    The channels of a stretch are neighbours: separate samples of ours, and one sample of the peer's.
    """
    (batch,) = built.validation_batches()
    starts = sorted({int(key.split("/")[1]) for key in batch.keys})
    assert [f"table.csv/{start}/c{channel}" for start in starts for channel in range(CHANNELS)] == list(batch.keys)
    is_hidden = torch.zeros(batch.num_tokens, dtype=torch.bool)
    is_hidden[batch.views["main"].context.targets.of] = True
    values = torch.from_numpy(np.stack([series[start : start + LENGTH] for start in starts])).float()
    return batch, values, is_hidden.reshape(len(starts), CHANNELS, -1)


@pytest.mark.parametrize("name", SIZES)
def test_loss_and_gradients_are_those_of_the_reference(name: str, tmp_path: Any) -> None:
    size, rng = SIZES[name], np.random.default_rng(0)
    series = np.cumsum(rng.normal(size=(10 * LENGTH, CHANNELS)), axis=0).astype(np.float32) * (1, 10, 0.1) + 5
    lines = [",".join(f"{value!r}" for value in row) for row in series.tolist()]
    (tmp_path / "table.csv").write_text("\n".join(["c0,c1,c2", *lines]), encoding="utf-8")
    built = ours(size, tmp_path / "table.csv")
    batch, values, is_hidden = held_out(built, series)
    assert 0.3 < is_hidden.float().mean() < 0.5
    peer, places = reference(size, is_hidden), names(size["depth"])
    own = {n: p for n, p in built.model.state_dict().items() if n.startswith(WITHOUT_PEER)}
    load(built.model, {**gather(peer.state_dict(), places), **own})

    expected = peer(values).loss
    expected.backward()
    loss = built.model(batch).loss
    loss.backward()

    assert abs(loss.item() - expected.item()) <= TOLERANCE * expected.item()
    theirs = gather({n: p.grad for n, p in peer.named_parameters()}, places)
    mine = {n: p.grad for n, p in built.model.named_parameters() if n not in own}
    assert theirs.keys() == mine.keys()
    whole = torch.cat([g.flatten() for g in theirs.values()]).norm()
    difference = torch.cat([(mine[n] - g).flatten() for n, g in theirs.items()]).norm()
    assert difference <= TOLERANCE * whole
    floor = 1e-3 * whole / len(theirs) ** 0.5  # some true gradients are zero (key biases): a relative error is undefined there
    for parameter, gradient in theirs.items():
        assert (mine[parameter] - gradient).norm() <= TOLERANCE * (gradient.norm() + floor), parameter
