"""What players contribute to networks' probes, query by query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.attribution.chances import chances
from vprdist.errors import UserError
from vprdist.game.claims import PlayerEffects, player_effects
from vprdist.game.draws import Floats
from vprdist.game.exact import Weights, interaction_weights, shapley_weights
from vprdist.game.inference import Effects, Probed, effects
from vprdist.game.probing import orders_to_probe
from vprdist.game.sampled import drawn_interaction_rows, drawn_interaction_weights, drawn_rows, drawn_weights
from vprdist.probes.order import Probe, ProbeOrder
from vprdist.probes.read import ProbeValues, queries_of, read_probes
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.vocabulary import Placebo
from vprdist.store.queries import Queries

PerQuery = npt.NDArray[np.float32]


class Networks:
    """The probes of a setting's networks, and how players are made of them."""

    def __init__(
        self, sweep: SweepSpec, subsets: SubsetSpec, results: Sequence[ResultRow], orders: Sequence[ProbeOrder]
    ) -> None:
        self.sweep, self.subsets, self.results, self.probe_orders = sweep, subsets, results, orders
        self.subtask = results[0].own_protocol.subtask
        self.kinds: tuple[Placebo, ...] = ("none", *self.subsets.placebos)
        n = self.subsets.num_players
        self.orders = orders_to_probe(n, self.subsets.probes, sweep.search.seed)
        self.weights = shapley_weights(n) if self.orders is None else drawn_weights(self.orders)
        self.queries = [queries_of(Path(order.trial)) for order in orders]
        if not all(each.same_as(self.queries[0]) for each in self.queries):
            raise UserError(
                orders[0].trial, "networks of a setting were not asked the same queries", None, "Run it again."
            )

    @property
    def subtasks(self) -> list[str]:
        """Those with queries, its own left out."""
        return sorted({str(word) for word in self.queries[0].subtask} - {self.subtask})

    def view(self, subtask: str) -> View:
        """The probes on the queries of one subtask."""
        trial, objective = self.results[0].trial, self.sweep.objective
        found = [
            read_probes(order, objective, queries, subtask)
            for order, queries in zip(self.probe_orders, self.queries, strict=True)
        ]
        own = found[0].queries
        if (0, "none") in found[0].probes:
            nobody = np.mean([each.of((0, "none")) for each in found], axis=0)
        else:
            known = chances(trial, objective, subtask)
            nobody = np.array([known[at] for at in zip(own.city.tolist(), own.query.tolist(), strict=True)], np.float32)
        return View(self, own, found, nobody)


@dataclass(frozen=True)
class View:
    """Probes on the queries of one subtask. nobody_Q: what no player at all is worth."""

    networks: Networks
    queries: Queries
    found: Sequence[ProbeValues]
    nobody_Q: PerQuery

    def values(self, weights: Weights, kind: Placebo, network: ProbeValues) -> PerQuery:
        """(K, Q) values of the subsets of `weights`."""
        return np.stack([self.value(network, (int(subset), kind)) for subset in weights.subsets])

    def value(self, network: ProbeValues, probe: Probe) -> PerQuery:
        """(Q,) of one probe; of nobody, who has no placebo, what is known of it."""
        own = (0, "none") in network.probes
        return (network.of((0, "none")) if own else self.nobody_Q) if probe[0] == 0 else network.of(probe)

    def kind(self, kind: Placebo, chosen: npt.NDArray[np.bool_] | None = None) -> Probed:
        """What players contribute under one kind of arm, on some of the queries."""
        weights, orders = self.networks.weights, self.networks.orders
        part = slice(None) if chosen is None else chosen
        values = [self.values(weights, kind, network)[:, part] for network in self.found]
        contributions = np.stack([weights.of(each) for each in values])
        rows = None if orders is None else drawn_rows(orders, _means(values))
        return Probed(contributions, rows)

    @cached_property
    def real(self) -> Probed:
        return self.kind("none")

    def players(self) -> PlayerEffects:
        """The players' effects beside their placebos."""
        subsets = self.networks.subsets
        placebos: dict[str, Probed] = {kind: self.kind(kind) for kind in subsets.placebos}
        return player_effects(self.real, placebos, self.queries.cluster, confidence=subsets.confidence)

    def pairs(self) -> Effects:
        """The pairs' interactions."""
        subsets, orders = self.networks.subsets, self.networks.orders
        n = subsets.num_players
        weights = interaction_weights(n) if orders is None else drawn_interaction_weights(orders)
        values = [self.values(weights, "none", network) for network in self.found]
        rows = None if orders is None else drawn_interaction_rows(orders, _means(values))
        probed = Probed(np.stack([weights.of(each) for each in values]), rows)
        return effects(probed, self.queries.cluster, confidence=subsets.confidence)


def _means(values: Sequence[PerQuery]) -> Floats:
    """(K,) over queries and networks."""
    return np.asarray(np.mean([each.mean(axis=1, dtype=np.float64) for each in values], axis=0), np.float64)
