"""What each network of a sweep costs, found once in a process of its own, which loads torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vprdist.console import Bar, Console, fitted_table
from vprdist.errors import LaunchError
from vprdist.launch.warm import run_module
from vprdist.prepare.remembered import is_built_in, remember, remembered
from vprdist.spec.input import InputSpec
from vprdist.spec.row_name import network_name
from vprdist.spec.trial import TrialSpec

MEASURER = "vprdist.training.measure"
Row = tuple[str, ...]


@dataclass(frozen=True)
class Networks:
    """The different networks of a sweep, and what each costs (`training.measure.Cost`), or why it cannot be built."""

    trials: tuple[TrialSpec, ...]
    costs: tuple[dict[str, Any], ...]


def network_costs(trials: Sequence[TrialSpec], measure: bool, bar: Bar) -> Networks:
    """Parameters and multiply-adds of every different network; with `measure` also how fast it trains here.

    Where built-in classes make a network, what was counted before is remembered, and torch is not loaded for it.
    """
    different = {_key(trial, measure): trial for trial in reversed(trials)}
    chosen = tuple(reversed(different.values()))
    known = {
        place: cost
        for place, trial in enumerate(chosen)
        if not measure and is_built_in(trial) and (cost := remembered(MEASURER, _key(trial, measure))) is not None
    }
    asked = [trial for place, trial in enumerate(chosen) if place not in known]
    counted = iter(_counted(asked, measure, bar) if asked else ())
    return Networks(chosen, tuple(known[place] if place in known else next(counted) for place in range(len(chosen))))


def _counted(trials: Sequence[TrialSpec], measure: bool, bar: Bar) -> list[dict[str, Any]]:
    """The costs of these networks, by a process that loads torch."""
    words = ["--pace"] if measure else []
    order, costs = json.dumps([_alone(trial).to_json() for trial in trials]), list[dict[str, Any]]()
    with bar("measuring networks" if measure else "counting networks") as advance:
        advance(0, len(trials))

        def counted(line: str) -> None:
            costs.append(json.loads(line))
            advance(len(costs), len(trials))

        done = run_module(MEASURER, words, order, counted)
    for trial, cost in zip(trials, costs, strict=False):
        if not measure and is_built_in(trial) and "refused" not in cost:
            remember(MEASURER, _key(trial, measure), cost)
    if len(costs) < len(trials):
        fault, remedy = "the process that counts networks died", "It may need more memory than there is."
        died = LaunchError(f"{sys.executable} -m {MEASURER}", fault, done.returncode, remedy)
        costs += [{"refused": died.to_json()}] * (len(trials) - len(costs))
    return costs


def _alone(trial: TrialSpec) -> TrialSpec:
    """The trial without its cache, which need not be there yet: it changes no size."""
    return trial.model_copy(update={"input": trial.input.model_copy(update={"cache": None})})


def _key(trial: TrialSpec, measure: bool) -> str:
    """What the numbers depend on."""
    network, given, train = trial.network.model_copy(update={"weights": "none"}), trial.input, trial.train
    maps = len(given.map_names) if given.needs_cache and not given.uses_mask else 0
    values: list[Any] = [trial.picture_size, given.mode, given.at_features, given.learnt.model_dump(mode="json"), maps]
    if measure:
        values += [train.steps > 0, train.loss.model_dump(mode="json"), train.counts_all_pairs, train.num_partners]
        values += [train.batch_pairs, train.micro_pairs, train.batch_norm, train.precision, train.optimizer]
    return json.dumps([network.model_dump(mode="json"), *values], default=str)


def show_networks(found: Networks, console: Console) -> None:
    """A table, a network a row; columns of words that are alike in all rows are left out."""
    words: dict[str, list[str]] = {
        "network": [network_name(trial.network) for trial in found.trials],
        "input": [_input(trial.input) for trial in found.trials],
        "size": ["x".join(map(str, trial.picture_size)) for trial in found.trials],
        "loss": [trial.train.loss.title for trial in found.trials],
        "batches": [f"{trial.train.batches} of {trial.train.batch_pairs}" for trial in found.trials],
    }
    heads = [head for head, cells in words.items() if head in ("network", "size") or len(set(cells)) > 1]
    paced = any(cost.get("queries_per_s") for cost in found.costs)
    numbers = [*("parameters", "trained", "multiply-adds"), *(["pairs/s"] if paced else [])]
    lines = [
        (*(words[head][row] for head in heads), *_numbers(cost)[: len(numbers)]) for row, cost in enumerate(found.costs)
    ]
    console.print("\nnetworks", style="bold")
    console.print(fitted_table(console, (*heads, *numbers), lines, words=(0,)))
    for line in _notes(found):
        console.print(f"  {line}", soft_wrap=True)


def _input(given: InputSpec) -> str:
    return f"{given.mode} at features" if given.at_features else given.mode


def _numbers(cost: dict[str, Any]) -> Row:
    if "refused" in cost:
        return ("-",) * 4
    paced = cost["queries_per_s"]
    return (
        *(_short(cost[name]) for name in ("parameters", "trained", "multiply_adds")),
        "-" if paced is None else f"{paced:.3g}",
    )


def _short(count: int | None) -> str:
    """Four digits and the unit: 23.51 M."""
    if count is None:
        return "?"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return str(count)


def _notes(found: Networks) -> Iterator[str]:
    yield "multiply-adds of one picture: convolutions, linear maps, the products of attention"
    if device := next((cost["device"] for cost in found.costs if cost.get("device")), None):
        yield (
            f"pairs/s: queries with their partners, forward, backward and step on {device}, pictures in memory; "
            "reading them takes its own time"
        )
    for trial, cost in zip(found.trials, found.costs, strict=True):
        if "refused" in cost:
            said = LaunchError.from_json(cost["refused"])
            yield f"WARNING: nothing is known of {network_name(trial.network)}: {said}"
