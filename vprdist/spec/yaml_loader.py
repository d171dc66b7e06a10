"""PyYAML's loader with the core schema of YAML 1.2, and with bounds: a small file cannot fill the memory."""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_BYTES = 2**23
"""A file may have so many; a list of 30,000 pictures is one of them. `MOST_VALUES` bounds the memory."""
MOST_VALUES = 100_000
"""In a file, each counted as often as aliases repeat it: ten lines of aliases would make 10^9."""
DEEPEST = 32
"""Lists and mappings in one another."""
PREFIX = "tag:yaml.org,2002:"
PLAIN = {
    "null": (re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"true|True|false|False"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), list("-+0123456789")),
    "float": (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), list("-+.0123456789")),
}
"""By what a word without quotes may be: how it is written, and the characters that it begins with."""


class TooMuch(Exception):
    """A text beyond the bounds."""

    def __init__(self, line: int, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.line, self.fault, self.remedy = line, fault, remedy


class Loader(yaml.SafeLoader):
    """One text. Its tree has aliases in the place of copies; the bounds count what they would be."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._within: list[int] = []
        """The values counted so far in each node around the present one."""
        self._made = 0
        self._sizes: dict[int, int] = {}
        """By the id of a node, the values in it; a node that is not whole yet stands around the present one."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            size = self._sizes.get(id(node), 1)
        else:
            self._bound(self._made, line)
            if len(self._within) > DEEPEST:
                fault = f"lists and mappings may not lie deeper than {DEEPEST} in one another"
                raise TooMuch(line, fault, "Close the brackets, or write less deep.")
            self._within.append(1)
            self._made += 1  # before their list ends, which may be after gigabytes
            node = super().compose_node(parent, index)
            size = self._sizes[id(node)] = self._within.pop()
        if self._within:
            self._within[-1] += size
        self._bound(size, line)
        return node

    def _bound(self, values: int, line: int) -> None:
        if values > MOST_VALUES:
            fault = f"there may not be more than {MOST_VALUES} values, with what aliases repeat"
            raise TooMuch(line, fault, "Write fewer: a range, fewer aliases, or `leave_out: FILE` for pictures.")


def plain_kind(node: yaml.Node) -> str | None:
    """What a node is: map, seq, str, null, bool, int or float; None where its tag makes it something else."""
    kind = node.tag.removeprefix(PREFIX)
    if isinstance(node, yaml.ScalarNode):
        return kind if kind == "str" or (kind in PLAIN and PLAIN[kind][0].fullmatch(node.value)) else None
    return kind if kind == ("map" if isinstance(node, yaml.MappingNode) else "seq") else None


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def _real(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


Loader.yaml_implicit_resolvers = {}
for _kind, (_rule, _first) in PLAIN.items():
    Loader.add_implicit_resolver(PREFIX + _kind, re.compile(rf"(?:{_rule.pattern})$"), _first)
Loader.add_constructor(f"{PREFIX}int", _whole)
Loader.add_constructor(f"{PREFIX}float", _real)
