"""What maskers read from the fields of tokens. L tokens."""

from __future__ import annotations

from omnimask.interfaces import Context


def check_field(context: Context, masker: str, field: str) -> None:
    """Raises ``ValueError`` where the tokens of a modality that a masker serves lack a field that it reads."""
    for name in context.modalities:
        if field not in context.specs[name].fields:
            known = sorted(context.specs[name].fields) or "none"
            raise ValueError(f"masker {masker} needs the field {field!r}, and the tokens of {name!r} have {known}")
