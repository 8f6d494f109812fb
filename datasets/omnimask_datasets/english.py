"""English text from the Python installation: its language reference and the documentation in its standard library. No download."""

from __future__ import annotations

import json
import logging
import platform
import sys
from hashlib import blake2b
from pathlib import Path

from omnimask.cache import cache_folder, keep
from omnimask.interfaces import Context
from omnimask_datasets.documentation import Documents, collect, library

logger = logging.getLogger(f"omnimask.{__name__}")

_FORMAT = 1


class English:
    """About 2 million characters of English prose about Python, from the Python installation.

    A document is a topic of ``help()``, or the docstrings of one module of the standard library. A sample has ``text``. Duplicate
    paragraphs are kept once; examples and grammar rules are removed, since they are not English. The text is that of the running
    Python, so it differs between Python versions (and builds that omit modules). A run's ``environment.json`` contains its hash,
    which should be quoted with results. A run does not continue on a different text.
    """

    def __init__(self, context: Context) -> None:
        del context
        documents, is_new = _kept_or_collected()
        self.names, self.texts = list(documents), list(documents.values())
        logger.log(
            logging.INFO if is_new else logging.DEBUG,
            "english: %d documents with %d characters, hash %s, from Python %s",
            len(self.texts),
            sum(map(len, self.texts)),
            self.fingerprint(),
            platform.python_version(),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def key(self, index: int) -> str:
        """Return ``topics/assert``, ``modules/email/parser.py`` and so on."""
        return self.names[index]

    def __getitem__(self, index: int) -> dict[str, str]:
        """Return ``text``."""
        return {"text": self.texts[index]}

    def fingerprint(self) -> str:
        """Return the BLAKE2 hash of all keys and texts."""
        return _digest(dict(zip(self.names, self.texts, strict=True)))


def _kept_or_collected() -> tuple[Documents, bool]:
    """Return the documents, and whether they were collected now. They are collected once per installed Python."""
    source = library()
    identity = repr((_FORMAT, sys.version, str(source)))
    name = f"{platform.python_version()}-{blake2b(identity.encode(), digest_size=8).hexdigest()}.json"
    file = cache_folder() / "english" / name
    if (kept := _kept(file)) is not None:
        return kept, False
    documents = collect(source)
    record = json.dumps({"hash": _digest(documents), "documents": documents}, ensure_ascii=False)
    keep(file, lambda stream: stream.write(record.encode()), "the texts of the data set english")
    return documents, True


def _kept(file: Path) -> Documents | None:
    try:
        record = json.loads(file.read_bytes())
        documents: Documents = record["documents"]
        if _digest(documents) == record["hash"]:
            return documents
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.debug("%s: %s", file, error)
    logger.warning("%s is damaged; collecting its texts again", file)
    return None


def _digest(documents: Documents) -> str:
    digest = blake2b(digest_size=16)
    for key, text in documents.items():
        digest.update(f"{key}\0{text}\0".encode())
    return digest.hexdigest()
