"""Clusters of ids, read from a file or computed by k-means over embeddings. V ids of a vocabulary, D width."""

from __future__ import annotations

import importlib
import logging
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import cache_folder, keep_array, kept_array

logger = logging.getLogger(__name__)

_FORMAT = 1
_TOO_MANY = 20
Ints = NDArray[np.int64]


def read_clusters(path: Path, vocabulary: int) -> Ints:
    """Return (V,) cluster of every id, -1 for none.

    ``.npy`` files contain an integer array; other files are text with one integer per line, ignoring lines that begin with ``#``.

    Raises:
        ValueError: the file cannot be read, or its length differs from the vocabulary.
    """
    try:
        if path.suffix == ".npy":
            clusters = np.load(path, allow_pickle=False)
            if clusters.ndim != 1 or clusters.dtype.kind not in "iu":
                raise ValueError(f"expected integers of shape ({vocabulary},), got {clusters.dtype} {clusters.shape}")
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            clusters = np.array([int(line) for line in lines if not line.startswith("#")], np.int64)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"clusters {path} cannot be read: {error}") from error
    if len(clusters) != vocabulary:
        raise ValueError(f"clusters {path} has {len(clusters)} ids, but the tokenizer has {vocabulary}")
    return np.maximum(clusters.astype(np.int64), -1)


def find_clusters(path: Path, name: str | None, num_clusters: int, is_member: NDArray[np.bool_]) -> Ints:
    """Return (V,) cluster of every id by k-means over the rows of an embedding matrix, -1 for non-members.

    Args:
        path: a safetensors file.
        name: of the matrix, which has a row for every id (and may have more); None if only one matrix fits.
        num_clusters: k.
        is_member: (V,) ids to cluster.

    Raises:
        ValueError: the matrix is missing, or scikit-learn is not installed.
    """
    digest = blake2b(repr((_FORMAT, name, num_clusters)).encode() + is_member.tobytes(), digest_size=16)
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ValueError(f"embeddings {path} cannot be read: {error.strerror or error}") from error
    file = cache_folder() / "clusters" / f"{digest.hexdigest()}.npy"
    clusters = kept_array(file, lambda array: array.shape == is_member.shape, "clusters")
    if clusters is None:
        matrix = _matrix(path, name, len(is_member))
        logger.info("computing %d clusters of %d ids; later runs reuse them", num_clusters, int(is_member.sum()))
        clusters = np.full(len(is_member), -1, np.int64)
        clusters[is_member] = k_means(matrix[is_member], num_clusters)
        keep_array(file, clusters, "clusters")
    return clusters


def k_means(rows: NDArray[np.float32], num_clusters: int) -> Ints:
    """Return (n,) cluster of every row (n, D), deterministically.

    Raises:
        ValueError: there are fewer rows than clusters, or scikit-learn is not installed.
    """
    if len(rows) < num_clusters:
        raise ValueError(f"{num_clusters} clusters need as many ids, got {len(rows)}")
    try:
        cluster = importlib.import_module("sklearn.cluster")
    except ImportError as error:
        raise ValueError("clustering needs scikit-learn; install it with: pip install 'omnimask[evaluation]'") from error
    return cluster.KMeans(num_clusters, n_init=1, random_state=0).fit_predict(rows).astype(np.int64)


def _matrix(path: Path, name: str | None, vocabulary: int) -> NDArray[np.float32]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            fitting = [key for key, shape in shapes.items() if len(shape) == 2 and shape[0] >= vocabulary and name in (None, key)]
            if len(fitting) != 1:
                found = ", ".join(f"{key} {shape}" for key, shape in list(shapes.items())[:_TOO_MANY])
                raise ValueError(
                    f"embeddings {path}: {len(fitting)} matrices have {vocabulary} rows (one per id)"
                    f"{'' if name is None else f' and the name {name!r}'}; choose one with tensor=...; tensors: {found}"
                )
            return file.get_tensor(fitting[0])[:vocabulary].float().numpy()
    except SafetensorError as error:
        raise ValueError(f"embeddings {path} is not a safetensors file: {error}") from error
