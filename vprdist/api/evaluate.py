"""`vprdist.evaluate`: descriptors, predictions or a trial, measured by the rules of a data set."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from vprdist.api.html import paragraphs, table
from vprdist.api.sources import Source, described, named_source, predicted
from vprdist.api.table import Table
from vprdist.console import Console, bar
from vprdist.errors import UserError, nearest
from vprdist.report.evaluated import publish_evaluation
from vprdist.report.parts import Part
from vprdist.report.reading import short
from vprdist.spec.base import Names
from vprdist.spec.choices import Choices, chosen_layout
from vprdist.spec.result import Protocol, VariantResult
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import Gallery, NoPositives, Scope, Storage, Whitening
from vprdist.store.queries import queries_file, read_query_columns

if TYPE_CHECKING:
    import numpy.typing as npt

Arrays = tuple["Sequence[str] | npt.NDArray[Any]", "npt.NDArray[Any]"]
"""Keys (N) and descriptors (N, D)."""
Answers = str | os.PathLike[str] | Arrays | Mapping[str, Sequence[str]]


class Options(TypedDict, total=False):
    """What the protocol leaves open, as `trial.evaluate` of a sweep file and `vprdist evaluate` have it.

    `image_size`, `rerank` and `top` are for trials alone: files and arrays have neither pictures nor local features.
    """

    layout: str | dict[str, Any]
    leave_out: str | Sequence[str]
    subtask: str
    gallery: Gallery
    queries: Scope
    database: Scope
    no_positives: NoPositives
    image_size: Sequence[int]
    whitening: Whitening
    dimensions: Sequence[int]
    storage: Storage
    rerank: str | dict[str, Any]
    top: int


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What came out, and the protocol that it holds for.

    Attributes:
        source: what was evaluated.
        protocol: how; None where the results say nothing of it.
        metrics: means over all queries, in [0, 1]; intervals: 95 %, over clusters of neighbouring queries.
        city_metrics: means over the queries of each city.
        parts: the whole subtask first, then by city, subtask and view direction.
        variants: other evaluations of the same descriptors (dimensions, not whitened), each with its protocol.
        notes: what a person should know.
        others: of a trial with several data sets, the evaluations on the further ones.
        folder: where it was written; None where nobody asked for that.

    Example:
        >>> found.metrics["recall@1"], found.intervals["recall@1"]
    """

    source: str
    protocol: Protocol | None
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    city_metrics: Mapping[str, Mapping[str, float]]
    parts: Sequence[Part]
    variants: Sequence[VariantResult]
    notes: Sequence[str]
    others: Sequence[Evaluation]
    folder: Path | None
    _queries: Table

    @property
    def queries(self) -> Table:
        """A row for each query in each subtask (`vprdist.spec.result.QUERY_COLUMNS`)."""
        return self._queries

    @property
    def breakdown(self) -> Table:
        """A row for each part of the queries and metric, with its interval."""
        records = [
            {"kind": part.kind, "part": part.name, "num_queries": part.num_queries, "num_clusters": part.num_clusters,
             "metric": name, "score": score, "low": part.intervals[name][0], "high": part.intervals[name][1]}
            for part in self.parts for name, score in part.metrics.items()
        ]  # fmt: skip
        return Table.of(records, title=f"{self.source} by part of the queries")

    @property
    def _heading(self) -> str:
        if self.protocol is None:
            return f"{self.source}\nprotocol: none"
        return f"{self.source}\nprotocol {self.protocol.fingerprint}: {self.protocol.summary}"

    def __repr__(self) -> str:
        scores = ", ".join(f"{short(name)} {value:.3f}" for name, value in self.metrics.items())
        return "\n".join([self._heading, scores, *self.notes, *map(repr, self.others)])

    def _repr_html_(self) -> str:
        heads = ["", "n", *(f"{short(name)} [95 %]" if name == "recall@1" else short(name) for name in self.metrics)]
        rows = [[part.label, part.num_queries, *(_score(part, name) for name in self.metrics)] for part in self.parts]
        for each in self.variants:
            kind = "not whitened" if each.protocol.whitening == "none" else f"{each.protocol.dimensions} dimensions"
            count = each.protocol.num_queries
            rows.append([kind, count, *(f"{each.metrics[name]:.3f}" for name in self.metrics)])
        shown = table(heads, rows, self._heading) + paragraphs(self.notes)
        return shown + "".join(each._repr_html_() for each in self.others)


