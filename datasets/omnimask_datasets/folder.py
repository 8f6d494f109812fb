"""Files in a folder as a data set; what the files mean is the business of a plugin's decoder."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from omnimask.data.walk import endings, walk
from omnimask.interfaces import Context


class FileFolder:
    """Base of data sets whose samples are the files of a folder and its sub-folders, in the order of their relative paths.

    A sample is ``{field: bytes}``, and ``label``, the name of the first sub-folder, for a file that lies in one. Hidden files and
    folders are left out; links are followed, except back to a folder that contains them. A subclass sets ``extensions`` (lower
    case, with the dot) and ``field``.

    Args:
        path: the folder.
    """

    extensions: ClassVar[tuple[str, ...]] = ()
    field: ClassVar[str] = "file"

    def __init__(self, context: Context, *, path: Path) -> None:
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise ValueError(f"the folder {self.path} does not exist (looked in {Path.cwd()})")
        if not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; path must be a folder with files ending in {', '.join(self.extensions)}")
        found = sorted(walk(self.path))
        chosen = [(name, size) for name, size in found if PurePosixPath(name).suffix.lower() in self.extensions]
        if not chosen:
            wanted = ", ".join(self.extensions)
            others = describe_endings([name for name, _ in found])
            raise ValueError(f"{self.path} holds no files ending in {wanted}; found {others}")
        self.names: list[str] = [name for name, _ in chosen]
        self.sizes: list[int] = [size for _, size in chosen]

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """The file's path relative to the folder, with forward slashes."""
        return self.names[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The file's bytes, and the label where there is one. Raises ``OSError`` for a file that cannot be read."""
        name = self.names[index]
        sample: dict[str, Any] = {self.field: (self.path / name).read_bytes()}
        first, *rest = name.split("/")
        return {**sample, "label": first} if rest else sample

    def fingerprint(self) -> str:
        """Digest of the relative paths and sizes; where the folder lies does not matter."""
        digest = blake2b(digest_size=16)
        for name, size in zip(self.names, self.sizes, strict=True):
            digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def describe_endings(names: Sequence[str]) -> str:
    """What a folder or an archive holds instead, in a few words."""
    if not names:
        return "no files at all"
    return f"{len(names)} other files: {endings(names)}"
