"""Executes the notebooks of examples/notebooks and writes them back with their outputs.

``python scripts/run_notebooks.py`` needs the extra ``notebook``; a test executes them too and compares loosely.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "notebooks"


def execute(path: Path, folder: Path, *, timeout: int = 300) -> nbformat.NotebookNode:
    """A notebook with fresh outputs; its working directory is ``folder``."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def tidied(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what changes from one machine to the next: times of cells, ids of displays, the exact Python."""
    notebook.metadata = nbformat.from_dict({"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            output.pop("transient", None)
    return notebook


def main() -> None:
    """Writes the notebooks."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(tidied(execute(path, Path(folder))), path)


if __name__ == "__main__":
    main()
