"""What a finished search of subsets says of its classes: on the terminal, and in the sweep's attribution.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vprdist.errors import DataError
from vprdist.files import canonical_json, write_json
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

if TYPE_CHECKING:
    from vprdist.attribution.draws import Floats
    from vprdist.attribution.game import Game
    from vprdist.data.tasks import Task

SHOWN_PAIRS = 5
WORDS = {1: "helps", -1: "hurts", 0: "not told from nothing"}


@dataclass(frozen=True)
class Told:
    """What one setting's game says: numbers for the file, and sentences under the table."""

    setting: Point
    numbers: dict[str, Any]
    notes: tuple[str, ...]


def check_queries(sweep: SweepSpec, trials: Sequence[TrialSpec]) -> list[str]:
    """What the queries of a sweep of subsets can show at all; nothing for other sweeps, or while the city is not made.

    Raises:
        DataError: so few that nothing can be claimed, whatever comes out.
    """
    from vprdist.attribution.queries import fewest_queries
    from vprdist.report.power import Noise, detectable

    subsets, trial = sweep.search.subsets, trials[0]
    if subsets is None or trial.data.root == "demo":
        return []
    count, need = sum(len(task.queries) for task in _tasks(trial)), fewest_queries(subsets.confidence)
    if count < need:
        rule = f"claims at confidence {subsets.confidence:g} need {need} queries with a positive, at the very least"
        cities = "+".join(trial.data.validate_cities)
        raise DataError(f"{trial.data.root}: {cities}", rule, count, "Validate on more cities, or on larger ones.")
    least = detectable(num_queries=count, num_seeds=1, num_comparisons=1, noise=Noise())
    return [
        f"{count} queries: differences in {sweep.objective} of two trials from {least:.3f} on are found "
        "(80 % power at 5 %, noise assumed)"
    ]


def show_attribution(
    sweep: SweepSpec, trials: Sequence[TrialSpec], proposed: Mapping[str, str | None], results: Mapping[str, ResultRow],
    folder: Path, console: Console,
) -> None:  # fmt: skip
    """Say and write what each class contributes; nothing for lists of subsets and for Optuna's proposals.

    Args:
        trials: the sweep's resolved trials, one for each of its points.
        proposed: trial ids by the canonical JSON of the points that a searcher proposed; for `take` it is empty.
        results: of the trials that have one.
    """
    from vprdist.search.subset_rule import games

    search = sweep.search
    if search.searcher not in (None, "greedy", "shapley") or isinstance(search.subsets and search.subsets.take, tuple):
        return
    pairs = zip(sweep.points, trials, strict=True)
    known = {canonical_json({**point, "seed": t.seed}): t.trial_id for point, t in pairs} | dict(proposed)

    def value_of(point: Point) -> float | None:
        row = results.get(known.get(canonical_json(point)) or "")
        return float("nan") if row is None else row.metrics[sweep.objective]

    told = []
    for number, setting in enumerate(sweep.settings):
        trial = next(t for point, t in zip(sweep.points, trials, strict=True) if setting.items() <= point.items())
        game = games(sweep, value_of, _chance(trial, sweep.objective))[number]
        told.append(_tell(sweep, game))
        _print(told[-1], sweep, console)
    write_json(folder / "attribution.json", [{"setting": each.setting, **each.numbers} for each in told])
    console.print(f"attribution: {folder / 'attribution.json'}", markup=False)


def _tasks(trial: TrialSpec) -> list[Task]:
    from vprdist.data.msls import read_city_cached
    from vprdist.data.tasks import build_tasks

    return build_tasks([read_city_cached(Path(trial.data.root), name) for name in trial.data.validate_cities], trial)


def _chance(trial: TrialSpec, objective: str) -> float:
    """What a network that sees black reaches: the mean over all queries, each against the gallery it is asked of."""
    from vprdist.attribution.chance import chance

    tasks, merged = _tasks(trial), trial.evaluate.gallery == "merged"
    together = sum(len(task.gallery) for task in tasks)
    values = [
        chance(objective, [len(rows) for rows in task.positives], together if merged else len(task.gallery))
        for task in tasks
        if len(task.queries)
    ]
    return fmean(value for city in values for value in city)


