"""Cities as typed arrays, whatever folder they were read from: who asks, who is searched, and where pictures lie."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vprdist.data.columns import condition_words, flags, numbers, subtask_flags, whole_numbers, words
from vprdist.data.picture_paths import MadePaths
from vprdist.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.str_]
NO_HEADING = -1.0


@dataclass(frozen=True, kw_only=True)
class Side:
    """The query or the database images of one city, in the order of its rows; every array has length N.

    easting, northing in metres; ca in degrees clockwise from north. They are None where nobody knows them: without
    positions predictions can be written, and without ca no labels computed. `headings` says which of ca are angles.
    A picture without a sequence is one of its own.

    Whoever asks for a part of the queries names a subtask: one of MSLS' (`spec.vocabulary.SUBTASKS`), which chooses
    pictures of both sides, or a condition, which chooses queries alone (see `chosen`).

    Attributes:
        folder: where the side lies; messages name it, or for a column the file in `files`.
        keys: one a picture, unique in its side; caches and predictions name pictures by them.
        paths: where each picture lies.
        conditions: a word a picture for what it was taken in (night, winter, a year, a camera); "" where none is known.
        rows: where the pictures stand among all of the data set's side; None: these are all of them.
        num_left_out: how many of them are not here.
        every_angle: all of ca are angles, also -1, as computation 1 took them.
    """

    city: str
    side: str
    folder: Path
    keys: Words
    paths: Sequence[Path]
    pano: Bools
    ca: Floats | None
    easting: Floats | None
    northing: Floats | None
    night: Bools
    view_direction: Words
    subtasks: dict[str, Bools]
    sequence_key: Words
    frame_number: Ints
    conditions: Words
    files: Mapping[str, Path] = field(default_factory=dict)
    rows: Ints | None = None
    num_left_out: int = 0
    every_angle: bool = False

    @classmethod
    def of(
        cls,
        *,
        city: str,
        side: str,
        paths: Sequence[Path | str],
        easting: npt.ArrayLike | None = None,
        northing: npt.ArrayLike | None = None,
        ca: npt.ArrayLike | None = None,
        keys: Sequence[str] | None = None,
        pano: npt.ArrayLike | None = None,
        night: npt.ArrayLike | None = None,
        view_direction: Sequence[str] | None = None,
        subtasks: Mapping[str, npt.ArrayLike] | None = None,
        sequence_key: npt.ArrayLike | None = None,
        frame_number: npt.ArrayLike | None = None,
        conditions: Sequence[str] | None = None,
        folder: Path | None = None,
    ) -> Side:
        """A side from what is known of its pictures, one value a picture; the rest is filled in.

        Args:
            side: "query" or "database".
            easting, northing: metres, of one zone.
            ca: compass angles, degrees clockwise from north; NaN or -1 where there is none.
            keys: None: the files' names without their ending.
            subtasks: which pictures belong to each (see `spec.vocabulary.SUBTASKS`); None: all to `all`.
            sequence_key, frame_number: None: each picture is its own sequence.
            conditions: words, "" where none is known; None: of no picture. Each becomes a subtask of the report.
            folder: None: the one that holds all pictures.

        Raises:
            RuleError: a column of another length or kind, or a number that is not finite; of ca, NaN is no heading.
        """
        lie = [Path(path) for path in paths]
        count = len(lie)
        named = words("keys", [path.stem for path in lie] if keys is None else keys, count)
        return cls(
            city=city,
            side=side,
            folder=_common(lie) if folder is None else folder,
            keys=named,
            paths=lie,
            pano=flags("pano", pano, count),
            ca=None if ca is None else numbers("ca", ca, count, may_lack=True),
            easting=None if easting is None else numbers("easting", easting, count),
            northing=None if northing is None else numbers("northing", northing, count),
            night=flags("night", night, count),
            view_direction=words("view_direction", [""] * count if view_direction is None else view_direction, count),
            subtasks=subtask_flags(subtasks, count),
            sequence_key=named if sequence_key is None else words("sequence_key", sequence_key, count),
            frame_number=whole_numbers("frame_number", frame_number, count),
            conditions=condition_words(conditions, count),
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def num_whole(self) -> int:
        """How many pictures the data set itself has on this side."""
        return len(self) + self.num_left_out

    def take(self, rows: Ints) -> Side:
        """These rows of a whole side alone, in this order."""
        paths = self.paths
        return replace(
            self,
            keys=self.keys[rows],
            paths=paths.take(rows) if isinstance(paths, MadePaths) else [paths[row] for row in rows.tolist()],
            pano=self.pano[rows],
            ca=None if self.ca is None else self.ca[rows],
            easting=None if self.easting is None else self.easting[rows],
            northing=None if self.northing is None else self.northing[rows],
            night=self.night[rows],
            view_direction=self.view_direction[rows],
            subtasks={name: chosen[rows] for name, chosen in self.subtasks.items()},
            sequence_key=self.sequence_key[rows],
            frame_number=self.frame_number[rows],
            conditions=self.conditions[rows],
            rows=rows,
            num_left_out=len(self) - len(rows),
        )

    def chosen(self, subtask: str) -> Bools:
        """(N,) whether each picture is of a subtask: MSLS' own chooses on both sides, a condition queries alone."""
        if subtask in self.subtasks:
            return self.subtasks[subtask]
        return np.asarray(self.subtasks["all"] & ((self.conditions == subtask) | (self.side == "database")))

    def image_path(self, row: int) -> Path:
        """Where the picture of a row lies."""
        return self.paths[row]

    def where(self, column: str) -> Path:
        """What a message about a column names."""
        return self.files.get(column, self.folder)

    @property
    def headings(self) -> Floats:
        """(N,) compass angles, NaN where there is none: NaN, the -1 that Mapillary writes for it, or, in a side of one
        and the same value, any outside [0, 360).

        Any other value outside is an angle all the same, counted on round the circle.
        """
        if self.ca is None:
            return np.full(len(self), np.nan)
        if self.every_angle:
            return self.ca
        if len(self) and (self.ca == self.ca[0]).all() and not 0 <= self.ca[0] < 360:
            return np.full(len(self), np.nan)
        return np.where(self.ca == NO_HEADING, np.nan, self.ca)

    @property
    def positions(self) -> Floats:
        """(N, 2) easting and northing in metres.

        Raises:
            DataError: the city has no ground truth.
        """
        if self.easting is None or self.northing is None:
            raise DataError(
                self.where("easting"),
                "the city has no positions, and they are needed here",
                None,
                "Put its ground truth there (that of MSLS' test cities is public since April 2026), or write "
                "predictions for others to score: evaluate.predict, or --predict.",
            )
        return np.stack([self.easting, self.northing], axis=1)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Which database images show the place of each query, where the data set says so itself, by frames or a file.

    Attributes:
        positives: (N, M), query x database rows; every entry that is stored is a positive.
        told: the rule in words, for the protocol: "within 10 frames".
        similarity: (N, M) float32, how similar both are, to learn from, where the data set knows more than yes and no;
            values above 0, from 0.5 on for positives. None: positives are alike (1), all others not (0).
    """

    positives: csr_matrix
    told: str
    similarity: csr_matrix | None = None

    def take(self, query: Ints, database: Ints) -> Truth:
        """That of these rows of both sides."""
        positives, alike = (
            None if each is None else each[query][:, database] for each in (self.positives, self.similarity)
        )
        return replace(self, positives=positives, similarity=alike)


@dataclass(frozen=True, kw_only=True)
class City:
    """Both sides of a city.

    Attributes:
        split: the part of the data set that it stands in; "" where there are none.
        label_file: where its official graded labels lie, if they are there; None where there can be none.
        truth: whose place each query shows; None: the positions tell it.
        notes: what a person should know of how it was read, a line each.
    """

    name: str
    query: Side
    database: Side
    split: str = ""
    label_file: Path | None = None
    truth: Truth | None = None
    notes: tuple[str, ...] = ()

    def take(self, query: Ints | None, database: Ints | None) -> City:
        """These rows of both whole sides alone; None: all of a side."""
        pairs = list(zip(self.sides, (query, database), strict=True))
        sides = [side if rows is None else side.take(rows) for side, rows in pairs]
        kept = [np.arange(len(side)) if rows is None else rows for side, rows in pairs]
        truth = None if self.truth is None else self.truth.take(*kept)
        return replace(self, query=sides[0], database=sides[1], truth=truth)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.query, self.database

    @property
    def folder(self) -> Path:
        """The folder that holds both sides."""
        return _common([self.query.folder / "side", self.database.folder / "side"])


def _common(paths: Sequence[Path]) -> Path:
    """The nearest folder above all paths."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 (a million paths)
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # no paths, or relative and absolute ones
        return Path()
