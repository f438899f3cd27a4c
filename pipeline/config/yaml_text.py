"""YAML made of plain values: what stands twice, is nested without end or grows by its aliases is refused.

A document is judged on the graph of nodes that it is composed to, in which an alias is one node however often it
stands, so that nothing is expanded to be counted.
"""

from __future__ import annotations

from typing import NamedTuple

import yaml
from pydantic import JsonValue

from pipeline.errors import ConfigError

MAX_DEPTH, MAX_VALUES = 100, 10_000
TOO_DEEP = f"values are nested more than {MAX_DEPTH} deep; a configuration needs less"


def parsed(text: str | bytes, name: str) -> JsonValue:
    """The values of one document; None of an empty one. text: bytes are UTF-8, or UTF-16 with a byte order mark.

    Raises ConfigError, which begins with `name`, if it is no YAML, has a key twice in one section, is nested more than
    MAX_DEPTH deep, or has more than MAX_VALUES values once its aliases are written out.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Judge(name).judged(node, "")
        document: JsonValue = loader.construct_document(node)
    except _TooDeep:
        raise ConfigError(f"{name}: {TOO_DEEP}") from None
    except (yaml.YAMLError, ValueError) as error:  # a number of too many digits and a 13th month are no YAMLError
        raise ConfigError(f"{name}: not YAML ({' '.join(str(error).split())})") from None
    return document


class _TooDeep(Exception):
    """Values are nested more than MAX_DEPTH deep."""


class _Loader(yaml.SafeLoader):
    """Safe values, composed no deeper than MAX_DEPTH."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooDeep
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


class _Extent(NamedTuple):
    """How many values a node has with all below it, and how deep they are nested, aliases written out."""

    values: int
    depth: int


class _Judge:
    """Walks over a graph of nodes, over each node once. name: what an error begins with."""

    def __init__(self, name: str) -> None:
        self.name = name
        # None for a node that is being walked over: an alias that leads to it stands in what it means.
        self.extents: dict[int, _Extent | None] = {}

    def judged(self, node: yaml.Node, path: str) -> _Extent:
        """The extent of a node. Raises ConfigError if it may not stand. path: its dotted place."""
        if id(node) in self.extents:
            known = self.extents[id(node)]
            if known is None:
                raise ConfigError(f"{self.name}: line {_line(node)}: an alias stands in what it means; write it out")
            return known
        self.extents[id(node)] = None
        below = [self.judged(child, place) for child, place in self._children(node, path)]
        extent = _Extent(1 + sum(part.values for part in below), 1 + max((part.depth for part in below), default=0))
        if extent.depth > MAX_DEPTH:
            raise ConfigError(f"{self.name}: {TOO_DEEP}")
        if extent.values > MAX_VALUES:
            written_out = f"{path or 'the document'} has more than {MAX_VALUES} values"
            raise ConfigError(f"{self.name}: line {_line(node)}: {written_out} with its aliases; write fewer")
        self.extents[id(node)] = extent
        return extent

    def _children(self, node: yaml.Node, path: str) -> list[tuple[yaml.Node, str]]:
        if isinstance(node, yaml.SequenceNode):
            return [(child, f"{path}.{place}".lstrip(".")) for place, child in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return []
        children: list[tuple[yaml.Node, str]] = []
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            place = f"{path}.{key.value}".lstrip(".") if isinstance(key, yaml.ScalarNode) else path
            if isinstance(key, yaml.ScalarNode):
                first = lines.get((key.tag, key.value))
                if first:
                    twice = f"{place} stands twice, in line {first} before"
                    raise ConfigError(f"{self.name}: line {_line(key)}: {twice}; keep one of them")
                lines[key.tag, key.value] = _line(key)
            children += [(key, place), (value, place)]
        return children


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
