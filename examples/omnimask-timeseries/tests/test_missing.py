"""Tests of missing values: never hidden, never a target, and different from zeros and hidden windows."""

import dataclasses

import numpy as np
import pytest
import torch

import omnimask
from omnimask.interfaces import Context, Draw, Reconstruction
from omnimask_timeseries.embedding import ValueEmbedding
from omnimask_timeseries.show import Plot
from omnimask_timeseries.tokenizer import OBSERVED, VALUES, WindowTokenizer

DRAW = Draw(seed=0, epoch=0, key="series")


@pytest.fixture(scope="module")
def built():
    recipe = omnimask.load_recipe(
        "timeseries/quickstart",
        [
            "data={name: timeseries.stocks, split_channels: false, validation: 0.25}",
            "modalities.timeseries.corruptor={name: mask_token}",
            "predictors=[{name: in_place, target: {name: timeseries.values}}]",
            "encoder.width=32",
            "encoder.depth=1",
            "encoder.heads=2",
        ],
    )
    return omnimask.build(recipe)


def with_values(batch, data):
    packed = batch.store["timeseries"]
    return dataclasses.replace(batch, store={"timeseries": dataclasses.replace(packed, data=data)})


def test_the_scale_is_that_of_the_values_that_are_there() -> None:
    series = np.array([[1.0, 5.0], [3.0, np.nan], [1.0, np.nan], [3.0, 7.0]])
    tokens = WindowTokenizer(Context(), window=2)(series, DRAW)
    np.testing.assert_allclose(tokens.fields["location"], [2, 2, 6, 6])
    np.testing.assert_allclose(tokens.fields["scale"], np.sqrt(1 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(tokens.content[:, VALUES], [[-1, 1], [-1, 1], [-1, 0], [0, 1]], atol=1e-4)
    assert tokens.content[:, OBSERVED].tolist() == [[1, 1], [1, 1], [1, 0], [0, 1]]
    assert tokens.positions.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_the_most_recent_values_are_kept() -> None:
    tokens = WindowTokenizer(Context(), window=4, scale="none")(np.arange(10.0), DRAW)
    assert tokens.content[:, VALUES].tolist() == [[2, 3, 4, 5], [6, 7, 8, 9]]


def test_windows_without_any_value_are_never_asked_for(built) -> None:
    asked = empty = 0
    for batch in built.validation_batches():
        observed = batch.store["timeseries"].data[:, OBSERVED].any(1)
        targets = batch.views["main"].context.targets
        assert observed[targets.of].all()
        asked, empty = asked + len(targets), empty + int((~observed).sum())
    assert asked and empty


def test_missing_values_give_no_loss_and_hidden_ones_do(built) -> None:
    """Check that answers of a hidden window affect the loss at measured places only."""
    batch = next(iter(built.validation_batches()))
    data, targets = batch.store["timeseries"].data, batch.views["main"].context.targets
    hidden = torch.zeros(len(data), dtype=torch.bool)
    hidden[targets.of] = True
    gaps = hidden[:, None] & (data[:, OBSERVED] == 0)
    assert gaps.any()
    before = built.model(batch).loss
    for places, is_equal in ((gaps, True), (hidden[:, None] & (data[:, OBSERVED] == 1), False)):
        changed = data.clone()
        changed[:, VALUES][places] += 1.0
        assert torch.equal(built.model(with_values(batch, changed)).loss, before) == is_equal


def test_a_gap_differs_from_a_zero_and_from_a_hidden_window() -> None:
    spec = dataclasses.replace(WindowTokenizer(Context(), window=4).spec, specials=("mask",))
    embedding = ValueEmbedding(Context(specs={"a": spec}, modalities=("a",), width=8))
    content = torch.tensor([[[0.0] * 4, [1.0] * 4], [[0.0] * 4, [1.0, 0.0, 1.0, 1.0]], [[0.0] * 4, [0.0] * 4]])
    rows = torch.cat([embedding(content), embedding.ids(torch.tensor([0]))])
    assert len(torch.unique(rows, dim=0)) == 4
    zeros = ValueEmbedding(Context(specs={"a": spec}, modalities=("a",), width=8), hidden="zeros")
    assert torch.equal(zeros.ids(torch.tensor([0])), zeros(content[:1]))


def test_plot_draws(tmp_path) -> None:
    series = np.sin(np.arange(48, dtype=np.float32)).reshape(16, 3)
    seen = series.copy()
    seen[4:8] = np.nan
    shown = [Reconstruction("a", series, seen, series), Reconstruction("b", series[:, :1], seen[:, :1], None, "nobody knows")]
    drawn = Plot(Context())(shown, tmp_path / "figures" / "plot.png", title="Two")
    assert drawn.read_bytes().startswith(b"\x89PNG") and drawn.stat().st_size > 10_000
