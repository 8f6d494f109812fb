"""Names of weights in files of earlier formats."""

from __future__ import annotations

import re

_OLD = re.compile(r"passes\.main\.(?P<part>embeddings|encoder|predictors)\.|passes\.[^.]+\.(embeddings|encoder|predictors)\.")


def present_name(name: str) -> str | None:
    """Return the present name of a tensor of a state dict, None if it is a second name of a tensor of the main pass.

    In format 1, passes owned modules: those of the main pass were ``passes.main.encoder...``, and earlier passes shared them under
    names of their own.
    """
    found = _OLD.match(name)
    if found is None:
        return name
    if (part := found["part"]) is None:
        return None
    rest = name[found.end() :]
    return f"predictors.{rest}" if part == "predictors" else f"networks.main.{part}.{rest}"
