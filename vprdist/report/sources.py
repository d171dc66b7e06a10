"""Which code rows come from, in words: a table of numbers of different code says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vprdist.report.rows import Row
from vprdist.source import Source
from vprdist.spec.result import ResultRow

NAMED_FILES = 3
"""Changed files that a line names."""
NAMED_ROWS = 3
UNKNOWN = "unknown source (older results name none)"


def code_lines(rows: Sequence[Row]) -> list[str]:
    """What a reader must know of the code behind rows: that it is not one, or that somebody changed it by hand."""
    results = {
        result.trial_id: (row.name, result)
        for row in rows
        for result in row.results
        if result.protocol is not None  # nothing of this code computes a program's numbers
    }
    return [*_computations([result for _, result in results.values()]), *_sources(list(results.values()))]


def _computations(results: Iterable[ResultRow]) -> Iterable[str]:
    counts = Counter(result.protocol.computation for result in results if result.protocol is not None)
    if len(counts) > 1:
        parts = [f"{_trials(count)} of computation {number}" for number, count in sorted(counts.items())]
        yield f"Rows come from different computations, which are never ranked together: {', '.join(parts)}."


def _sources(results: Sequence[tuple[str, ResultRow]]) -> Iterable[str]:
    groups = by_source([result.source for _, result in results])
    if len(groups) < 2:
        only = groups[0].source if groups else None
        if only is not None and only.changed:
            yield f"All rows come from code that was changed by hand: {source_words(only)}."
        return
    parts = []
    for place, group in enumerate(groups):
        names = [results[index][0] for index in group.members]
        parts.append(f"{_trials(len(names))} of {source_words(group.source)}{_rows(names) if place else ''}")
    yield f"Rows come from different code: {'; '.join(parts)}."


@dataclass(frozen=True)
class Group:
    """Results of one source, by their places; None: of sources that nobody knows."""

    source: Source | None
    members: tuple[int, ...]


def by_source(sources: Sequence[Source | None]) -> list[Group]:
    """The source of most results first; the unknown one last of equals."""
    members: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        members.setdefault("" if source is None else source.digest, []).append(index)

    def best(places: Sequence[int]) -> Source | None:
        # The same text was changed by hand when it ran first, and committed later: by then it can be found.
        return min((sources[place] for place in places), key=lambda each: each is None or each.changed is not False)

    groups = [Group(best(places), tuple(places)) for places in members.values()]
    return sorted(
        groups, key=lambda g: (-len(g.members), g.source is None, "" if g.source is None else g.source.digest)
    )


def source_words(source: Source | None) -> str:
    """`source ab12cd34 (version 0.1.0, changed by hand: training/losses/gcl.py)`."""
    if source is None:
        return UNKNOWN
    told = [f"version {source.version}"]
    if source.changed:
        more = len(source.files) - NAMED_FILES
        files = ", ".join(source.files[:NAMED_FILES]) + (f" and {more} more" if more > 0 else "")
        told.append(f"changed by hand: {files}")
    elif source.changed is False and source.commit is not None:
        told.append(f"commit {source.commit[:8]}")
    return f"source {source.short} ({', '.join(told)})"


def _rows(names: Sequence[str]) -> str:
    """The rows of a source that is not most rows' own."""
    once = list(dict.fromkeys(names))
    more = f" and {len(once) - NAMED_ROWS} more rows" if len(once) > NAMED_ROWS else ""
    return f": {', '.join(once[:NAMED_ROWS])}{more}"


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def source_record(row: Row) -> Mapping[str, object]:
    """A row's code as columns; what differs among its seeds is told once each."""
    sources = [result.source for result in row.results]
    return {
        "computation": None if row.protocol is None else row.protocol.computation,
        "version": _once("unknown" if each is None else each.version for each in sources),
        "source": _once("unknown" if each is None else each.digest for each in sources),
        "changed_by_hand": _once(_changed(each) for each in sources),
    }


def _changed(source: Source | None) -> str:
    if source is None or source.changed is None:
        return "unknown"
    return ", ".join(source.files) if source.changed else "no"


def _once(words: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(words))
