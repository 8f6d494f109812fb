"""Writes examples/omnimask-waves from the page that builds it.

``python scripts/write_example.py`` takes every titled block of docs/writing-a-plugin.md as a file; a test compares them.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "writing-a-plugin.md"
FOLDER = ROOT / "examples" / "omnimask-waves"
_BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)


def files() -> dict[str, str]:
    """Text of every file of the example, by its path in the package's folder."""
    return dict(_BLOCK.findall(PAGE.read_text(encoding="utf-8")))


def main() -> None:
    """Writes the files."""
    for name, text in files().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