def evaluate(
    *answers: Answers,
    root: str | os.PathLike[str] | None = None,
    cities: Sequence[str] | None = None,
    runs: str | os.PathLike[str] = "runs",
    out: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Measure descriptors, predictions or a finished trial, as `vprdist evaluate` does: the same numbers to the bit.

    Args:
        answers: one or more (keys, descriptors) pairs: keys (N) of pictures of either side, and an array (N, D) of
            floats, nearest by Euclidean distance; or one dictionary of predictions: by a query's key the keys that
            were retrieved for it, nearest first; or what the command takes: files of either, or one trial
            (`"table1/rgb 0-2"`, an id, its folder).
        root: the data set. It and `cities` must be given for all but a trial, whose own they are by default.
        cities: to measure on.
        runs: where trials are, and their results.
        out: a folder to keep predictions, `queries.parquet` and `evaluation.json` in; None: nothing is kept.
        options: the protocol (`Options`): subtask, gallery, whitening, dimensions, …

    Raises:
        UserError: bad arrays or files (not finite, shapes, missing or doubled keys), no such city, an impossible
            protocol.

    Example:
        >>> found = vprdist.evaluate(
        ...     (query_keys, query_descriptors), (database_keys, database_descriptors),
        ...     root="/data/msls", cities=["cph", "sf"], subtask="d2n",
        ... )
        >>> found.metrics["recall@1"], found.intervals["recall@1"]
    """
    source = _source(answers, _choices(root, cities, options), Path(runs).resolve())
    first, *others = [_measured(source, trial, out) for trial in source.judged]
    if not others:
        return first
    fields = {name: getattr(first, name) for name in first.__dataclass_fields__}
    return Evaluation(**{**fields, "others": tuple(others)})


def _choices(root: str | os.PathLike[str] | None, cities: Sequence[str] | None, options: Mapping[str, Any]) -> Choices:
    for name in options:
        if name not in Options.__annotations__:
            raise UserError(f"evaluate: {name}", "no such option", None, nearest(name, Options.__annotations__))
    if isinstance(cities, str):
        raise UserError("cities", "this must be a list of names", cities, f"Say cities=[{cities!r}].")
    given = dict(options)
    layout, leave_out = given.pop("layout", None), given.pop("leave_out", None)
    return Choices(
        root=None if root is None else os.fspath(root),
        layout=None if layout is None else chosen_layout(layout, "layout"),
        leave_out=_names(leave_out),
        cities=None if cities is None else list(cities),
        rerank=given.pop("rerank", None),
        top=given.pop("top", None),
        evaluate={name: list(value) if isinstance(value, tuple) else value for name, value in given.items()},
        asked="vprdist.evaluate",
        word=str,
        example="root='/data/msls', cities=['cph', 'sf']",
    )


def _names(given: str | Sequence[str] | None) -> str | Names | None:
    """Pictures, or the file that names them."""
    return given if given is None or isinstance(given, str) else tuple(given)


def _source(answers: Sequence[Answers], choices: Choices, runs: Path) -> Source:
    kinds = {_kind(each) for each in answers}
    if kinds == {"name"}:
        return named_source([os.fspath(each) for each in answers], choices, runs, _bar)  # type: ignore[arg-type]
    if kinds == {"arrays"}:
        return described([(_called(place, len(answers)), *each) for place, each in enumerate(answers)], choices)  # type: ignore[misc]
    if kinds == {"predictions"} and len(answers) == 1:
        return predicted(answers[0], choices)  # type: ignore[arg-type]
    fault = "what is evaluated must be (keys, descriptors) pairs, one dictionary of predictions, files, or one trial"
    found = ", ".join(type(each).__name__ for each in answers) or "nothing"
    raise UserError("evaluate", fault, found, "See help(vprdist.evaluate).")


def _bar(title: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Progress as lines of the cell."""
    return bar(Console(force_terminal=False, force_jupyter=False), title)


def _kind(given: object) -> str:
    if isinstance(given, (str, os.PathLike)):
        return "name"
    if isinstance(given, Mapping):
        return "predictions"
    return "arrays" if isinstance(given, (tuple, list)) and len(given) == 2 else "other"


def _called(place: int, count: int) -> str:
    """What messages call a pair: people give the queries first."""
    return ("queries", "database")[place] if count == 2 else f"pair {place + 1}"


def _measured(source: Source, trial: TrialSpec, out: str | os.PathLike[str] | None) -> Evaluation:
    from vprdist.evaluation.measure import measure

    measured = measure(trial, source.answers)
    with tempfile.TemporaryDirectory(prefix="vprdist-evaluation-") as passing:
        published = publish_evaluation(source.name, measured, Path(passing if out is None else out))
        columns = read_query_columns(queries_file(published.folder)) or {}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Evaluation(
        source=source.name,
        protocol=measured.protocol,
        metrics=measured.evaluation.metrics,
        intervals=published.parts[0].intervals,
        city_metrics=measured.evaluation.city_metrics,
        parts=tuple(published.parts),
        variants=tuple(published.variants),
        notes=measured.notes,
        others=(),
        folder=None if out is None else published.folder,
        _queries=Table.of(rows, tuple(columns), f"queries of {source.name}"),
    )


def _score(part: Part, name: str) -> str:
    text = f"{part.metrics[name]:.3f}"
    return text if name != "recall@1" else f"{text} [{part.intervals[name][0]:.3f}, {part.intervals[name][1]:.3f}]"
