"""A key by its path, as a person types it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from vprdist.errors import UserError, nearest
from vprdist.spec.key import Key, Names
from vprdist.spec.keys import profile_keys, sweep_keys


def find_keys(dotted: str) -> tuple[Key, ...]:
    """A key and all keys below it; with "cluster" that key of a sweep file and the whole profile.

    Args:
        dotted: a path; `trial.` may be left out, as it is in a grid, and `cluster.` said for `profile.`.

    Raises:
        UserError: no such key.
    """
    keys = (*sweep_keys(), *profile_keys())
    asked = tuple(dotted.split("."))
    if asked == ("cluster",):
        return tuple(key for key in keys if key.path[0] in ("cluster", "profile"))
    for path in (asked, _elsewhere(asked)):
        if found := tuple(key for key in keys if _is_below(key.path, path, keys)):
            return found
    raise UserError(dotted, "no such key", None, _remedy(asked, keys))


def _elsewhere(asked: Names) -> Names:
    """Where a path's keys are described, when not under it: a scale's are those of `trial`, and so are a grid's."""
    if asked[0] == "cluster":
        return ("profile", *asked[1:])
    if asked[0] == "scales":
        return ("trial", *asked[2:])
    if asked[:2] in (("search", "grid"), ("search", "space")):
        return ("trial", *asked[2:])
    return ("trial", *asked)


def _is_below(path: Names, asked: Names, keys: Sequence[Key]) -> bool:
    """Whether `path` is the one that is asked for, or lies below it; a chosen name stands for its `<…>`."""
    if len(path) < len(asked):
        return False
    for depth, (word, part) in enumerate(zip(asked, path, strict=False), 1):
        if word != part and not (part.startswith("<") and _may_be_called(word, path[:depth], keys)):
            return False
    return True


def _may_be_called(word: str, path: Names, keys: Sequence[Key]) -> bool:
    names = next(key.names for key in keys if key.path == path)
    return word in names if names else path[:2] not in (("search", "grid"), ("search", "space"))


def _remedy(asked: Names, keys: Sequence[Key]) -> str:
    """The nearest key: by its last name first, which is what most misspell; else the keys of its section."""
    lasts = {key.path[-1] for key in keys}
    if close := get_close_matches(asked[-1], lasts, n=1, cutoff=0.7):
        alike = [key.name for key in keys if key.path[-1] == close[0]]
        best = get_close_matches(".".join(asked), alike, n=1, cutoff=0.0)[0]
        return f"Did you mean {best!r}? `vprdist keys` lists all."
    # Known names of a path that was typed short count from where it was typed.
    ways = [(_known_depth(path, keys) + len(asked) - len(path), path) for path in (asked, _elsewhere(asked))]
    path = max(ways, key=lambda way: way[0])[1]
    depth = _known_depth(path, keys)
    beside = [key.path[-1] for key in keys if key.path[:depth] == path[:depth] and len(key.path) == depth + 1]
    return nearest(path[depth], beside)


def _known_depth(path: Names, keys: Sequence[Key]) -> int:
    """How many of a path's names, from the top, are keys."""
    return max(
        depth for depth in range(len(path)) if not depth or any(key.path[:depth] == path[:depth] for key in keys)
    )
