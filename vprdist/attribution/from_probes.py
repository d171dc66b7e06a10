"""One network for all subsets: what its probes say of each player, and whether networks trained alone agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vprdist.attribution.cover import cover_of
from vprdist.attribution.finished import PlayersByQuery, ResultOf, forget
from vprdist.attribution.probe_values import Networks, PerQuery, View
from vprdist.attribution.rows import best_first, effect_at, on_gpu, pair_rows, player_rows, players_of
from vprdist.game.agreement import agreement
from vprdist.game.draws import Whole
from vprdist.game.inference import Probed, effects
from vprdist.game.probing import subsets_to_probe
from vprdist.game.state import Game
from vprdist.probes.order import Probe, ProbeOrder
from vprdist.probes.read import queries_of, read_nearest, reports
from vprdist.spec.attribution import Agreement, ArmValue, Cost, Flip, PartEffect, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.store.trial_folder import TrialFolder

MOST_FLIPS = 6
"""Flipped queries of each player and direction that are named."""
OF_THIS = (
    "nothing was trained: claims are of this very network, and hold over places like these, not for networks that "
    "training could have given"
)
"""What a reader needs where the question is which classes a given network uses."""
More = dict[str, dict[str, object]]
"""By player, further fields of its row."""


def network_setting(
    sweep: SweepSpec, game: Game, setting: Point, networks: Sequence[ResultRow], orders: Sequence[ProbeOrder],
    result_of: ResultOf, runs: Path, keep: Callable[[PlayersByQuery], None] = forget,
) -> SettingRow:  # fmt: skip
    """What the probes of a setting's networks say.

    Args:
        networks: the results of the networks, one a seed.
        orders: their probes, all made.
        result_of: the result of a point's trial: of finalists.
        keep: is told what players add query by query.

    Raises:
        UserError: what a network left cannot be read.
    """
    subsets = game.subsets
    probed = Networks(sweep, subsets, networks, orders)
    whole = probed.view(probed.subtask)
    keep(PlayersByQuery(tuple(subsets.players), whole.real, whole.queries))
    found = whole.players()
    told = {name: dict[str, object]() for name in subsets.players}
    for name, more in (*_parts(probed, whole).items(), *_flips(probed, whole).items()):
        told[name] |= more
    for name, more in cover_of(networks[0].trial, subsets).items():
        told[name] |= more
    rows, together = player_rows(subsets, found, told), pair_rows(subsets, whole.pairs())
    notes = []
    if not networks[0].trial.train.steps:
        notes.append(OF_THIS)
    elif len(networks) == 1:
        # A network's own luck would be claimed as an effect.
        rows = [row.model_copy(update={"claim": "untold", "bound": None}) for row in rows]
        together = tuple(pair.model_copy(update={"claim": "none"}) for pair in together)
        notes.append("one network: intervals hold for it alone, and nothing is claimed; 'seeds=[0,1,2]' trains three")
    alone = _alone(sweep, game, result_of)
    cost = _cost(networks, orders, [row for some in alone.values() for row in some])
    return SettingRow(
        setting=setting, method="one_network", confidence=subsets.confidence, nobody=float(whole.nobody_Q.mean()),
        num_queries=len(whole.queries.query), num_clusters=len(np.unique(whole.queries.cluster)),
        num_seeds=len(networks), players=best_first(rows), pairs=together,
        arms=_arms(sweep, whole, alone), agreement=_agreement(sweep, whole, alone, runs), cost=cost,
        notes=tuple(notes),
    )  # fmt: skip


def _parts(networks: Networks, whole: View) -> More:
    """What players add on the queries of each city, and on those of each subtask: intervals that stand alone."""
    cluster, cities = whole.queries.cluster, whole.queries.city.astype(str)
    pieces: list[tuple[Literal["city", "subtask"], str, Probed, Whole]] = []
    for city in np.unique(cities):
        chosen = cities == city
        pieces.append(("city", str(city), whole.kind("none", chosen), cluster[chosen]))
    for subtask in networks.subtasks:
        view = networks.view(subtask)
        pieces.append(("subtask", subtask, view.kind("none"), view.queries.cluster))
    out: dict[str, list[PartEffect]] = {name: [] for name in networks.subsets.players}
    for kind, name, probed, codes in pieces:
        found = effects(probed, codes, confidence=networks.subsets.confidence, num_claims=1)
        for i, player in enumerate(out):
            part = PartEffect(kind=kind, name=name, num_queries=len(codes), adds=effect_at(found, i))
            out[player].append(part)
    return {player: {"parts": tuple(parts)} for player, parts in out.items()}


def _flips(networks: Networks, whole: View) -> More:
    """Queries that the first network finds with everybody and misses without a player, and the other way round."""
    order, subsets, network = networks.probe_orders[0], networks.subsets, whole.found[0]
    everybody: Probe = (subsets.everybody, "none")
    left: dict[str, Probe] = {name: (subsets.everybody ^ (1 << i), "none") for i, name in enumerate(subsets.players)}
    left = {name: probe for name, probe in left.items() if probe in network.probes}
    nearest = read_nearest(order, [everybody, *left.values()], networks.queries[0], networks.subtask)
    keys = list(zip(whole.queries.city.tolist(), whole.queries.query.tolist(), strict=True))
    out: More = {}
    for name, probe in left.items():
        # A recall is found or missed; of a mean precision a half is the border.
        with_it, without = network.of(everybody) > 0.5, network.of(probe) > 0.5
        gained, lost = np.flatnonzero(with_it & ~without), np.flatnonzero(~with_it & without)
        flips = [
            Flip(
                gained=is_gain, city=keys[at][0], query=keys[at][1],
                with_player=nearest[everybody][at], without=nearest[probe][at],
            )
            for is_gain, places in ((True, gained), (False, lost))
            for at in places[:: -(-len(places) // MOST_FLIPS) or 1].tolist()
        ]  # fmt: skip
        out[name] = {"num_gained": len(gained), "num_lost": len(lost), "flips": tuple(flips)}
    return out


def _alone(sweep: SweepSpec, game: Game, result_of: ResultOf) -> dict[int, list[ResultRow]]:
    """The results of networks that were trained on one subset alone, by subset: those of every seed, or none."""
    subsets = game.subsets
    candidates = subsets_to_probe(subsets.num_players, subsets.probes, sweep.search.seed)
    found = {subset: [result_of(game.point(subset, seed)) for seed in sweep.seeds] for subset in candidates}
    whole = {subset: [row for row in rows if row is not None] for subset, rows in found.items()}
    return {subset: rows for subset, rows in whole.items() if len(rows) == len(sweep.seeds)}


def _arms(sweep: SweepSpec, whole: View, alone: Mapping[int, Sequence[ResultRow]]) -> tuple[ArmValue, ...]:
    subsets = whole.networks.subsets
    means = np.mean([network.values_KQ.mean(axis=1, dtype=np.float64) for network in whole.found], axis=0)
    rows = []
    for (subset, kind), place in whole.found[0].probes.items():
        own = [row.metrics[sweep.objective] for row in alone.get(subset, ())] if kind == "none" else []
        rows.append(
            ArmValue(
                players=players_of(subsets, subset), placebo=None if kind == "none" else kind,
                value=float(means[place]), num_seeds=len(whole.found), alone=float(np.mean(own)) if own else None,
            )
        )  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row.value))


def _agreement(sweep: SweepSpec, whole: View, alone: Mapping[int, Sequence[ResultRow]], runs: Path) -> Agreement | None:
    """How the one network's values of the finalists agree with those of networks trained on each alone."""
    if not alone:
        return None
    probed = np.stack([np.mean([n.of((subset, "none")) for n in whole.found], axis=0) for subset in alone])
    own = [_mean_of(rows, sweep.objective, whole, runs) for rows in alone.values()]
    if any(each is None for each in own):
        return None
    found = agreement(probed, np.stack([each for each in own if each is not None]), whole.queries.cluster)
    return Agreement(count=found.count, tau=found.value, low=found.low, high=found.high)


def _mean_of(rows: Sequence[ResultRow], objective: str, whole: View, runs: Path) -> PerQuery | None:
    """(Q,) over the seeds; None where other queries were asked."""
    values = []
    for row in rows:
        queries = queries_of(TrialFolder.of(runs, row.trial_id).path).only(whole.networks.subtask)
        if not queries.same_as(whole.queries):
            return None
        values.append(queries.metrics[objective])
    return np.asarray(np.mean(values, axis=0), np.float32)


def _cost(networks: Sequence[ResultRow], orders: Sequence[ProbeOrder], finalists: Sequence[ResultRow]) -> Cost:
    parts = [part for order in orders for part in reports(order)]
    return Cost(
        num_trials=len(networks),
        train_s=sum(row.wall_s * row.num_ranks for row in networks),
        num_probes=sum(len(part.probes) for part in parts),
        probe_s=sum(part.seconds for part in parts),
        num_finalists=len(finalists),
        finalists_s=sum(row.wall_s * row.num_ranks for row in finalists),
        on_gpu=any(map(on_gpu, [*(row.device for row in networks), *(part.device for part in parts)])),
    )
