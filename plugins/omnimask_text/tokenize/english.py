"""The English tokenizer shipped with omnimask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from tokenizers import Tokenizer

from omnimask.interfaces import Context
from omnimask_text.tokenize.annotations import Kind
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.tokenize.tokenizer import TextTokenizer

FOLDER = Path(__file__).parents[1] / "english"


class EnglishTokenizer(TextTokenizer):
    """WordPiece [0] with 8,192 ids, lower-case, trained on the documentation of Python; needs no download.

    A character that is neither ASCII nor common in printed English makes its word unknown ([UNK]).

    Args:
        max_length: tokens of a sequence, including special ones; data sets cut longer texts.
        add_special: frame texts as [CLS] a [SEP], pairs as [CLS] a [SEP] b [SEP].
        annotations: value of each annotation's spans: ``span`` (nothing), ``number``, or a list of classes.

    [0] Wu et al.: Google's Neural Machine Translation System, 2016.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"max_length": 64}

    def __init__(
        self,
        context: Context,
        *,
        max_length: Annotated[int, Field(ge=1)] = 512,
        add_special: bool = True,
        annotations: dict[str, Kind] | None = None,
    ) -> None:
        del context
        backend = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
        super().__init__(
            Subwords(backend), max_length=max_length, add_special=add_special, vocabulary=None, annotations=annotations
        )
