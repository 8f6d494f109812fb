"""Conformance tests of the package's components."""

from pathlib import Path

import numpy as np
import pytest

import omnimask
from omnimask.component import named
from omnimask.interfaces import Context
from omnimask.testing import (
    DatasetContract,
    EmbeddingContract,
    PluginContract,
    RecipeContract,
    RendererContract,
    TargetContract,
    TokenizerContract,
)
from omnimask_tabular.data import CsvTable
from omnimask_tabular.embedded import SklearnTable
from omnimask_tabular.schema import Number
from omnimask_tabular.show import Page
from omnimask_tabular.tokenizer import ColumnTokenizer

COLUMNS = {"age": Number(mean=40, std=12), "smoker": ("no", "yes"), "income": Number(), "town": ("A", "B", "C")}


class TestColumns(TokenizerContract):
    tolerance = 1e-5

    def tokenizer(self):
        return ColumnTokenizer(Context(), columns=COLUMNS)

    def raw_values(self):
        return [
            {"age": 30.5, "smoker": "yes", "income": -1.25, "town": "C"},
            {"age": None, "smoker": "no", "income": None, "town": None},
            {"town": "B"},
        ]

    def is_same(self, raw, again):
        return raw.keys() == again.keys() and all(
            again[name] == (pytest.approx(value, abs=self.tolerance) if isinstance(value, float) else value)
            for name, value in raw.items()
        )

    def bad_values(self):
        return {
            "no row": "age",
            "a list": [30.5, "yes"],
            "other columns": {"height": 2.0},
            "another category": {"smoker": "maybe"},
            "no number": {"age": "old"},
            "infinity": {"age": np.inf},
            "nothing but gaps": {"age": None, "income": np.nan},
            "nothing": {},
        }


class TestCell(TargetContract, EmbeddingContract):
    """Target and embedding in a small recipe with both."""

    modality = "tabular"

    def target(self):
        return named("target", "tabular.cell")

    def embedding(self):
        return named("embedding", "tabular.cell")

    def built(self):
        changes = ["encoder.width=32", "encoder.depth=1", "encoder.heads=2", "encoder.summary=0", "data.missing=0.2"]
        return omnimask.build(omnimask.load_recipe("tabular", changes))


class TestPage(RendererContract):
    def renderer(self):
        return Page(Context())

    def raw_values(self):
        return [{"town": "B"}, {"age": 30.5, "smoker": None, "income": -1.25, "town": "C"}]


class TestWine(DatasetContract):
    def dataset(self):
        return SklearnTable(Context())

    def changed(self):
        return SklearnTable(Context(), missing=0.1)


class TestCsv(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "people.csv"
        self.path.write_text("id,age,smoker\n" + "\n".join(f"p{n},{20 + n},{'yes' if n % 3 else ''}" for n in range(30)))

    def dataset(self):
        return CsvTable(Context(), path=self.path, key_column="id")

    def changed(self):
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\np99,80,no")
        return self.dataset()


class TestQuickstart(RecipeContract):
    def recipe(self):
        return "tabular/quickstart"


class TestNumbersAndGaps(TestQuickstart):
    """A table whose only column of categories, the diagnosis, is left out: rows that lack a column."""

    smoke = False
    overrides = (
        "modalities.tabular.tokenizer.columns=breast_cancer",
        "data={name: tabular.sklearn, table: breast_cancer, class_column: false}",
        "encoder.width=32",
        "encoder.depth=1",
        "encoder.summary=0",
    )


class TestDiabetes(TestQuickstart):
    smoke = False
    overrides = (
        "modalities.tabular.tokenizer.columns=diabetes",
        "data={name: tabular.sklearn, table: diabetes}",
        "encoder.width=32",
        "encoder.depth=1",
    )


class TestDropped(TestQuickstart):
    """A recipe with dropped hidden cells and a decoder."""

    overrides = (
        "modalities.tabular.corruptor={name: drop}",
        "predictors=[{name: decoder, width: 32, depth: 1, heads: 2, position: {name: learned}, target: {name: tabular.cell}}]",
    )


class TestTip(RecipeContract):
    def recipe(self):
        return "tabular/tip"


class TestPlugin(PluginContract):
    def plugin(self):
        return "tabular"

    def overrides(self, recipe):
        return (f"data.path={Path(__file__)}",)
