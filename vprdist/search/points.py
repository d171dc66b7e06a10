"""A point of a space in three forms: as a sweep has it, as a proposer has it, and as Tune's searchers have it.

With subsets a proposer has an axis `player NAME` for each player, true or false, where a sweep has `input.classes`.
Tune's searchers have indices and numbers, since the values of a choice may be lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vprdist.spec.search import PLAYER, Choice, Point, SearchSpec


def decode(search: SearchSpec, values: Mapping[str, Any]) -> Point:
    """Tune's indices and numbers to a point of the sweep."""
    out: Point = {}
    for axis, domain in search.domains.items():
        value = values[axis]
        if isinstance(domain, Choice):
            out[axis] = domain.values[int(value)]
        else:
            out[axis] = int(value) if domain.kind == "randint" else float(value)
    if search.subsets is not None:
        there = [out.pop(PLAYER + name) for name in search.subsets.players]
        out["input.classes"] = search.subsets.class_names(sum(1 << i for i, is_there in enumerate(there) if is_there))
    return out


def encode(search: SearchSpec, point: Point) -> dict[str, Any] | None:
    """The inverse of `decode`; None for a point outside the space, from before the sweep file was changed."""
    values = by_axis(search, point)
    return None if values is None else encode_axes(search, values)


def encode_axes(search: SearchSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """A proposer's point, inside of the space, to Tune's indices and numbers."""
    return {
        axis: list(domain.values).index(values[axis]) if isinstance(domain, Choice) else values[axis]
        for axis, domain in search.domains.items()
    }


def by_axis(search: SearchSpec, point: Point) -> Point | None:
    """A point of the sweep as a proposer has it; None for one outside the space."""
    if search.subsets is not None:
        classes = set(point.get("input.classes", ()))
        players = {PLAYER + name: classes >= set(own) for name, own in search.subsets.players.items()}
        covered = {name for own in search.subsets.players.values() if classes >= set(own) for name in own}
        if covered != classes:
            return None
        point = {axis: value for axis, value in point.items() if axis != "input.classes"} | players
    if set(point) != set(search.domains):
        return None
    inside = (domain.has(point[axis]) for axis, domain in search.domains.items())
    return dict(point) if all(inside) else None
