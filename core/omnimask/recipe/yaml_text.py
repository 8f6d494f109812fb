"""Conversion between YAML text and documents, by the rules of YAML 1.2 [0], stricter where this catches mistakes.

PyYAML alone reads ``1e-3`` as text, ``no`` as a boolean, ``012`` as 10, ``1:30`` as 90, and lets the last of two equal keys win.

[0] YAML 1.2.2, section 10.3, core schema.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from omnimask.errors import UserError
from omnimask.recipe.document import Document, KeyPath, SourceLocation

UNSET = "???"
"""Value of a key that the user of a recipe must set."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
)


class _YamlLoader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases (*name) are not supported; write the value out, or use extends", mark)
        return super().compose_node(parent, index)

    def _is_at_unset(self) -> bool:
        """Return whether ``???`` follows inside ``{}`` or ``[]``, where PyYAML takes a question mark for a complex key."""
        return bool(self.flow_level) and self.prefix(3) == UNSET and self.peek(3) in "\0 \t\r\n,]}"

    def check_key(self) -> bool:
        return not self._is_at_unset() and super().check_key()

    def check_plain(self) -> bool:
        return self._is_at_unset() or super().check_plain()

    def scan_plain(self) -> Any:
        if not self._is_at_unset():
            return super().scan_plain()
        start = self.get_mark()
        self.forward(len(UNSET))
        return yaml.ScalarToken(UNSET, True, start, self.get_mark())


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes text if either PyYAML's rules or these would misread it, so all readers agree on the output."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Use double quotes for unprintable text. PyYAML's other styles lose some line-break characters (U+0085)."""
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
for _name, _pattern, _first in _SCALARS:
    _expression = re.compile(rf"(?:{_pattern})\Z")
    _YamlLoader.add_implicit_resolver(_TAG + _name, _expression, _first)
_Dumper.yaml_implicit_resolvers = {
    first: _YamlLoader.yaml_implicit_resolvers.get(first, []) + yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])
    for first in {*_YamlLoader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}


def parse(text: str, source: str, order: int = 0, folder: Path | None = None) -> Document:
    """Parse YAML text into a document.

    Args:
        text: one YAML document.
        source: the file's name, for messages.
        order: sorts the messages of several files.
        folder: of the file, absolute; the base of its relative paths.

    Raises:
        UserError: a syntax error, a tag, an alias or a duplicate key, with file, line and column.
    """
    try:
        root = yaml.compose(text, Loader=_YamlLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UserError(f"{at}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{source}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UserError(f"{source}: nested too deeply") from error
    reader = _NodeReader(SourceLocation(source, 1, 1, order, folder))
    data = reader.value(root, ()) if root is not None else None
    if reader.errors:
        raise UserError(*reader.errors)
    return Document(data, {(): reader.start, **reader.places})


def parse_value(text: str, place: SourceLocation) -> Document:
    """Parse a value of the command line by the same rules. All of its parts have the same origin.

    Raises:
        UserError: the text is not valid YAML.
    """
    try:
        document = parse(text, "value")
    except UserError as error:
        raise UserError(f"{place}: {error.messages[0]}") from error
    return Document(document.data, dict.fromkeys(document.places, place))


def dump(data: Any) -> str:
    """Return plain data as YAML text, which :func:`parse` converts back to equal data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=130)


def inline(value: Any) -> str:
    """Return a value on one line, as written inside a recipe or after ``key=``."""
    text = yaml.dump([value], Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=1 << 20)
    return text.strip()[1:-1]


class _NodeReader:
    """Conversion of nodes to plain data, with the origin of every value and all problems."""

    def __init__(self, start: SourceLocation) -> None:
        self.start = start
        self.places: dict[KeyPath, SourceLocation] = {}
        self.errors: list[str] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.places.setdefault(path, self._place(node))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        return self._refuse(node, f"the tag {node.tag} is not supported")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key must be a scalar")
                continue
            key = key_node.value
            if key in data:
                self._refuse(key_node, f"duplicate key {key!r}, first on line {self.places[(*path, key)].line}")
                continue
            self.places[(*path, key)] = self._place(key_node)
            data[key] = self.value(value_node, (*path, key))
        return data

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text, tag = node.value, node.tag.removeprefix(_TAG)
        try:
            match tag:
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
                    str(number)  # Python rejects thousands of digits here, as it does in decimal notation
                    return number
                case "float":
                    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except (ValueError, KeyError):
            return self._refuse(node, f"{text if len(text) <= 60 else text[:57] + '...'!r} is not a valid {tag}")
        return self._refuse(node, f"the tag {node.tag} is not supported")

    def _place(self, node: yaml.Node) -> SourceLocation:
        return replace(self.start, line=node.start_mark.line + 1, column=node.start_mark.column + 1)

    def _refuse(self, node: yaml.Node, message: str) -> None:
        place = self._place(node)
        self.errors.append(f"{place}:{place.column}: {message}")
