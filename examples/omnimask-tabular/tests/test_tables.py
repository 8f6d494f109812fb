"""Tests of the user's tables: data set, suggester and renderer."""

import pytest

import omnimask
from omnimask.interfaces import Context, Reconstruction
from omnimask_tabular.data import CsvTable
from omnimask_tabular.schema import Number
from omnimask_tabular.show import Page
from omnimask_tabular.suggest import SuggestTable

PEOPLE = "id,age,smoker,town,one,note\n" + "\n".join(
    f'p{n},{20 + n},{("yes", "no", "NA")[n % 3]},{"ABCD"[n % 4]},1,"{n}, a note"' for n in range(60)
)


@pytest.fixture
def table(tmp_path):
    def write(text, name="people.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_rows_have_keys_labels_and_gaps(table) -> None:
    people = CsvTable(Context(), path=table(PEOPLE), key_column="id", label_column="town")
    assert people.key(2) == "people.csv/p2"
    assert people[2] == {"tabular": {"age": "22", "smoker": None, "one": "1", "note": "2, a note"}, "label": "C"}
    assert CsvTable(Context(), path=table(PEOPLE)).key(2) == "people.csv/2"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n3", {}, r"people.csv:3: 1 cells.*2 columns"),
        ("a,a\n1,2", {}, "a name of its own"),
        ("a,b", {}, "holds no table"),
        ("a,b\n1,2", {"key_column": "c"}, r"no column 'c'; it has a, b"),
        ("a,b\n1,2\n1,3", {"key_column": "a"}, r"two rows are called 'people.csv/1'"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table, text, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        CsvTable(Context(), path=table(text), **options)


def test_columns_are_inferred_and_written_down(table, tmp_path) -> None:
    table(PEOPLE)
    found = SuggestTable(Context())(tmp_path)
    assert found is not None and found.num_files == 1
    assert found.summary["columns"] == "1 of numbers, 2 of categories, 3 left out"
    assert '"note" is left out: 60 different texts' in found.recipe and '"one" is left out: one value' in found.recipe
    (tmp_path / "recipe.yaml").write_text(found.recipe, encoding="utf-8")
    recipe = omnimask.load_recipe(tmp_path / "recipe.yaml")
    columns = recipe.modalities["tabular"].tokenizer.options["columns"]
    assert columns == {"age": Number(mean=49.5, std=17.3181), "smoker": ("no", "yes"), "town": ("A", "B", "C", "D")}
    built = omnimask.build(recipe)
    assert built.dataset.key(3) == "people.csv/p3"
    assert built.model(next(iter(built.validation_batches()))).loss > 0


def test_a_folder_without_a_table_is_not_ours(table, tmp_path) -> None:
    assert SuggestTable(Context())(tmp_path) is None
    table("a\nsome\ntext\nof\nno\nuse" + "\n".join(map(str, range(60))).replace("1", "x"))
    with pytest.raises(ValueError, match="no column holds numbers"):
        SuggestTable(Context())(tmp_path)


def test_page_shows_what_was_filled_in(tmp_path) -> None:
    original = {"age": 30.0, "smoker": "yes", "town": "A <b>", "income": None}
    one = Reconstruction("row 1", original, {"smoker": "yes", "income": None}, {**original, "age": 31.5, "town": "B"})
    page = Page(Context())([one, Reconstruction("row 2", original, original, None)], tmp_path / "sub" / "page.html", title="Rows")
    text = page.read_text(encoding="utf-8")
    assert '<td class="number">31.5' in text and '<td class="wrong">B' in text
    assert "A &lt;b&gt;" in text and "<b>" not in text
    assert '<td class="missing">missing' in text and text.count('<td class="hidden">?') == 2
