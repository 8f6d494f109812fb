"""Tests of hidden and missing cells, categories and numbers: inputs, targets and answers."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import omnimask
from omnimask.interfaces import Context, Draw
from omnimask_tabular.embedded import SklearnTable
from omnimask_tabular.embedding import CellEmbedding
from omnimask_tabular.schema import FIRST_CATEGORY, HIDDEN, MISSING, NUMBER, Number, Schema
from omnimask_tabular.tokenizer import ColumnTokenizer

DRAW = Draw(seed=0, epoch=0, key="row")
COLUMNS = {"age": Number(mean=40, std=10), "smoker": ("no", "yes"), "town": ("A", "B", "C")}


@pytest.fixture(scope="module")
def built():
    changes = ["encoder.width=32", "encoder.depth=1", "encoder.heads=2", "data.missing=0.3", "data.validation=0.5"]
    return omnimask.build(omnimask.load_recipe("tabular", changes))


@pytest.fixture(scope="module")
def batch(built):
    return next(iter(built.validation_batches()))


def with_content(batch, data):
    packed = batch.store["tabular"]
    return dataclasses.replace(batch, store={"tabular": dataclasses.replace(packed, data=data)})


def test_content_says_number_category_or_missing() -> None:
    tokens = ColumnTokenizer(Context(), columns=COLUMNS)({"age": "55", "smoker": None, "town": "B", "other": 1}, DRAW)
    assert tokens.content.tolist() == [[1.5, NUMBER], [0, MISSING], [0, FIRST_CATEGORY + 2 + 1]]
    assert tokens.positions.tolist() == [[0], [1], [2]]
    assert tokens.fields["special"].tolist() == [False, True, False]
    assert tokens.fields["first"].tolist() == [0, 0, 2] and tokens.fields["size"].tolist() == [0, 2, 3]


def test_a_hidden_cell_has_no_key() -> None:
    tokenizer = ColumnTokenizer(Context(), columns=COLUMNS)
    tokens = tokenizer({"age": 30, "smoker": None, "town": "B"}, DRAW)
    content = tokens.content.copy()
    content[0] = HIDDEN
    assert tokenizer.decode(dataclasses.replace(tokens, content=content)) == {"smoker": None, "town": "B"}


def test_missing_cells_are_read_and_never_asked_for(batch) -> None:
    stream = batch.views["main"].context
    kind = batch.store["tabular"].data[:, 1]
    assert (kind == MISSING).any()
    assert (kind[stream.targets.of] != MISSING).all()
    assert (stream.literal[kind[stream.source] == MISSING] == -1).all()


def test_what_is_hidden_is_a_share_of_what_is_there(batch) -> None:
    kind = batch.store["tabular"].data[:, 1]
    share = len(batch.views["main"].context.targets) / int((kind != MISSING).sum())
    assert share == pytest.approx(0.3, abs=0.02)


def test_missing_and_hidden_cells_look_different() -> None:
    spec = dataclasses.replace(ColumnTokenizer(Context(), columns=COLUMNS).spec, specials=("mask",))
    embedding = CellEmbedding(Context(specs={"t": spec}, modalities=("t",), width=8))
    cells = torch.tensor([[0, MISSING], [0, NUMBER], [1, NUMBER], *([0, FIRST_CATEGORY + n] for n in range(5))]).float()
    rows = torch.cat([embedding(cells), embedding.ids(torch.tensor([0]))])
    assert len(torch.unique(rows, dim=0)) == 9


def test_the_loss_is_cross_entropy_of_the_column_and_squared_error(built, batch) -> None:
    with torch.no_grad():
        prediction = built.model.predict(batch)["main"].predictions["in_place"]
        outputs = prediction.head(prediction.features)
        expected = []
        for of, output in zip(prediction.targets.of.tolist(), outputs.tolist(), strict=True):
            number, kind = batch.store["tabular"].data[of].tolist()
            if kind == NUMBER:
                expected.append((output[0] - number) ** 2)
            else:
                expected.append(math.log(sum(map(math.exp, output[1:]))) - output[1 + int(kind) - FIRST_CATEGORY])
        assert built.model(batch).loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_categories_of_other_columns_take_no_part() -> None:
    """Check that outputs of another column change neither the loss nor the answer."""
    target, prediction, run = answered({"age": 20.0, "smoker": "yes", "town": "A"})
    loss = target.loss(prediction, target.answers(prediction, run))
    shown = target.content(prediction, run)
    bias = torch.tensor([0.0, 100.0, 100.0, 0.0, 0.0, 0.0])  # smoker's two categories
    other = dataclasses.replace(prediction, head=lambda features: features + bias)
    again = target.loss(other, target.answers(other, run))
    torch.testing.assert_close(again, loss)
    assert torch.equal(target.content(other, run)[[0, 2]], shown[[0, 2]])


def answered(row):
    """Return the target, a prediction and the run of a dummy model for one row with all cells hidden."""
    from omnimask.interfaces import Layout, MaskedBatch, Packed, Prediction, Run, Targets
    from omnimask_tabular.target import Cell

    tokenizer = ColumnTokenizer(Context(), columns=COLUMNS)
    tokens = tokenizer(row, DRAW)
    count = len(tokens)
    layout = Layout(np.array([count]), np.zeros(1, np.int64))
    fields = {name: torch.from_numpy(values) for name, values in tokens.fields.items()}
    store = {"t": Packed(torch.from_numpy(tokens.content), layout)}
    batch = MaskedBatch(store, {"t": 0}, {}, np.zeros(1), ("row",), {"t": fields})
    at = torch.arange(count)
    targets = Targets(at[:, None], at, torch.full((count,), -1), torch.ones(count))
    nothing: object = None
    outputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    prediction = Prediction(outputs, lambda features: features, targets, nothing, nothing, "t")  # pyright: ignore[reportArgumentType]
    return Cell(Context(specs={"t": tokenizer.spec}, modalities=("t",))), prediction, Run(batch, {})


def test_predictions_decode_to_a_row() -> None:
    target, prediction, run = answered({"age": 20.0, "smoker": "yes", "town": "A"})
    tokenizer = ColumnTokenizer(Context(), columns=COLUMNS)
    tokens = tokenizer({"age": 20.0, "smoker": "yes", "town": "A"}, DRAW)
    row = tokenizer.decode(dataclasses.replace(tokens, content=target.content(prediction, run).numpy()))
    outputs = prediction.features
    assert row["age"] == pytest.approx(float(outputs[0, 0]) * 10 + 40, rel=1e-5)
    assert row["smoker"] == ("no", "yes")[int(outputs[1, 1:3].argmax())]
    assert row["town"] == ("A", "B", "C")[int(outputs[2, 3:].argmax())]


def test_scores_are_of_the_cells_that_they_apply_to(built, batch) -> None:
    kind = batch.store["tabular"].data[batch.views["main"].context.targets.of, 1]
    scores = built.model(batch, is_scored=True).scores["in_place"]
    assert scores["squared_error"].count == int((kind == NUMBER).sum())
    assert scores["accuracy"].count == int((kind >= FIRST_CATEGORY).sum()) > 0


def test_missing_cells_were_taken_out_the_same_way_everywhere() -> None:
    table, complete = SklearnTable(Context(), missing=0.1), SklearnTable(Context(), missing=0)
    cells = [cell for index in range(len(table)) for cell in table[index]["tabular"].values()]
    assert sum(cell is None for cell in cells) / len(cells) == pytest.approx(0.1, abs=0.015)
    assert all(cell is not None for index in range(len(complete)) for cell in complete[index]["tabular"].values())
    kept = {name: cell for name, cell in table[7]["tabular"].items() if cell is not None}
    assert kept.items() <= complete[7]["tabular"].items()
    assert table[7] == SklearnTable(Context(), missing=0.1)[7]


def test_the_class_is_a_column_or_a_label() -> None:
    assert SklearnTable(Context(), missing=0)[0]["tabular"]["cultivar"] == SklearnTable(Context(), missing=0)[0]["label"]
    assert "cultivar" not in SklearnTable(Context(), class_column=False)[0]["tabular"]
    assert "label" not in SklearnTable(Context(), table="diabetes")[0]


@pytest.mark.parametrize("columns", [{}, {"a": ("x",)}, {"a": ("x", "x")}])
def test_a_schema_that_cannot_be_is_refused(columns) -> None:
    with pytest.raises(ValueError, match=r"columns|categories"):
        Schema(columns)
