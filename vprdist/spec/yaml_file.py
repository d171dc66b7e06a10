"""YAML with line numbers, read as people mean it.

PyYAML follows YAML 1.1, where 010 is 8, 1:30 is 90, `no` is false and 1e-3 is text. Here, as in YAML 1.2: numbers are
decimal unless they begin with 0x or 0o, `1:30`, `yes` and `2024-01-01` are text. A whole number that begins with 0,
which some read as 8 and some as 10, is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import yaml

from vprdist.errors import SweepFileError, first_line
from vprdist.files import NotAFile, mistaken, open_file
from vprdist.spec.origin import Key, Origin
from vprdist.spec.yaml_loader import MOST_BYTES, Loader, TooMuch, plain_kind

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""But for the ends of lines and tabs; and halves of characters, which no file can hold."""
LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
WORDS = 64
"""Characters of a long value that a message shows."""
Where = Callable[[int, Key], str]
"""What a message says of a line and a key."""


def read_yaml(path: Path) -> tuple[dict[str, Any], Origin]:
    """A YAML mapping and where its keys stand.

    Raises:
        SweepFileError: unreadable, too large, not YAML, not a mapping, or what nobody means.
    """
    text = _text(path)
    if (what := mistaken(text[:1000].encode())) is not None:
        raise SweepFileError(path, "the file must be YAML", *what)
    return parse_yaml(text, path)


def parse_yaml(text: str, path: str | Path) -> tuple[dict[str, Any], Origin]:
    """As `read_yaml`, of the text of a file, or of one that has none.

    Args:
        path: what messages call it.
    """
    origin = Origin(Path(path))
    value = _value(text, "file", lambda line, key: f"{path}:{line}{_after(key)}", origin.lines)
    if not isinstance(value, dict):
        raise SweepFileError(
            path, "the file must be a mapping of keys", None, "See sweeps/table1.yaml, which `vprdist init` writes."
        )
    return value, origin


def parse_value(text: str, where: str) -> Any:
    """The value of an override, read as YAML.

    Raises:
        SweepFileError: it is not YAML, or what nobody means.
    """
    return _value(text, "value", lambda line, key: where + _after(key), {})


def _text(path: Path) -> str:
    """The text of a file; a mark of UTF-8 at its beginning, as some editors write it, is no part of it.

    Raises:
        SweepFileError: it cannot be had.
    """
    try:
        with open_file(path) as stream:
            data = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise SweepFileError(path, "no such file", None, "Check the path; `vprdist init` writes examples.") from None
    except NotAFile as error:
        raise SweepFileError(path, "this must be a file", error.strerror, "Name a YAML file.") from None
    except (OSError, ValueError) as error:
        raise SweepFileError(path, "the file cannot be read", first_line(error), "Check the path.") from None
    if len(data) > MOST_BYTES:
        remedy = "Is it the right file? A long list of pictures may have a file of its own: `leave_out: FILE`."
        raise SweepFileError(path, f"a file of settings may not be larger than {MOST_BYTES >> 20} MiB", None, remedy)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SweepFileError(path, "the file must be UTF-8 text", "UTF-16", "Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x}"
        raise SweepFileError(f"{path}:{line}", "the file must be UTF-8 text", found, "Save it as UTF-8.") from None


def _value(text: str, what: Literal["file", "value"], where: Where, lines: dict[Key, int]) -> Any:
    """The value of a text; where each key stands is noted in `lines`.

    Args:
        what: of a sweep this is, for messages.

    Raises:
        SweepFileError: it is not YAML, or what nobody means.
    """
    loader = None
    try:
        loader = Loader(text)
        if (node := loader.get_single_node()) is None:
            return None
        _check(node, (), where, lines)
        # What aliases repeat becomes a value of its own in each place: one of them may be overridden.
        return json.loads(json.dumps(loader.construct_document(node)))
    except SweepFileError:
        raise
    except TooMuch as error:
        raise SweepFileError(where(error.line, ()), error.fault, None, error.remedy) from None
    except yaml.reader.ReaderError as error:
        line, found = text.count("\n", 0, error.position) + 1, f"the character U+{error.character:04X}"
        raise SweepFileError(where(line, ()), f"the {what} must be YAML", found, "Delete the character.") from None
    except Exception as error:  # beside its own errors PyYAML lets many kinds through, and every one means the same
        mark = getattr(error, "problem_mark", None) or loader
        line = 1 if mark is None else mark.line + 1
        found = getattr(error, "problem", None) or first_line(error)
        remedy = "Mend the line." if what == "file" else "Quote it for the shell: 'key=[a, b]'."
        raise SweepFileError(where(line, ()), f"the {what} must be YAML", found, remedy) from None


def _after(key: Key) -> str:
    return f": {'.'.join(key)}" if key else ""


def _check(node: yaml.Node, key: Key, where: Where, lines: dict[Key, int], above: tuple[int, ...] = ()) -> None:
    """Refuse what YAML allows and nobody means; note in `lines` where each key stands."""
    line = node.start_mark.line + 1
    if id(node) in above:
        raise SweepFileError(where(line, key), "a value cannot contain itself", None, "Write it out.")
    if plain_kind(node) is None:
        raise SweepFileError(where(line, key), "a value cannot have a tag", _short(node.tag), "Delete the tag.")
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        for child_key, child in node.value:
            line = child_key.start_mark.line + 1
            if plain_kind(child_key) != "str":
                found = _short(child_key.value) if isinstance(child_key, yaml.ScalarNode) else "a list or mapping"
                raise SweepFileError(where(line, key), "a key must be text", found, "Quote it, or delete it.")
            _check_scalar(child_key, lambda line: where(line, key))
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
    elif isinstance(node, yaml.ScalarNode):
        _check_scalar(node, lambda line: where(line, key))


def _check_scalar(node: yaml.ScalarNode, where: Callable[[int], str]) -> None:
    """Numbers that computers hold, text that people can read.

    Raises:
        SweepFileError: it is neither.
    """
    here, text, kind = where(node.start_mark.line + 1), str(node.value), plain_kind(node)
    if kind == "int":
        if LEADING_ZERO.fullmatch(text):
            fault = "a whole number cannot begin with 0: some read it as octal, some do not"
            plain = text.lstrip("+-0")
            plain = f"-{plain}" if plain and text.startswith("-") else plain or "0"
            remedy = f'Write {_short(plain)}, or in quotes for text: "{_short(text)}".'
            raise SweepFileError(here, fault, _short(text), remedy)
        if len(text) > WORDS or not -(2**63) <= int(text, 0) < 2**63:
            fault, remedy = "a whole number must lie within 63 bits", 'Write a smaller one, or in quotes for text: "…".'
            raise SweepFileError(here, fault, _short(text), remedy)
    elif kind == "float" and not math.isfinite(float(text)):
        raise SweepFileError(here, "this must be a finite number", _short(text), "Write a smaller one.")
    elif kind == "str" and (found := CONTROL.search(text)) is not None:
        fault, remedy = "text cannot have control characters", "Delete it."
        raise SweepFileError(here, fault, f"U+{ord(found[0]):04X}", remedy)


def _short(text: str) -> str:
    return text if len(text) <= WORDS else f"{text[:WORDS]}…"
