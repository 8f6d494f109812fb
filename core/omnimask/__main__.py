"""``python -m omnimask``.

Started this way from a checkout's root, Python puts the working directory on ``sys.path``, and the folder ``datasets/`` there
would pass for the Hugging Face package of that name. So the entry goes before anything else is imported.
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
