"""The tables of an attribution, column by column: page, terminal, Markdown and LaTeX take from them what they show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vprdist.report.wording import (
    MARKS,
    PAIR_WORDS,
    STRENGTH,
    adds_name,
    claim_text,
    effect_text,
    form_text,
    level,
    name_of,
    short_claim,
)
from vprdist.spec.attribution import ArmValue, AttributionReport, Effect, PairRow, PlayerRow, SettingRow

MOST_PAIRS, MOST_ARMS = 10, 5
"""Pairs that are shown, and arms from either end."""
DASH = "–"


@dataclass(frozen=True)
class Cell:
    """What is read, and what it is sorted by; None stands last."""

    text: str
    sort: float | str | None


@dataclass(frozen=True)
class Column:
    """A column of a table. `rank`: a narrow terminal leaves out high ones first; 0 stays.

    `plain`: its text is words, which may be broken into lines; numbers never are.
    """

    head: str
    meaning: str
    cells: tuple[Cell, ...]
    rank: int = 0
    plain: bool = False


def lines(columns: Sequence[Column]) -> list[list[Cell]]:
    """The columns' cells, row by row."""
    return [list(row) for row in zip(*(column.cells for column in columns), strict=True)]


def placebos_of(setting: SettingRow) -> list[str]:
    """The placebos that any player was held against, in the report's order."""
    return list(dict.fromkeys(name for player in setting.players for name in (*player.placebos, *player.beyond)))


def player_columns(setting: SettingRow, narrow: bool = False) -> list[Column]:
    """A row a player.

    Args:
        narrow: claims in a word or two, which `wording.claim_key` explains; of several placebos the nearest alone.
    """
    players, at = setting.players, level(setting)
    where = form_text(setting)
    claims = [Cell(short_claim(p) if narrow else claim_text(p, where), STRENGTH[p.claim]) for p in players]
    beyond = [
        Column(f"beyond {name} [{at}]", f"what it adds less what placebo {name} adds", _effects(
            player.beyond.get(name) for player in players), 3)
        for name in placebos_of(setting)
    ]  # fmt: skip
    if narrow and len(beyond) > 1:
        beyond = [Column(f"beyond nearest placebo [{at}]", "what it adds less what the placebo that comes nearest adds",
                         _effects(map(_least_beyond, players)), 3)]  # fmt: skip
    placebos = [
        Column(f"placebo {name}", f"what it adds when {name} is in the place of every mask", _effects(
            player.placebos.get(name) for player in players), 6)
        for name in placebos_of(setting)
    ]  # fmt: skip
    columns = [
        Column("class", "a class, or a group of classes", tuple(Cell(p.player, p.player) for p in players), plain=True),
        Column(f"{adds_name(setting)} [{at}]", "what it adds with its own mask", _effects(p.adds for p in players)),
        *beyond,
        Column(
            "claim",
            f"holds together with those of all classes{', ' + where if where else ''}",
            tuple(claims),
            plain=not narrow,
        ),
        *placebos,
        _numbers(
            "gained",
            "queries found with everybody, missed without it, by the first seed's network",
            "d",
            (p.num_gained for p in players),
            4,
        ),
        _numbers(
            "lost",
            "queries missed with everybody, found without it, by the first seed's network",
            "d",
            (p.num_lost for p in players),
            4,
        ),
        _numbers("seed sd", "standard deviation of `adds` over seeds", ".3f", (p.seed_sd for p in players), 5),
        _numbers("area", "mean share of the pictures' activations", ".3f", (p.area for p in players), 7),
        _numbers("confidence", "mean activation where it is likeliest", ".3f", (p.confidence for p in players), 8),
    ]
    # A column that nobody has a value for says nothing.
    return [column for column in columns if column.rank == 0 or any(cell.sort is not None for cell in column.cells)]


def _least_beyond(player: PlayerRow) -> Effect | None:
    sign = 1 if player.adds.value >= 0 else -1
    return min(player.beyond.values(), key=lambda each: sign * each.value, default=None)


def bound_column(setting: SettingRow) -> Column:
    """No effect larger than this was detected: in the claim's words too, but there it cannot be sorted by."""
    bounds = (player.bound if player.claim == "none" else None for player in setting.players)
    return _numbers("bound", "no effect larger than this was detected", ".3f", bounds, 9)


def _effects(effects: Iterable[Effect | None]) -> tuple[Cell, ...]:
    return tuple(Cell(DASH, None) if each is None else Cell(effect_text(each), each.value) for each in effects)


def _numbers(head: str, meaning: str, form: str, values: Iterable[float | None], rank: int = 0) -> Column:
    cells = tuple(Cell(DASH, None) if value is None else Cell(f"{value:{form}}", value) for value in values)
    return Column(head, meaning, cells, rank)


