"""Search for a tokenizer of ``transformers``: in a file, a folder, the hub's local cache, or on the hub.

Python code of a tokenizer runs only if the recipe trusts it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from omnimask.pretrained import quiet, refuse_code

PATIENCE = 5.0
"""Timeout for the hub's answer, in seconds. ``transformers`` itself retries for most of a minute."""

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_FILES = ("tokenizer.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken", "tekken.json")
"""Files of which a tokenizer's folder has at least one; otherwise ``transformers`` creates an empty tokenizer."""
_PATTERNS = ("*token*", "vocab*", "merges*", "*.model", "tekken.json", "config.json")
"""Patterns of files to download from the hub."""
_USES = ("mask", "cls", "sep", "pad", "unk", "bos", "eos")


def load(path: str, *, trust_remote_code: bool = False) -> tuple[Tokenizer, Mapping[str, int]]:
    """Return a tokenizer and its special tokens by use (as far as its configuration defines them).

    Args:
        path: a ``tokenizer.json``, a folder, or a name on the hub.
        trust_remote_code: whether to run Python files named in a folder's configuration.

    Raises:
        ValueError: the path is missing, the tokenizer is unsupported by the library ``tokenizers``, or the hub is unreachable.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return _from_file(local), {}
    if local.is_dir():
        if not _holds_tokenizer(local):
            held = ", ".join(sorted(entry.name for entry in local.iterdir())[:5]) or "nothing"
            raise ValueError(f"the folder {local} contains no tokenizer ({' or '.join(_FILES)}); it contains {held}")
        return _from_folder(local, str(local), trust_remote_code)
    if not _NAME.fullmatch(path):
        raise ValueError(f"the folder {local} does not exist (looked in {Path.cwd()})")
    return _from_folder(_from_hub(path), path, trust_remote_code)


def _from_file(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{path} is not a tokenizer supported by the tokenizers library: {error}") from error


def _holds_tokenizer(folder: Path) -> bool:
    return any(True for pattern in _FILES for _ in folder.glob(pattern))


def _from_hub(name: str) -> Path:
    """Return the folder of the local cache with a hub tokenizer, downloaded if missing."""
    from huggingface_hub import snapshot_download

    with suppress(Exception):
        if _holds_tokenizer(folder := Path(snapshot_download(name, local_files_only=True))):
            return folder
    missing = f"folder {name} does not exist in {Path.cwd()}, and"
    if (trouble := _unreachable()) is not None:
        raise ValueError(
            f"{missing} the local cache of the hub does not contain it, and {trouble}. On a machine with network access, run: "
            f"{_download(name)}; then copy FOLDER here and set path to it"
        )
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(_PATTERNS)))
    except Exception as error:
        raise ValueError(f"{missing} the hub has no tokenizer of that name: {_first(error)}") from error
    if not _holds_tokenizer(folder):
        raise ValueError(f"{missing} {name} on the hub contains no tokenizer ({' or '.join(_FILES)})")
    return folder


def _download(name: str) -> str:
    patterns = " ".join(f"--include '{pattern}'" for pattern in _PATTERNS)
    return f"hf download {name} {patterns} --local-dir FOLDER"


def _from_folder(folder: Path, name: str, trust_remote_code: bool) -> tuple[Tokenizer, Mapping[str, int]]:
    """Load a folder with ``AutoTokenizer``."""
    refuse_code(folder, "tokenizer_config.json", is_trusted=trust_remote_code)
    auto_tokenizer = _auto_tokenizer()
    from transformers.utils import logging

    try:
        with quiet(logging):
            found = auto_tokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:
        needed = "it needs remote code; if you trust it, set trust_remote_code: true on the tokenizer"
        reason = needed if "trust_remote_code" in str(error) else _first(error)
        raise ValueError(f"the tokenizer {name} cannot be read: {reason}") from error
    return _converted(found, name)


def _auto_tokenizer() -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ValueError("the tokenizer text.huggingface needs transformers: pip install 'omnimask[text]'") from error
    return AutoTokenizer


def _converted(tokenizer: Any, path: str) -> tuple[Tokenizer, Mapping[str, int]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ValueError(f"the tokenizer {path} is a {type(tokenizer).__name__}, which the tokenizers library does not support")
    if len(backend.get_vocab()) <= len(backend.get_added_tokens_decoder()):
        raise ValueError(f"the tokenizer {path} has an empty vocabulary; files beside its configuration are missing")
    ids = {use: getattr(tokenizer, f"{use}_token_id", None) for use in _USES}
    return backend, {use: number for use, number in ids.items() if number is not None}


def _unreachable() -> str | None:
    """Return why the hub is unreachable, or None if it is reachable. Takes at most :data:`PATIENCE` seconds."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "the environment variable HF_HUB_OFFLINE disables the hub"
    endpoint = constants.ENDPOINT
    answer = _within(PATIENCE, lambda: get_session().head(endpoint, timeout=PATIENCE))
    if answer is None:
        return f"{endpoint} did not answer within {PATIENCE:g} seconds"
    return f"{endpoint} cannot be reached ({_first(answer)})" if isinstance(answer, Exception) else None


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """Return the result or exception of ``ask``, or None on timeout. A name lookup supports no other time limit."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None


def _first(error: Exception) -> str:
    """Return the first line of a message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
