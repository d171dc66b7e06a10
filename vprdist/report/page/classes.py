"""What the page says of an attribution: which classes help, by how much, on which queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vprdist.report.attribution_tables import (
    Cell,
    Column,
    arm_columns,
    bound_column,
    lines,
    overview_columns,
    pair_columns,
    part_columns,
    player_columns,
)
from vprdist.report.beside_words import one_form
from vprdist.report.page.beside import shown_side
from vprdist.report.page.effects import effect_chart
from vprdist.report.page.flips import Album, Shot, masked_shots
from vprdist.report.page.maps import found_metric
from vprdist.report.wording import answer, control, heading, mark_key, method_name, name_of, reading, steps
from vprdist.spec.attribution import AttributionReport, Flip, PlayerRow, SettingRow
from vprdist.spec.trial import TrialSpec

A_CLASS = 4
"""Flipped queries that are shown of a class, gained and lost by turns."""


@dataclass(frozen=True)
class ShownTable:
    """A sortable table; `sorted_by` is the column (from 0) that it comes sorted by, best first."""

    id: str
    note: str
    caption: str
    headers: Sequence[tuple[str, str]]
    lines: Sequence[Sequence[Cell]]
    words: Sequence[int]
    sorted_by: int | None = None


@dataclass(frozen=True)
class ShownFlip:
    """A query and its pictures."""

    flip: Flip
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class ClassFlips:
    """A player's queries: counts of all, and some of them."""

    id: str
    player: str
    gained: int | None
    lost: int | None
    flips: tuple[ShownFlip, ...]


def classes_section(report: AttributionReport, trials: Sequence[TrialSpec], album: Album) -> dict[str, Any]:
    """What the template needs.

    Args:
        trials: of the sweep's rows; their masks are shown.
        album: takes the pictures, as long as there is room.
    """
    shown = _flips(report, trials, album)
    return {
        "objective": report.objective,
        "one_form": one_form(report),
        "sides": [shown_side(number, side, report, _table) for number, side in enumerate(report.side_by_side, 1)],
        "overview": None if _is_told(report) else _table(
            "overview", "Settings side by side", f"What a class adds in each setting: {mark_key(report.settings)}.",
            overview_columns(report)),
        "settings": [_setting(number, row, report, shown[number]) for number, row in enumerate(report.settings)],
        "found": found_metric(report.objective),
    }  # fmt: skip


def _is_told(report: AttributionReport) -> bool:
    """Whether one table of forms or networks has every setting already."""
    told = [set(side.settings) for side in report.side_by_side]
    return any(places == set(range(len(report.settings))) for places in told)


def _setting(number: int, row: SettingRow, report: AttributionReport, flips: list[ClassFlips]) -> dict[str, Any]:
    name = name_of(row)
    tables = [
        ("What each class adds, in numbers", "numbers", _numbers(row), 1,
         "Best first. A column's button sorts; – where nothing tells."),
        ("Classes that need or replace each other", "pairs", pair_columns(row) if row.pairs else [], None,
         "Shapley interaction, strongest first: above zero two classes complement each other, below one stands in for "
         f"the other. {len(row.pairs)} pairs were looked at."),
        ("By city and subtask", "byparts", part_columns(row), None, _parts_note(row)),
        ("The best and the worst arms", "arms", arm_columns(row) if row.arms else [], 1,
         "An arm is a subset of the classes in the mask. A placebo's column is the same subset with the placebo in its "
         f"mask's place. {len({arm.players for arm in row.arms})} arms were evaluated."),
    ]  # fmt: skip
    return {
        "number": number + 1,
        "name": name,
        "method": method_name(row),
        "heading": heading(row),
        "answer": answer(row, report.objective),
        "control": control(row),
        "chart": effect_chart(row, report.objective),
        "taken": steps(row),
        "tables": [
            (title, table)
            for title, kind, columns, by, note in tables
            if (table := _table(f"{kind}{number + 1}", title, note, columns, by)) is not None
        ],
        "flips": flips,
        "reading": reading(row),
    }


def _numbers(row: SettingRow) -> list[Column]:
    if not row.players:
        return []
    columns = player_columns(row)
    place = next(place for place, column in enumerate(columns) if column.head == "claim")
    bound = bound_column(row)
    told = any(cell.sort is not None for cell in bound.cells)
    return [*columns[: place + 1], *([bound] if told else []), *columns[place + 1 :]]


