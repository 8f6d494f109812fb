"""Files of a folder as a data set. A plugin's decoder interprets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from omnimask.files import content_digest, describe_endings, files_ending_in, files_state
from omnimask.interfaces import Context
from omnimask_datasets.folder_labels import FolderLabels


class FileFolder:
    """Base of data sets whose samples are the files of a folder and its sub-folders, sorted by relative path.

    A sample is ``{field: bytes}``. A file in a sub-folder also has a ``label``: the name of the first folder, or of the second if
    the first ones are named train, val, test or similar. Hidden files and folders are skipped, and so is anything but regular
    files. A subclass sets ``extensions`` (lower case, with the dot) and ``field``.

    Args:
        path: the folder.
        follow_links: whether to follow links to folders outside of it. Links to files are always followed.
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
        """Number of skipped files with other endings, and their endings."""
        self.labels = FolderLabels(self.names, self.path)
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """Return the file's path relative to the folder, with forward slashes."""
        return self.names[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the file's bytes, and its label if it has one. Raise ``OSError`` if the file cannot be read."""
        name = self.names[index]
        sample: dict[str, Any] = {self.field: (self.path / name).read_bytes()}
        label = self.labels(name)
        return sample if label is None else {**sample, "label": label}

    def fingerprint(self) -> str:
        """Return a digest of relative paths and contents. The folder's location does not affect it."""
        if self._fingerprint is None:
            self._fingerprint = content_digest((name, self.path / name) for name in self.names)
        return self._fingerprint

    def state(self) -> str:
        """Return a digest of the files' locations, sizes and times."""
        return files_state(self.path / name for name in self.names)
