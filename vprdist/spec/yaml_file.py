"""YAML with line numbers, read as people mean it.

PyYAML follows YAML 1.1, where 010 is 8, 1:30 is 90, `no` is false and 1e-3 is text. Here, as in YAML 1.2: numbers are
decimal unless they begin with 0x or 0o, `1:30`, `yes` and `2024-01-01` are text. A whole number that begins with 0,
which some read as 8 and some as 10, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vprdist.errors import SweepFileError, first_line
from vprdist.spec.origin import Key, Origin

CORE = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq"))
LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2."""


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def _real(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


_Loader.yaml_implicit_resolvers = {}
for _kind, _rule, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|false|False", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_rule})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _real)


def read_yaml(path: Path) -> tuple[dict[str, Any], Origin]:
    """A YAML mapping and where its keys stand.

    Raises:
        SweepFileError: unreadable, not YAML, not a mapping, or a key written twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SweepFileError(path, "no such file", None, "Check the path; examples lie in sweeps/.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SweepFileError(path, "the file cannot be read as UTF-8 text", str(error)) from None
    origin = Origin(path)
    try:
        node = yaml.compose(text, Loader=_Loader)
        if not isinstance(node, yaml.MappingNode):
            raise SweepFileError(path, "the file must be a mapping of keys", None, "See sweeps/table1.yaml.")
        _check(node, (), lambda line, key: f"{path}:{line}{_after(key)}", origin.lines)
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise SweepFileError(f"{path}{line}", "the file must be YAML", problem, "Mend the line.") from None
    return value, origin


def parse_value(text: str, where: str) -> Any:
    """The value of an override, read as YAML."""
    try:
        if (node := yaml.compose(text, Loader=_Loader)) is not None:
            _check(node, (), lambda line, key: where + _after(key), {})
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SweepFileError(where, "the value must be YAML", text, "Quote it for the shell: 'key=[a, b]'.") from None


def _after(key: Key) -> str:
    return f": {'.'.join(key)}" if key else ""


def _check(
    node: yaml.Node, key: Key, where: Callable[[int, Key], str], lines: dict[Key, int], above: tuple[int, ...] = ()
) -> None:
    """Refuse what YAML allows and nobody means; note in `lines` where each key stands."""
    line = node.start_mark.line + 1
    if id(node) in above:
        raise SweepFileError(where(line, key), "a value cannot contain itself")
    if node.tag not in CORE:
        raise SweepFileError(where(line, key), "a value cannot have a tag", node.tag, "Delete the tag.")
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        for child_key, child in node.value:
            line = child_key.start_mark.line + 1
            if child_key.tag != "tag:yaml.org,2002:str":
                fault, remedy = "a key must be text", "Quote it, or delete it."
                raise SweepFileError(where(line, key), fault, str(child_key.value), remedy)
            path = (*key, str(child_key.value))
            if path in lines:
                fault = f"a key is written twice; the first stands in line {lines[path]}"
                raise SweepFileError(where(line, path), fault, None, "Delete one of them.")
            lines[path] = line
            _check(child, path, where, lines, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            path = (*key, str(index))
            lines[path] = child.start_mark.line + 1
            _check(child, path, where, lines, above)
    elif node.tag == "tag:yaml.org,2002:int" and LEADING_ZERO.fullmatch(node.value):
        fault, plain = "a whole number cannot begin with 0: some read it as octal, some do not", int(node.value)
        raise SweepFileError(
            where(line, key), fault, node.value, f'Write {plain}, or in quotes for text: "{node.value}".'
        )