def pair_columns(setting: SettingRow) -> list[Column]:
    """The strongest interactions; a claimed one is never left out for one that is not."""
    pairs: list[PairRow] = sorted(setting.pairs, key=lambda pair: pair.claim == "none")[:MOST_PAIRS]
    shown = sorted(pairs, key=lambda pair: -abs(pair.adds.value))
    names = [f"{first} and {second}" for first, second in (pair.players for pair in shown)]
    words = tuple(Cell(PAIR_WORDS[pair.claim], PAIR_WORDS[pair.claim]) for pair in shown)
    return [
        Column("classes", "two classes", tuple(Cell(name, name) for name in names), plain=True),
        Column(f"together [{level(setting)}]", "what they add together beyond what each adds alone",
               _effects(pair.adds for pair in shown)),
        Column("claim", "holds together with those of all pairs", words, plain=True),
    ]  # fmt: skip


def part_columns(setting: SettingRow) -> list[Column]:
    """What each player adds by city and subtask; empty where nobody looked."""
    measured = [player for player in setting.players if player.parts]
    found = [{(part.kind, part.name): part for part in player.parts} for player in measured]
    if not measured:
        return []
    sizes = {key: part.num_queries for parts in found for key, part in parts.items()}
    order = sorted(sizes, key=lambda key: key[0])  # cities first, each kind in the report's order
    return [
        Column("class", "", tuple(Cell(player.player, player.player) for player in measured), plain=True),
        *(
            Column(f"{kind} {name} (n {sizes[kind, name]})", "",
                   _effects(parts[kind, name].adds if (kind, name) in parts else None for parts in found))
            for kind, name in order
        ),
    ]  # fmt: skip


def arm_columns(setting: SettingRow) -> list[Column]:
    """The best and the worst arms: with their own masks, with placebos, and of networks trained on them alone."""
    arms: dict[tuple[str, ...], dict[str | None, ArmValue]] = {}
    for arm in setting.arms:
        arms.setdefault(arm.players, {})[arm.placebo] = arm
    order = sorted(arms, key=lambda players: -_own(arms[players]))
    shown = order if len(order) <= 2 * MOST_ARMS else [*order[:MOST_ARMS], *order[-MOST_ARMS:]]
    placebos = dict.fromkeys(arm.placebo for arm in setting.arms if arm.placebo is not None)
    everybody = max(map(len, arms), default=0)
    names = [_arm_name(players, everybody, arms) for players in shown]

    def values(placebo: str | None) -> list[float | None]:
        return [arm.value if (arm := arms[players].get(placebo)) else None for players in shown]

    own = [arms[players].get(None) for players in shown]
    columns = [
        Column("arm", "the classes in the mask", tuple(Cell(name, name) for name in names), plain=True),
        _numbers("value", "with its own mask", ".3f", values(None)),
        *(_numbers(f"placebo {name}", f"with {name} in its mask's place", ".3f", values(name), 1) for name in placebos),
        _numbers("alone", "networks trained on this arm alone", ".3f", (a.alone if a else None for a in own), 1),
        _numbers("seeds", "seeds that the value is the mean of", "d", (a.num_seeds if a else None for a in own), 1),
    ]
    return [column for column in columns if column.rank == 0 or any(cell.sort is not None for cell in column.cells)]


def _own(arm: dict[str | None, ArmValue]) -> float:
    """What an arm is ranked by; one that was run with placebos alone stands last."""
    return arm[None].value if None in arm else float("-inf")


def _arm_name(players: tuple[str, ...], everybody: int, arms: Iterable[tuple[str, ...]]) -> str:
    """Few by name; many by who is missing from the largest arm: that is what a reader looks for."""
    whole = next(names for names in arms if len(names) == everybody)
    missing = [name for name in whole if name not in players]
    if not players:
        return "nobody"
    if len(players) > 3 and len(missing) < len(players) and set(players) <= set(whole):
        return f"all {everybody}" + (f" but {', '.join(missing)}" if missing else "")
    return ", ".join(players)


def overview_columns(report: AttributionReport) -> list[Column]:
    """Players by settings: whether the answer depends on the setting. Empty for one setting."""
    measured = [setting for setting in report.settings if setting.players]
    if len(measured) < 2:
        return []
    names = list(dict.fromkeys(player.player for setting in measured for player in setting.players))
    columns = [Column("class", "", tuple(Cell(name, name) for name in names), plain=True)]
    for setting in measured:
        players = {player.player: player for player in setting.players}
        head = name_of(setting) or "this sweep"
        columns.append(Column(head, setting.method, tuple(_mark(players.get(name)) for name in names)))
    return columns


def _mark(player: PlayerRow | None) -> Cell:
    if player is None:
        return Cell(DASH, None)
    return Cell(f"{player.adds.value:+.3f} {MARKS[player.claim]}", player.adds.value)
