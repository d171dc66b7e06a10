"""A point of a space as searchers know it: indices and numbers, since the values of a choice may be lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vprdist.spec.search import PLAYER, Choice, Point, SearchSpec


def decode(search: SearchSpec, values: Mapping[str, Any]) -> Point:
    """The inner searcher's indices and numbers to a point of the sweep."""
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
    if search.subsets is not None:
        classes = set(point.get("input.classes", ()))
        players = {PLAYER + name: classes >= set(own) for name, own in search.subsets.players.items()}
        covered = {name for own in search.subsets.players.values() if classes >= set(own) for name in own}
        if covered != classes:
            return None
        point = {axis: value for axis, value in point.items() if axis != "input.classes"} | players
    if set(point) != set(search.domains):
        return None
    out: dict[str, Any] = {}
    for axis, domain in search.domains.items():
        value = point[axis]
        if isinstance(domain, Choice):
            if value not in domain.values:
                return None
            out[axis] = list(domain.values).index(value)
        elif isinstance(value, (int, float)) and domain.low <= value <= domain.high:
            out[axis] = value
        else:
            return None
    return out