def _tell(sweep: SweepSpec, game: Game) -> Told:
    from vprdist.attribution.game import greedy_state, taken_contributions
    from vprdist.search.subset_rule import drawn

    names = list(game.subsets.players)
    if sweep.search.searcher == "greedy":
        step, _ = greedy_state(game, sweep.seeds)
        order = [names[player] for player in step.taken]
        return Told(game.setting, {"taken": order}, (f"taken in, one after the other: {', '.join(order) or 'nobody'}",))
    if sweep.search.searcher is None:
        rows = taken_contributions(game, sweep.seeds)
        missing = len(sweep.seeds) - len(rows)
        notes = [f"{len(rows)} seed(s)" + (f"; {missing} left out, since a trial failed" if missing else "")]
        if len(rows) == 1:
            notes.append("one seed tells no interval: 'seeds=[0,1,2]' on the same command")
        return Told(game.setting, _values(rows, names, game), tuple(notes))
    state = drawn(sweep, game)
    numbers = _values(state.contributions, names, game)
    numbers |= {"settled": state.is_settled, "draws": len(state.orders), "failed_draws": state.failed}
    notes = [
        f"{len(state.orders)} draws of an order and its reverse"
        + (f"; {state.failed} left out, since a trial failed" if state.failed else ""),
        f"the ranking is {'settled' if state.is_settled else 'NOT settled'} at {game.subsets.confidence:g}: neighbours "
        f"are {'told apart, or' if state.is_settled else 'neither all told apart, nor known to'} differ by less than "
        f"{game.subsets.tie:g}",
    ]
    if len(state.orders) > 1:
        from vprdist.attribution.interactions import interactions

        numbers["interactions"] = _pairs(interactions(state.orders, state.forward, state.backward), names, game)
        clear = [pair for pair in numbers["interactions"] if pair["claim"]][:SHOWN_PAIRS]
        notes += [
            f"{' and '.join(pair['players'])}: {pair['value']:+.3f} ±{pair['half']:.3f} together" for pair in clear
        ]
    return Told(game.setting, numbers, tuple(notes))


def _values(rows: Floats, names: Sequence[str], game: Game) -> dict[str, Any]:
    """Players, best first, from contributions (R, n): value, half interval, claim. Without rows there are none."""
    from vprdist.attribution.estimate import estimate

    numbers: dict[str, Any] = {"confidence": game.subsets.confidence, "nobody": game.nobody, "players": []}
    if len(rows):
        found = estimate(rows)
        halves, claims = found.half_widths(game.subsets.confidence), found.claims(game.subsets.confidence)
        for i in sorted(range(len(names)), key=lambda i: -found.values[i]):
            half = float(halves[i]) if len(rows) > 1 else None
            row = {"player": names[i], "value": float(found.values[i]), "half": half, "claim": int(claims[i])}
            numbers["players"].append(row)
    return numbers


def _pairs(rows: Floats, names: Sequence[str], game: Game) -> list[dict[str, Any]]:
    """Every two players' interaction, the largest first; a claim holds with all others at the game's confidence."""
    import numpy as np

    from vprdist.attribution.estimate import estimate

    first, second = np.triu_indices(len(names), 1)
    found = estimate(rows[:, first, second])
    halves, claims = found.half_widths(game.subsets.confidence), found.claims(game.subsets.confidence)
    pairs = [
        {"players": [names[i], names[j]], "value": float(value), "half": float(half), "claim": int(claim)}
        for i, j, value, half, claim in zip(first.tolist(), second.tolist(), found.values, halves, claims, strict=True)
    ]
    return sorted(pairs, key=lambda pair: -abs(pair["value"]))


def _print(told: Told, sweep: SweepSpec, console: Console) -> None:
    words = " ".join(str(value) for value in told.setting.values())
    what = sweep.search.searcher or (sweep.search.subsets and sweep.search.subsets.take)
    title = f"what each class adds to {sweep.objective} ({what}{', ' + words if words else ''})"
    console.print(Text(f"\n{title}", style="bold"))
    if told.numbers.get("players"):
        level = f"{told.numbers['confidence']:.0%}"
        table = Table("class", "adds", f"± ({level})", "claim")
        for row in told.numbers["players"]:
            half = "-" if row["half"] is None else f"{row['half']:.4f}"
            table.add_row(
                Text(row["player"]), f"{row['value']:+.4f}", half, "-" if row["half"] is None else WORDS[row["claim"]]
            )
        console.print(table)
        console.print(f"  claims hold together at {level}, for these queries and networks like these", style="dim")
    for note in told.notes:
        console.print(f"  {note}", markup=False, highlight=False)
