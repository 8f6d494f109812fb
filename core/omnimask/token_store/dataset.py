"""Data set ``tokens``: a store made by ``omnimask tokenize``."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from omnimask.data.whole_parts import WholeParts
from omnimask.errors import RunStopped
from omnimask.interfaces import Context, Draws, TokenColumns, Tokens, TokenSpec
from omnimask.remote import CacheOptions
from omnimask.token_store.manifest import Manifest
from omnimask.token_store.range_folder import DamagedStore
from omnimask.token_store.remote import RemoteStore
from omnimask.token_store.scan import open_remote_tokens, open_tokens
from omnimask.token_store.stored import StoredTokens

_LOCAL = CacheOptions()


class TokenStore:
    """Tokens made once by ``omnimask tokenize``, mapped from disk, also of a server. Training reads them without the original data.

    Keys, order and masks are those of the original data set, so a run gives the same losses. The recipe keeps its tokenizer, which
    must be the store's. Augmentation and transforms of groups need raw values.

    Args:
        path: folder of the store.
        url: instead of a path, the store's folder on a server as a URL for ``fsspec`` (``https://host/folder``, ``s3://bucket/folder``).
            Its index is loaded at the start, and each file is copied into a cache when its tokens are first read.
        cache: location and size of the copies, timeouts and retries.
    """

    instead_of: ClassVar[Mapping[str, str]] = {"path": "url"}

    def __init__(self, context: Context, *, path: Path | None = None, url: str | None = None, cache: CacheOptions = _LOCAL) -> None:
        del context
        if (path is None) == (url is None):
            raise ValueError("this data set needs either path (a local folder) or url (of a server)")
        self.place = str(path or url)
        self.manifest, self.stored = _opened(path, url or "", cache)

    def read_fields(self, names: Mapping[str, Collection[str]]) -> None:
        """Read only the named fields of the tokens of each modality from now on."""
        specs = {
            modality: dataclasses.replace(spec, fields={name: spec.fields[name] for name in names[modality]})
            for modality, spec in self.stored.specs.items()
        }
        self.stored = dataclasses.replace(self.stored, specs=specs)

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def counts(self) -> NDArray[Any]:
        """Tokens of every sample (N,), in the smallest unsigned type."""
        return self.stored.index.tokens

    def key(self, index: int) -> str:
        """Return the sample's key, with the start of the part unless it is the only one."""
        whole, parts = self.whole(index), self.stored.index
        return whole if parts.is_alone(parts.sample(index)) else f"{whole}#{parts.start[index]}"

    def whole(self, index: int) -> str:
        """Return the key of the sample that a part belongs to."""
        with self._stopping():
            return self.stored.key(index)

    def wholes(self) -> WholeParts:
        """Return the keys of the samples that have parts, and the location of their parts."""
        return WholeParts(self._sample_key, self.stored.index.first, self._identity)

    def _sample_key(self, sample: int) -> str:
        with self._stopping():
            self.stored.read_keys()
            return self.stored.key(int(self.stored.index.first[sample]))

    def _identity(self) -> str:
        return repr((self.manifest.fingerprint, self.stored.checksums.tolist()))

    def held(self, index: int) -> tuple[Mapping[str, Tokens], Mapping[str, Any]]:
        """Return the tokens of a sample by modality, and the values of its kept fields.

        Raises:
            ValueError: the sample was unreadable when the tokens were made.
            RunStopped: a file is missing or damaged.
        """
        with self._stopping():
            return self.stored.held(index)

    def held_columns(
        self, indices: Sequence[int], draws: Draws
    ) -> tuple[Mapping[str, TokenColumns], Mapping[str, NDArray[np.int64]]] | None:
        """Return the tokens of many samples; see :class:`omnimask.interfaces.HoldsColumns`.

        Raises:
            RunStopped: a file is missing or damaged.
        """
        with self._stopping():
            return self.stored.columns(indices, draws)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return the tokens under the main field of each modality, and the kept fields."""
        tokens, fields = self.held(index)
        return {**fields, **{self.manifest.modalities[name].main_field: part for name, part in tokens.items()}}

    def fingerprint(self) -> str:
        """Return a digest of the parts and of the files' checksums."""
        digest = blake2b(self._identity().encode(), digest_size=16)
        self.stored.index.update(digest)
        return digest.hexdigest()

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop the run at a damaged file."""
        try:
            yield
        except DamagedStore as damage:
            raise RunStopped("; ".join(filter(None, (str(damage), self.stored.files.remedy)))) from damage


def _opened(path: Path | None, url: str, cache: CacheOptions) -> tuple[Manifest, StoredTokens]:
    """Open a complete store of a folder, or of a URL."""
    if path is None:
        remote = RemoteStore(url, cache)
        manifest = remote.manifest()
        return manifest, open_remote_tokens(remote, _specs(manifest))
    manifest = Manifest.read(path)
    stored = open_tokens(path, _specs(manifest))
    if stored is None:
        raise ValueError(f"{path} is not complete; repeat the `omnimask tokenize` command that began it")
    return manifest, stored


def _specs(manifest: Manifest) -> dict[str, TokenSpec]:
    return {name: part.spec for name, part in manifest.modalities.items()}
