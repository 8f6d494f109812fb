"""Files on servers, read with ``fsspec`` through a bounded local cache. Imports no torch."""

from __future__ import annotations

from omnimask.remote.file_cache import FileCache
from omnimask.remote.files import PACKED, RemoteFile, RemoteFiles, expanded, local_file, open_url, url_path
from omnimask.remote.options import CacheOptions
from omnimask.remote.server import Server, check_url, is_url

__all__ = [
    "PACKED",
    "CacheOptions",
    "FileCache",
    "RemoteFile",
    "RemoteFiles",
    "Server",
    "check_url",
    "expanded",
    "is_url",
    "local_file",
    "open_url",
    "url_path",
]
