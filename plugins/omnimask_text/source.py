"""Finds a tokenizer that ``transformers`` reads: in a file, a folder, the hub's local cache, or on the hub. Runs no code of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

PATIENCE = 5.0
"""Seconds within which the hub must answer. ``transformers`` itself tries again for most of a minute."""

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_FILES = ("tokenizer.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken", "tekken.json")
"""Files of which a tokenizer's folder has at least one; ``transformers`` makes an empty tokenizer of a folder without."""
_USES = ("mask", "cls", "sep", "pad", "unk", "bos", "eos")


def absolute(path: str) -> str:
    """A path that exists as an absolute one, so that it means the same from every folder; a name on the hub stays."""
    local = Path(path).expanduser()
    return str(local.absolute()) if local.exists() else path


def load(path: str) -> tuple[Tokenizer, Mapping[str, int]]:
    """A tokenizer and its special tokens by use (as far as a configuration tells them).

    Args:
        path: a ``tokenizer.json``, a folder, or a name on the hub.

    Raises:
        ValueError: nothing is there, it is no tokenizer that the library ``tokenizers`` can run, or the hub cannot be reached.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return _from_file(local), {}
    if local.is_dir():
        if not any(True for pattern in _FILES for _ in local.glob(pattern)):
            held = ", ".join(sorted(entry.name for entry in local.iterdir())[:5]) or "nothing"
            raise ValueError(f"the folder {local} holds no tokenizer ({' or '.join(_FILES)}); it holds {held}")
        return _converted(_read(str(local), is_local=True), path)
    if not _NAME.fullmatch(path):
        raise ValueError(f"the folder {local} does not exist (looked in {Path.cwd()})")
    return _converted(_from_hub(path), path)


def _from_file(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{path} is no tokenizer that the library tokenizers can read: {error}") from error


def _from_hub(name: str) -> Any:
    """By name from the local cache, else from the hub."""
    try:
        return _read(name, is_local=True)
    except OSError:
        pass
    if (trouble := _unreachable()) is not None:
        raise ValueError(
            f"there is no folder {name} in {Path.cwd()}, no such tokenizer in the local cache of the hub, and {trouble}. "
            f"Where there is a network, run: {_download(name)}; then bring FOLDER here and give it as path"
        )
    try:
        return _read(name, is_local=False)
    except OSError as error:
        reason = f"there is no folder {name} in {Path.cwd()}, and the hub has no such tokenizer"
        raise ValueError(f"{reason}: {_first(error)}") from error


def _download(name: str) -> str:
    patterns = " ".join(f"--include '{pattern}'" for pattern in ("*token*", "vocab*", "merges*", "*.model", "config.json"))
    return f"hf download {name} {patterns} --local-dir FOLDER"


def _read(path: str, *, is_local: bool) -> Any:
    """What ``AutoTokenizer`` makes of a folder or name. Raises ``OSError`` where files are missing."""
    auto = _auto_tokenizer()
    try:
        return auto.from_pretrained(path, local_files_only=is_local, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:
        reason = "it needs code of its own to run, which is never trusted" if "trust_remote_code" in str(error) else _first(error)
        raise ValueError(f"the tokenizer {path} cannot be read: {reason}") from error


def _auto_tokenizer() -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ValueError("the tokenizer text.huggingface needs transformers: pip install 'omnimask[text]'") from error
    return AutoTokenizer


def _converted(tokenizer: Any, path: str) -> tuple[Tokenizer, Mapping[str, int]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ValueError(f"the tokenizer {path} is a {type(tokenizer).__name__}, which the library tokenizers cannot run")
    if len(backend.get_vocab()) <= len(backend.get_added_tokens_decoder()):
        raise ValueError(f"the tokenizer {path} has an empty vocabulary; files are missing beside its configuration")
    ids = {use: getattr(tokenizer, f"{use}_token_id", None) for use in _USES}
    return backend, {use: number for use, number in ids.items() if number is not None}


def _unreachable() -> str | None:
    """Why the hub cannot be reached; None if it can. Takes no longer than :data:`PATIENCE`."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "the environment variable HF_HUB_OFFLINE forbids to ask the hub"
    endpoint = constants.ENDPOINT
    answer = _within(PATIENCE, lambda: get_session().head(endpoint, timeout=PATIENCE))
    if answer is None:
        return f"{endpoint} did not answer within {PATIENCE:g} seconds"
    return f"{endpoint} cannot be reached ({_first(answer)})" if isinstance(answer, Exception) else None


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """What ``ask`` returned or raised; None if it takes longer. Looking up a name cannot be given a time limit otherwise."""
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
    """The first line of a message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
