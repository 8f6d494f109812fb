"""For authors of data sets: file listings, content digests, label tables, and progress of reading. Imports no torch.

:mod:`omnimask.cache` caches results computed from files.
"""

from __future__ import annotations

from omnimask.data.file_digests import content_digest, files_state, identity, is_settled
from omnimask.data.label_tables import Row, parse_labels, unknown_keys
from omnimask.data.progress_lines import watched
from omnimask.data.sample_errors import of_one_sample
from omnimask.data.sample_keys import key_problem
from omnimask.data.walk import describe_endings, endings, files_ending_in, log_left_out, walk
from omnimask.remote.retries import note as note_retry

__all__ = [
    "Row",
    "content_digest",
    "describe_endings",
    "endings",
    "files_ending_in",
    "files_state",
    "identity",
    "is_settled",
    "key_problem",
    "log_left_out",
    "note_retry",
    "of_one_sample",
    "parse_labels",
    "unknown_keys",
    "walk",
    "watched",
]
