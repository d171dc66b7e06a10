"""What tells the rows of a table apart: the keys of a trial that are not the same in all of them, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vprdist.report.rows import Row
from vprdist.spec.base import Spec, marks_of
from vprdist.spec.class_table import table_of
from vprdist.spec.named import Named
from vprdist.spec.program import ProgramSpec
from vprdist.spec.vocabulary import CLASS_GROUPS

LAYERS = re.compile(r"\d+-\d+")
"""A layer set X-Y."""
NOT_TOLD = frozenset({"seed", "run"})
"""A row is over its seeds; how a trial runs changes no number."""
NAMED_KEYS = 6
NAMED_VALUES = 4
LONGEST = 40
"""Letters of a value in a sentence."""
NONE = "–"


def differing(rows: Sequence[Row]) -> dict[str, list[str | None]]:
    """By dotted key a value for each row, of the keys that differ; None where the row's mode ignores the key.

    Keys that only follow from others (digests; what a mode ignores) are there where nothing else tells two rows apart.
    """
    told = [dict(_values(row.trial)) for row in rows]
    keys = list(dict.fromkeys(key for each in told for key in each))
    columns = {key: [each.get(key) for each in told] for key in keys}
    # Which parameter a program takes where none is given, it alone knows: none is another value.
    ignored = {key: set() if key.startswith("params.") else {None} for key in keys}
    chosen = [key for key in keys if not _follows(key) and len(set(columns[key]) - ignored[key]) > 1]
    for key in keys:
        if key not in chosen and _parts(columns, chosen) < _parts(columns, [*chosen, key]):
            chosen.append(key)
    return {key: columns[key] for key in keys if key in chosen}


def _follows(key: str) -> bool:
    return key.startswith("digests.") or key.endswith(".digest")


def _parts(columns: Mapping[str, Sequence[str | None]], keys: Sequence[str]) -> int:
    """How many kinds of rows some keys tell apart."""
    return len(set(zip(*(columns[key] for key in keys), strict=True))) if keys else 1


def _values(spec: Spec, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Key and value of what makes a trial the one that it is; parameters of a named choice stand below its key."""
    for name, field in type(spec).model_fields.items():
        key, value = field.alias or name, getattr(spec, name)
        if (key in NOT_TOLD and not prefix) or marks_of(field).get("hashed") is False:
            continue
        path = f"{prefix}{key}"
        if isinstance(value, Named):
            yield path, value.title
            yield from ((f"{path}.{each}", _plain(one)) for each, one in value.parameters.items())
            yield f"{path}.digest", value.digest
        elif isinstance(value, ProgramSpec):
            yield path, value.title
            yield f"{path}.leaves", value.leaves
        elif path == "params":
            yield from ((".".join((path, *key)), _plain(one)) for key, one in _leaves(value))
        elif isinstance(value, Spec) and path != "train.arms":
            yield from _values(value, f"{path}.")
        elif isinstance(value, Spec):
            yield path, "one network for all arms"
        else:
            yield path, table_of(value).name if path == "input.class_table" else _plain(value)


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What a program reads, by the keys that a sweep file may vary."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from (((key, *rest), one) for rest, one in _leaves(value))
        else:
            yield (key,), value


def _plain(value: Any) -> str | None:
    """A value as a sweep file writes it; classes by the name of their group."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        group = next((name for name, classes in CLASS_GROUPS.items() if classes == tuple(value)), None)
        return group or "+".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, default=lambda spec: spec.model_dump(mode="json", exclude_none=True))
    return str(value)


def naming(rows: Sequence[Row]) -> list[str]:
    """How the names of rows are to be read, in sentences: in what the rows differ, and what a layer set means."""
    return [text for text in (_keys_text(rows), layers_text(rows)) if text]


def _keys_text(rows: Sequence[Row]) -> str:
    found = differing(rows)
    parts = [f"{key} ({_some(values)})" for key, values in list(found.items())[:NAMED_KEYS]]
    more = len(found) - NAMED_KEYS
    parts += [f"{more} more keys"] if more > 0 else []
    return f"Rows differ in {', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}." if parts else ""


def _some(values: Sequence[str | None]) -> str:
    """The first few values, each once."""
    once = list(dict.fromkeys(NONE if value is None else value for value in values))
    cut = [text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for text in once[:NAMED_VALUES]]
    return ", ".join([*cut, f"{len(once) - NAMED_VALUES} more"] if len(once) > NAMED_VALUES else cut)


def layers_text(rows: Sequence[Row]) -> str:
    """What X-Y means, where a name has it; empty where none has."""
    sets = [row for row in rows if row.trial.job is None and LAYERS.fullmatch(row.trial.network.unfreeze_name)]
    shown = next((row for row in sets if row.trial.network.unfreeze_name in row.name), None)
    if shown is None:
        return ""
    network = shown.trial.network
    same = all(row.trial.network.units == network.units for row in sets)
    if same and network.backbone.fact("parts"):
        return (
            f"X-Y in a name: the first X and the last Y of {network.backbone.title}'s parts are trained, which are "
            "its stem and each of its stages or blocks."
        )
    units = f"{len(network.units)} units ({', '.join(network.units)})" if same else "units"
    example = f"{network.unfreeze_name} trains {', '.join(network.trained) or 'none'}"
    return f"X-Y in a name: the first X and the last Y of the backbone's {units} are trained; {example}."
