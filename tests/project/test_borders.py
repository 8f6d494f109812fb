"""What import contracts cannot see: the core asks for no modality's name, masks have a polarity, data are not unpickled."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "core").rglob("*.py"))
EVERYTHING = [path for folder in ("core", "plugins", "datasets") for path in sorted((ROOT / folder).rglob("*.py"))]

MODALITIES = frozenset({"image", "text", "video", "audio", "pointcloud", "protein"})
PACKAGES = frozenset({f"omnimask_{modality}" for modality in MODALITIES} | {"omnimask_datasets"})
IN_NAMES = MODALITIES - {"text"}
"""In a name, ``text`` is what a file or a message holds; imports and comparisons have no such excuse."""

NOT_A_MODALITY = {("core/omnimask/testing/tokenizer.py", "text")}
"""Words that mean something else where they stand: there, a bad file that holds text."""

PEERS_MASK = {("plugins/omnimask_image/weights/vit_mae.py", "mask"), ("core/omnimask/token_store/range_file.py", "mask")}
"""Fields and arguments of other libraries, at the border to them."""


def words(name: str) -> set[str]:
    """Words of a snake_case or CamelCase name, in lower case, plurals included."""
    found = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    return found | {word.removesuffix("s") for word in found}


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every identifier that code defines or uses, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield line, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield line, name
            case ast.keyword(arg=str(name)) | ast.alias(asname=str(name)):
                yield line, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield line, name


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def compared(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string that decides something: in comparisons, membership, ``match``, subscripts and keys of mappings."""
    for node in ast.walk(tree):
        parts: list[ast.AST] = []
        match node:
            case ast.Compare():
                parts = [node.left, *node.comparators]
            case ast.MatchValue(value=value):
                parts = [value]
            case ast.Subscript(slice=index) if not _is_annotation(node):
                parts = [index]
            case ast.Dict(keys=keys):
                parts = [key for key in keys if key is not None]
            case ast.Call(func=ast.Attribute(attr="get" | "pop" | "startswith" | "endswith" | "removeprefix"), args=arguments):
                parts = list(arguments)
        for part in parts:
            for constant in ast.walk(part):
                if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                    yield constant.lineno, constant.value


def _is_annotation(node: ast.Subscript) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("Literal", "Annotated", "Component")


def problems_of_core(source: str, allowed: Collection[str] = ()) -> list[str]:
    """Lines at which a module of the core knows a modality; ``allowed`` strings may be compared."""
    tree = ast.parse(source)
    found = [
        f"{line}: imports {module}"
        for line, module in imports(tree)
        if module.partition(".")[0] in PACKAGES or words(module.partition(".")[0]) & MODALITIES
    ]
    found += [f"{line}: {name} names a modality" for line, name in names(tree) if words(name) & IN_NAMES]
    found += [
        f"{line}: asks for {value!r}"
        for line, value in compared(tree)
        if value not in allowed and (value.partition(".")[0].lower() in MODALITIES or value in PACKAGES)
    ]
    return found


def bare_masks(source: str) -> list[int]:
    """Lines that name something plain ``mask``."""
    return [line for line, name in names(ast.parse(source)) if name == "mask"]


def unsafe_calls(source: str) -> list[str]:
    """Calls that could run code that lies in data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        is_unsafe = (
            (call == "torch.load" and options.get("weights_only") != "True")
            or call.startswith(("pickle.load", "pickle.Unpickler", "cloudpickle.load", "dill.load", "joblib.load", "marshal.load"))
            or call in ("yaml.unsafe_load", "yaml.full_load", "eval", "exec")
            or (call in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False")
        )
        is_copy = call == "pickle.loads" and ast.unparse(node.args[0]).startswith("pickle.dumps(")
        if is_unsafe and not is_copy:
            found.append(f"{node.lineno}: {ast.unparse(node)[:80]}")
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_names_no_modality(path: Path) -> None:
    allowed = [word for file, word in NOT_A_MODALITY if file == str(path.relative_to(ROOT))]
    assert problems_of_core(path.read_text(encoding="utf-8"), allowed) == []


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))
def test_masks_have_a_polarity(path: Path) -> None:
    if (str(path.relative_to(ROOT)), "mask") in PEERS_MASK:
        return
    assert bare_masks(path.read_text(encoding="utf-8")) == [], "say is_visible or is_target"


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_code_from_data(path: Path) -> None:
    assert unsafe_calls(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from omnimask_image import tokenizer",
        "import omnimask_datasets.digits",
        "def load_images(): ...",
        "batch.image",
        "class VideoEncoder: ...",
        "if modality == 'text': ...",
        "if modality in ('audio', 'video'): ...",
        "match modality:\n    case 'protein': ...",
        "store['image']",
        "options.get('image')",
        "readers = {'image': 1}",
        "if name.startswith('image.'): ...",
    ],
)
def test_the_check_finds_modalities(source: str) -> None:
    assert problems_of_core(source)


@pytest.mark.parametrize("source", ["'image/mae'", "text = path.read_text()", "def f():\n    'An image.'", "say('an image')"])
def test_the_check_lets_words_pass(source: str) -> None:
    assert problems_of_core(source) == []


@pytest.mark.parametrize("source", ["mask = 1", "def f(mask): ...", "self.mask", "f(mask=1)", "class A:\n    mask: int"])
def test_the_check_finds_bare_masks(source: str) -> None:
    assert bare_masks(source)


@pytest.mark.parametrize(
    "source",
    ["torch.load(f)", "torch.load(f, weights_only=False)", "pickle.loads(b)", "np.load(f, allow_pickle=True)", "eval(t)"],
)
def test_the_check_finds_unsafe_calls(source: str) -> None:
    assert unsafe_calls(source)


@pytest.mark.parametrize("source", ["torch.load(f, weights_only=True)", "np.load(f)", "pickle.loads(pickle.dumps(x))"])
def test_the_check_lets_safe_calls_pass(source: str) -> None:
    assert unsafe_calls(source) == []


def test_import_contracts_cover_every_plugin() -> None:
    """A folder in plugins/ that pyproject.toml forgets would be checked by nothing."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = text[text.index("[tool.importlinter]") :]
    for package in sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()):
        assert contracts.count(f'"{package}"') == 4, f"{package}: root_packages and three contracts"
        assert f'"plugins/{package}"' in text, f"{package} is missing from the wheel's packages"


def test_source_roots_are_no_packages() -> None:
    """An ``__init__.py`` in them would make ``datasets`` importable and hide a well-known library of that name."""
    for folder in ("core", "plugins", "datasets"):
        assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks").rglob("*.py")) + sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.name
)
def test_benchmarks_and_scripts_import_names_that_exist(path: Path) -> None:
    """They run by hand only, so a renamed function would be noticed late."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("omnimask"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
