"""Tokenizers of ``transformers``, from a folder or by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from omnimask.interfaces import Context, LocalOrName
from omnimask_text.tokenize.annotations import Kind
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.find_tokenizer import load
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.tokenize.tokenizer import TextTokenizer


class HuggingFaceTokenizer(TextTokenizer):
    """Any tokenizer supported by ``AutoTokenizer`` and the library ``tokenizers``, with the same ids.

    Args:
        path: a folder, a file ``tokenizer.json``, or a name on the Hugging Face hub; its local cache is searched first.
            ``embedded`` is the tokenizer of ``text.english``.
        max_length: tokens of a sequence, including special ones; data sets cut longer texts.
        add_special: frame texts with the tokenizer's special tokens, ``[CLS] a [SEP]`` in BERT's case.
        vocabulary: number of ids, if a checkpoint's embedding has more rows than the tokenizer has ids.
        annotations: value of each annotation's spans: ``span`` (nothing), ``number``, or a list of classes.
        trust_remote_code: run the Python files named in the tokenizer's configuration; read them first.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"path": "embedded", "max_length": 64, "vocabulary": None}

    def __init__(
        self,
        context: Context,
        *,
        path: Literal["embedded"] | LocalOrName,
        max_length: Annotated[int, Field(ge=1)] = 512,
        add_special: bool = True,
        vocabulary: Annotated[int, Field(ge=1)] | None = None,
        annotations: dict[str, Kind] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        del context
        super().__init__(
            Subwords(*load(str(FOLDER) if path == "embedded" else path, trust_remote_code=trust_remote_code)),
            max_length=max_length,
            add_special=add_special,
            vocabulary=vocabulary,
            annotations=annotations,
        )
