"""`vprdist keys`: every key of a sweep file and of a profile, and the schema that editors complete from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from vprdist.cli.words import about
from vprdist.console import Commands, Console, fitting, styled, table_width
from vprdist.errors import UserError

if TYPE_CHECKING:
    from vprdist.spec.key import Key

EXAMPLE = """examples:
  vprdist keys trial.train          the keys of one section
  vprdist keys network.unfreeze     one key; `trial.` may be left out
  vprdist keys cluster              the keys of a profile, a file of slurm/profiles
  vprdist keys --schema > sweep.schema.json
      a JSON Schema: with the first line `# yaml-language-server: $schema=sweep.schema.json` an editor completes a
      sweep file and marks what is misspelt; `vprdist keys profile --schema` is that of a profile
"""
CAPS = ((100, 26, 14, 20), (160, 26, 24, 30), (10_000, 50, 34, 40))
"""By the terminal's width, below the first number: the most characters of type and default, the fewest of meaning."""


def add_commands(commands: Commands) -> None:
    """Add `keys` to the command line."""
    text = about("keys")
    keys = commands.add_parser(
        "keys", help=text, description=text[0].upper() + text[1:] + ".", epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    keys.add_argument("path", nargs="?", help="a section or a key, dotted (default: all)")
    form = keys.add_mutually_exclusive_group()
    form.add_argument("--schema", nargs="?", const="", metavar="profile", help="print a JSON Schema for editors")
    form.add_argument("--json", action="store_true", help="print the keys for programs")
    keys.set_defaults(work=_keys)


def _keys(args: argparse.Namespace, console: Console) -> int:
    from vprdist.spec.find_key import find_keys
    from vprdist.spec.keys import profile_keys, sweep_keys

    if args.schema is not None:
        print(json.dumps(_schema(args.schema or args.path or "sweep"), indent=1, ensure_ascii=False))
        return 0
    keys = (*sweep_keys(), *profile_keys()) if args.path is None else find_keys(args.path)
    if args.json:
        print(json.dumps([key.to_json() for key in keys], indent=1, ensure_ascii=False))
    elif args.path not in (None, "cluster") and not keys[0].is_section:
        _show_key(keys[0], console)
        if len(keys) > 1:
            console.print()
            console.print(_table(keys[1:], len(keys[0].path), console), soft_wrap=False)
    else:
        show_keys(keys, keys[0].path if args.path not in (None, "cluster") else (), console)
    return 0


def _schema(kind: str) -> dict[str, Any]:
    from vprdist.spec.schema import profile_schema, sweep_schema

    schemas = {"sweep": sweep_schema, "profile": profile_schema, "cluster": profile_schema}
    if kind not in schemas:
        raise UserError("--schema", "no such schema", kind, "Valid: sweep, profile.")
    return schemas[kind]()


def _show_key(key: Key, console: Console) -> None:
    """One key, a line a fact."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    facts = {
        "meaning": key.meaning, "type": key.type, "unit": key.unit, "default": _default(key), "words": _all_words(key),
        "axis": f"{_axes(key)}, as {'.'.join(key.path[1:])}" if key.axes else "nowhere",
    }  # fmt: skip
    for name, value in facts.items():
        if value:
            table.add_row(name, value)
    console.print(key.name, style="bold")
    console.print(table, soft_wrap=False)


def _axes(key: Key) -> str:
    return " and ".join(f"search.{axis}" for axis in key.axes)


def _all_words(key: Key) -> str:
    """The words of a value, where its type names them by one word alone."""
    return "" if all(word in key.type for word in key.words) else ", ".join(key.words)


def show_keys(keys: Sequence[Key], base: tuple[str, ...], console: Console) -> None:
    """A table a section; sections inside it stand in its table.

    Args:
        base: the section that was asked for; () for all.
    """
    sections: dict[tuple[str, ...], list[Key]] = {}
    for key in keys:
        sections.setdefault(_section_of(key.path, base), []).append(key)
    for number, (section, below) in enumerate(sections.items()):
        head = [key for key in keys if key.path == section]
        rows = [key for key in below if key not in head]
        meaning = [key.meaning for key in head]
        axes = f"axes: {_axes(rows[0]) or 'nowhere'}" if rows else ""
        facts = "  " + " · ".join(filter(None, (*meaning, axes)))
        title = styled((".".join(section) or "a sweep file", "bold"), (facts, "dim"))
        console.print(*[""] * bool(number), title, sep="\n")
        if rows:
            console.print(_table(rows, len(section), console), soft_wrap=False)


def _section_of(path: tuple[str, ...], base: tuple[str, ...]) -> tuple[str, ...]:
    """The section in whose table a key stands: those of a trial are long enough for one each."""
    if path[0] == "trial" and base in ((), ("trial",)):
        return path[: max(len(base), 2)] if len(path) > 2 else base
    if base or path[0] not in ("search", "profile"):
        return base
    return path[:1] if len(path) > 1 or path[0] == "profile" else ()


def _table(keys: Sequence[Key], depth: int, console: Console) -> Table:
    """Key, type, default, unit and meaning; on a narrow terminal units stand with types and defaults with meanings."""
    most_type, most_default, fewest = next(caps for width, *caps in CAPS if console.width < width)

    def draw(columns: Sequence[str]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        most = {"type": most_type, "default": most_default}
        for column in columns:
            table.add_column(column, max_width=most.get(column), no_wrap=column in ("key", "unit"), overflow="fold")
        for key in keys:
            cells = {"key": ".".join(key.path[depth:]), "type": key.type, "default": _default(key), "unit": key.unit}
            cells["meaning"] = key.meaning
            if "unit" not in columns and key.unit:
                cells["type"] += f", in {key.unit}"
            if "default" not in columns and cells["default"]:
                words = cells["default"].replace("\n", ", ")
                cells["meaning"] += ". Required" if words == "required" else f". Default: {words}"
            table.add_row(*(cells[column] for column in columns))
        return table

    slack = max(len(key.meaning) for key in keys) - fewest
    every = ["key", "type", "default", "unit", "meaning"]

    def width_of(columns: Sequence[str]) -> int:
        return table_width(console, draw(columns)) - slack

    return draw(fitting(every, ("unit", "default"), width_of, console.width))


def _default(key: Key) -> str:
    """The default, and in a line each what a built-in scale puts in its place."""
    own = key.absent if key.absent is not None else _value(key.default)
    return "\n".join([own, *(f"{scale}: {_value(value)}" for scale, value in key.scales.items())])


def _value(value: Any) -> str:
    """A value as YAML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
