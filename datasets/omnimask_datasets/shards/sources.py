"""Sources of shards: the files of a folder, or the samples of any data set."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from omnimask.errors import UserError
from omnimask.files import content_digest, walk
from omnimask.interfaces import Dataset
from omnimask_datasets.archive import LABELS
from omnimask_datasets.shards.encode import encode, key_in_shard, without_dots
from omnimask_datasets.shards.names import field_of, is_refused, split_name

logger = logging.getLogger(f"omnimask.{__name__}")

_NAMED = 3
_WORD = re.compile(r"[a-z][a-z0-9_-]*")
_MOST_FIELDS, _FEW_FIELDS = 16, 4
"""Most files with dotted endings per sample, and the limit if there is no other sample to compare with."""
_RARE = 0.1
"""Share of the samples up to which a set of fields counts as odd."""


class SampleSource(Protocol):
    """Samples to write."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Return a description of the samples, for the manifest."""
        ...

    def __len__(self) -> int: ...
    def key(self, index: int) -> str:
        """Return the sample's key in a shard."""
        ...

    def members(self, index: int) -> Mapping[str, bytes]:
        """Return the bytes by ending. Raise ``OSError`` or ``ValueError`` if the sample cannot be read."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of the samples' contents."""
        ...


class FolderSource:
    """Files of a folder. Files that differ only in their endings form one sample.

    Hidden files are skipped, and so is a table ``labels.csv`` at the top.

    Args:
        path: the folder.
        follow_links: whether to follow links to folders outside of it. Links to files are always followed.

    Raises:
        UserError: the folder is missing or empty, or contains files that shards may not contain.
    """

    def __init__(self, path: Path, *, follow_links: bool = False) -> None:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder (looked in {Path.cwd()}); to use a data set: name=DATASET")
        try:
            files = [name for name, _ in sorted(walk(path, follow_links=follow_links))]
        except ValueError as error:
            raise UserError(str(error)) from error
        self.path = path
        self.samples: dict[str, dict[str, str]] = {}
        if LABELS in files:
            logger.warning("%s is a table of labels and not a sample; use it with omnimask evaluate --labels", path / LABELS)
        names, left_out = member_names([name for name in files if name != LABELS])
        for name, (key, ending) in names.items():
            self._add(name, key, ending)
        if left_out:
            logger.warning("skipping %d files without an extension: %s", len(left_out), _some(left_out))
        if not self.samples:
            raise UserError(f"{path} contains no files with an extension")
        self.keys = list(self.samples)
        self.about = {"folder": path.name}
        self._warn_of_others()

    def _add(self, name: str, key: str, ending: str) -> None:
        whole = split_name(name)
        if is_refused(ending) or (whole is not None and is_refused(whole[1])):
            raise UserError(f"{self.path / name} may contain a pickle, which is not allowed in shards; move such files elsewhere")
        if ending == "tar":
            raise UserError(f"{self.path / name} is a tar file; to read shards: name=shards")
        try:
            key = without_dots(key)
        except ValueError as error:
            raise UserError(f"{str(self.path / name)!a}: {error}; rename the file") from error
        members = self.samples.setdefault(key, {})
        if ending in members:
            raise UserError(f"{self.path / name} and {members[ending]} would have the same name in a shard; rename one of them")
        members[ending] = name

    def _warn_of_others(self) -> None:
        """Warn of samples with rare fields, for example a README among pictures."""
        fields = {key: frozenset(map(field_of, members)) for key, members in self.samples.items()}
        counted = Counter(fields.values())
        common = frozenset().union(*(each for each, count in counted.items() if count > _RARE * len(self.keys)))
        if odd := [key for key, each in fields.items() if common and not each & common]:
            names = _some([name for key in odd for name in self.samples[key].values()])
            logger.warning("%d samples lack fields that others have (%s): %s", len(odd), _some(sorted(common)), names)

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        """Return the path of the sample's files without their endings."""
        return self.keys[index]

    def members(self, index: int) -> dict[str, bytes]:
        """Return the files' bytes by ending."""
        return {ending: (self.path / name).read_bytes() for ending, name in self.samples[self.keys[index]].items()}

    def fingerprint(self) -> str:
        """Return a digest of the files' names and contents."""
        return content_digest((name, self.path / name) for members in self.samples.values() for name in members.values())


class DatasetSource:
    """Samples of a data set; ``name`` is the component's.

    Raises:
        UserError: two samples would have the same key in a shard.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset, self.about = dataset, {"dataset": name}
        seen: dict[str, str] = {}
        for index in range(len(dataset)):
            key = dataset.key(index)
            try:
                here = key_in_shard(key)
            except ValueError as error:
                raise UserError(str(error)) from error
            if here in seen:
                raise UserError(
                    f"the samples {seen[here]!r} and {key!r} would both be named {here!r} in a shard; rename one of them"
                )
            seen[here] = key
        self.keys = list(seen)

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        """Return the sample's key in a valid form for members."""
        return self.keys[index]

    def members(self, index: int) -> dict[str, bytes]:
        """Return the sample's fields, encoded."""
        return encode(self.dataset.key(index), self.dataset[index])

    def fingerprint(self) -> str:
        """Return the data set's fingerprint."""
        return self.dataset.fingerprint()


def member_names(names: Sequence[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Return key and ending of every file by name, and the names of files without an ending.

    ``1.left.jpg`` is ``left.jpg`` of the sample ``1`` if ``left`` can be a field: it is a word, and many samples have it or the
    sample also has a file ``1.jpg``. Other dots are part of the key: ``photo.7.jpg`` is ``jpg`` of ``photo.7``.
    """
    split = {name: parts for name in names if (parts := split_name(name)) is not None}
    plain = {key for key, ending in split.values() if "." not in ending}
    several = [(key, ending) for key, ending in split.values() if "." in ending]
    num_samples, num_files = len({key for key, _ in several}), Counter(key for key, _ in several)
    num_with = Counter(ending for _, ending in several)

    def is_field(key: str, ending: str) -> bool:
        if num_files[key] > _MOST_FIELDS or not all(_WORD.fullmatch(part) for part in ending.split(".")[:-1]):
            return False
        return key in plain or (2 * num_with[ending] >= num_samples and (num_samples > 1 or num_files[key] <= _FEW_FIELDS))

    found: dict[str, tuple[str, str]] = {}
    for name, (key, ending) in split.items():
        stem, _, last = name.rpartition(".")
        found[name] = (key, ending) if "." not in ending or is_field(key, ending) else (stem, last.lower())
    if dotted := [name for name, (key, _) in found.items() if key != split[name][0]]:
        logger.info("%d files have dots in their names, which are replaced by _ in keys: %s", len(dotted), _some(dotted))
    return found, [name for name in names if name not in split]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