def _parts_note(row: SettingRow) -> str:
    count = sum(part.adds.low is not None for player in row.players for part in player.parts)
    return (
        f"Each interval stands alone here: without any effect about {count * (1 - row.confidence):.2g} of these "
        f"{count} would leave zero out by luck. n counts queries."
    )


def _table(
    name: str, caption: str, note: str, columns: Sequence[Column], sorted_by: int | None = None
) -> ShownTable | None:
    if not columns:
        return None
    headers = [(column.head, column.meaning) for column in columns]
    words = [place for place, column in enumerate(columns) if column.plain]
    return ShownTable(f"classes-{name}", note, caption, headers, lines(columns), words, sorted_by)


def _flips(report: AttributionReport, trials: Sequence[TrialSpec], album: Album) -> list[list[ClassFlips]]:
    """By setting and player. Pictures go round: each class gets its first query before any gets its second."""
    chosen = [[_by_turns(player.flips) for player in setting.players] for setting in report.settings]
    masks = [_mask_trial(setting.setting, trials) for setting in report.settings]
    shown: dict[tuple[int, int, int], ShownFlip] = {}
    for turn in range(A_CLASS):
        for s, setting in enumerate(report.settings):
            for p, player in enumerate(setting.players):
                if turn < len(chosen[s][p]):
                    flip = chosen[s][p][turn]
                    shots = _shots(flip, player, masks[s], report.objective, album)
                    shown[s, p, turn] = ShownFlip(flip, shots)
    return [
        [
            ClassFlips(
                id=f"classes-flips{s + 1}-{p + 1}", player=player.player, gained=player.num_gained,
                lost=player.num_lost,
                flips=tuple(
                    sorted((shown[s, p, t] for t in range(len(chosen[s][p]))), key=lambda each: not each.flip.gained)
                ),
            )
            for p, player in enumerate(setting.players)
            if player.flips or player.num_gained or player.num_lost
        ]
        for s, setting in enumerate(report.settings)
    ]  # fmt: skip


def _by_turns(flips: Sequence[Flip]) -> list[Flip]:
    """The first few, gained and lost by turns; where one kind runs out, the other goes on."""
    kinds = [[flip for flip in flips if flip.gained], [flip for flip in flips if not flip.gained]]
    places = sorted((place, kind) for kind, each in enumerate(kinds) for place in range(len(each)))
    return [kinds[kind][place] for place, kind in places[:A_CLASS]]


def _mask_trial(setting: Mapping[str, Any], trials: Sequence[TrialSpec]) -> TrialSpec | None:
    """A trial of this setting that makes masks; else any one that does."""
    masked = [trial for trial in trials if trial.input.uses_mask]
    for trial in masked:
        values = trial.to_json()
        if all(_at(values, key) == value for key, value in setting.items()):
            return trial
    return masked[0] if masked else None


def _at(value: Any, key: str) -> Any:
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _shots(flip: Flip, player: PlayerRow, mask_of: TrialSpec | None, objective: str, album: Album) -> tuple[Shot, ...]:
    """The query, as it is and through the player's own mask, and what came first with and without the player."""
    # Where found means among the first k, the very first may be wrong; where it is missed, the first is wrong.
    first_is_right = True if found_metric(objective) == "recall@1" else None
    pictures = album.pictures
    plain = _uri(album, partial(pictures.thumbnail, flip.city, "query", flip.query))
    shots = [Shot("query, unmasked", flip.query, plain)]
    trial = _through(player, mask_of)
    if trial is not None:
        shots += masked_shots(f"query through {player.player}", flip.city, "query", flip.query, trial, album)
    for word, key, found in (("with", flip.with_player, flip.gained), ("without", flip.without, not flip.gained)):
        uri = _uri(album, partial(pictures.thumbnail, flip.city, "database", key))
        shots.append(Shot(f"first {word} {player.player}, unmasked", key, uri, first_is_right if found else False))
    return tuple(shots)


def _uri(album: Album, picture: Callable[[], bytes | None]) -> str | None:
    """Nothing is read from the data once the album is full."""
    return None if album.full else album.uri(picture())


def _through(player: PlayerRow, mask_of: TrialSpec | None) -> TrialSpec | None:
    """The trial whose mask is made of the player's classes alone."""
    if mask_of is None:
        return None
    chosen = mask_of.input.model_copy(update={"classes": player.classes, "placebo": "none"})
    return mask_of.model_copy(update={"input": chosen}) if chosen.class_names else None
