"""Names that become parts of paths: of cities, pictures, shards, sweeps, trials, profiles. A name is never a path.

A city called `aa/` or `./aa` would be `aa` under another spelling, and trained on as well as evaluated; one with an
absolute path would lead out of its data set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from vprdist.errors import RuleError

FAULT = "this must be a name, not a path"
_PATH_PARTS = re.compile(r"[/\\\x00-\x1f\x7f]")
_NO_NAMES = frozenset({"", ".", ".."})


def is_name(text: str) -> bool:
    """Whether a word is one part of a path: without `/`, `\\` and control characters, and neither empty, `.` nor `..`.

    A `-` may lead: it does in keys of MSLS, and no command is called with a name alone.
    """
    return text not in _NO_NAMES and _PATH_PARTS.search(text) is None


def first_no_name(words: Sequence[str]) -> int | None:
    """The place of the first word that is no name; None where all are. Quick for a million of them."""
    joined = "".join(words)
    if _PATH_PARTS.search(joined) is None and _NO_NAMES.isdisjoint(words):
        return None
    return next(place for place, word in enumerate(words) if not is_name(word))


def name_remedy(text: str) -> str:
    """What to write in the place of a word that is no name."""
    last = PurePosixPath(text.replace("\\", "/")).name
    return f"Write {last!r}." if is_name(last) else "A name has no /, no \\ and no line break, and is neither . nor ..."


def _checked(text: str) -> str:
    if not is_name(text):
        raise RuleError("", FAULT, text, name_remedy(text))
    return text


Name = Annotated[str, AfterValidator(_checked)]
"""A word that becomes a part of a path; see `is_name`."""
CityNames = tuple[Name, ...]
"""Cities in an order."""
