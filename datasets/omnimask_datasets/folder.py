"""Files in a folder as a data set; what the files mean is the business of a plugin's decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from omnimask.files import content_digest, describe_endings, files_ending_in, files_state
from omnimask.interfaces import Context
from omnimask_datasets.folder_labels import FolderLabels


class FileFolder:
    """Base of data sets whose samples are the files of a folder and its sub-folders, in the order of their relative paths.

    A sample is ``{field: bytes}`` and, for a file that lies in a sub-folder, ``label``: the name of the first one, or of the second
    where the first ones are called train, val, test or the like. Hidden files and folders are left out, as is everything that is no
    regular file. A subclass sets ``extensions`` (lower case, with the dot) and ``field``.

    Args:
        path: the folder.
        follow_links: whether links to folders outside of it are followed. Links to files always are.
    """

    extensions: ClassVar[tuple[str, ...]] = ()
    field: ClassVar[str] = "file"

    def __init__(self, context: Context, *, path: Path, follow_links: bool = False) -> None:
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise ValueError(f"the folder {self.path} does not exist (looked in {Path.cwd()})")
        if not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; path must be a folder with files ending in {', '.join(self.extensions)}")
        found, others = files_ending_in(self.path, self.extensions, follow_links=follow_links)
        self.names: list[str] = [name for name, _ in found]
        self.left_out = describe_endings(others) if others else "none"
        """How many files have other endings, and which."""
        self.labels = FolderLabels(self.names, self.path)
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """The file's path relative to the folder, with forward slashes."""
        return self.names[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The file's bytes, and the label where there is one. Raises ``OSError`` for a file that cannot be read."""
        name = self.names[index]
        sample: dict[str, Any] = {self.field: (self.path / name).read_bytes()}
        label = self.labels(name)
        return sample if label is None else {**sample, "label": label}

    def fingerprint(self) -> str:
        """Digest of the relative paths and the contents; where the folder lies does not matter."""
        if self._fingerprint is None:
            self._fingerprint = content_digest((name, self.path / name) for name in self.names)
        return self._fingerprint

    def state(self) -> str:
        """Digest of the files' places, sizes and times."""
        return files_state(self.path / name for name in self.names)
