"""Command ``tokenize``: the tokens of a recipe's data set, made once and stored in a folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from omnimask.builder.build import read_part
from omnimask.builder.reading import manifest_of, refusals, token_source
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import Context, HoldsTokens
from omnimask.recipe import Recipe
from omnimask.registry import plugin_files
from omnimask.token_store.manifest import MANIFEST, Manifest
from omnimask.token_store.remote import INDEX
from omnimask.token_store.scan import complete, open_tokens, token_scan
from omnimask.token_store.stored import StoredTokens
from omnimask.token_store.tokenize import TokenSource, tokenize_range, tokens_per_sample

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenized:
    """Result of :func:`tokenize`: the store, and its finished files; of a complete one also its samples and tokens."""

    path: Path
    files: int
    num_files: int
    samples: int = 0
    tokens: int = 0

    @property
    def is_complete(self) -> bool:
        return self.files == self.num_files


def tokenize(recipe: Recipe, path: Path, part: tuple[int, int] = (1, 1)) -> Tokenized:
    """Tokenize a recipe's data set into a folder; equivalent to ``omnimask tokenize``.

    An interrupted call continues after its finished ranges. On a complete store, it checks all files and makes damaged ones anew.

    Args:
        recipe: a loaded recipe, whose tokens are the same at every draw.
        path: folder of the store.
        part: (I, N) for the I-th of N parts, counted from 1. All parts must see the same folder. The last one completes the store.

    Raises:
        UserError: the recipe's tokens cannot be stored, or the folder has other contents.
        RunStopped: the folder cannot be written, or a worker process died.
    """
    plugin_files.use(recipe.plugins)
    source = _source(recipe)
    manifest = manifest_of(recipe, source)
    _check_folder(path, manifest)
    try:
        manifest.write(path)
        stored = open_tokens(path, source.specs)
        if stored is not None:
            _repair(source, path, stored)
            return _told(path, stored)
        scan = token_scan(source, path, tokens_per_sample(source), (part[0] - 1, part[1]))
        scan.run()
        done = sum(map(scan.is_done, range(scan.num_ranges)))
        if done < scan.num_ranges:
            return Tokenized(path, done, scan.num_ranges)
        stored = complete(source, path, scan)
    except OSError as error:
        raise RunStopped(f"{path} cannot be written: {error.strerror or error}; repeat the command to continue") from error
    if not (path / INDEX).is_dir():
        raise RunStopped(f"{path / INDEX} cannot be written; repeat the command to continue")
    return _told(path, stored)


def _source(recipe: Recipe) -> TokenSource:
    readers = {name: read_part(recipe, name) for name in recipe.modalities}
    if reasons := refusals(recipe, readers):
        raise UserError(*(f"these tokens cannot be stored: {reason}" for reason in reasons))
    component = recipe.data.dataset
    specs = {name: reader.tokenizer.spec for name, reader in readers.items()}
    dataset = component(Context(specs=specs, modalities=tuple(specs)))
    if isinstance(dataset, HoldsTokens):
        raise UserError(f"{component.where or 'data'}: the data set {component.name} holds tokens already")
    if not len(dataset):
        raise UserError(f"{component.where or 'data'}: the data set is empty")
    return token_source(recipe, dataset, readers)


def _check_folder(path: Path, manifest: Manifest) -> None:
    """Raise ``UserError`` unless the folder is missing, empty, or a store of the same tokens."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; choose another OUT")
    if not (path / MANIFEST).exists():
        if path.is_dir() and any(path.iterdir()):
            raise UserError(f"{path} is not empty; choose another OUT")
        return
    found = Manifest.read(path)
    if differences := list(found.differences(manifest)):
        shown = "; ".join(f"{name} was {before}, and is {now}" for name, before, now in differences)
        raise UserError(f"{path} was begun with other tokens: {shown}; choose another OUT, or remove this one")


def _repair(source: TokenSource, path: Path, stored: StoredTokens) -> None:
    """Make missing and damaged files anew."""
    total = len(source.dataset)
    for number, damage in stored.damaged():
        numbers = range(number * stored.size, min((number + 1) * stored.size, total))
        tokenize_range(source, path, numbers, stored.size)
        if any(again == number for again, _ in stored.damaged()):
            raise UserError(f"{damage}, and the data now give other tokens; remove {path} and tokenize again")
        logger.warning("%s; it was made anew", damage)


def _told(path: Path, stored: StoredTokens) -> Tokenized:
    files = len(stored.sizes)
    return Tokenized(path, files, files, len(stored), int(stored.index.tokens.sum(dtype="int64")))
