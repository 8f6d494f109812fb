"""``python -m omnimask``.

Started this way, Python puts the working directory on ``sys.path``. In the root of a checkout, its folder ``datasets/`` would
shadow the Hugging Face package of this name. The entry is therefore removed before any other import.
"""

import sys


def _forget_working_directory() -> None:
    from pathlib import Path

    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", str(Path.cwd())):
        del sys.path[0]


if __name__ == "__main__":
    _forget_working_directory()

    from omnimask.cli import entry

    entry()
