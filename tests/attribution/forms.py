"""Simulated worlds of classes under several forms of the mask, on the same queries: how often verdicts are wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from vprdist.attribution.verdict import is_opposed, verdict
from vprdist.game.claims import PlayerEffects, player_effects
from vprdist.game.inference import Probed
from vprdist.spec.attribution import Effect

BATCH = 250
WORDS = {1.0: "helps", -1.0: "hurts", 0.0: "none"}


@dataclass(frozen=True)
class Forms:
    """Normal contributions of n players under F forms, beside one placebo.

    Attributes:
        adds_Fn, placebo_Fn: true effects, where a query's own spread is one.
        alike: the share of each kind of luck that all forms have in common: 1 is one form, told F times.
        luck: spread between networks, of a player's mean.
    """

    adds_Fn: np.ndarray
    placebo_Fn: np.ndarray
    alike: float = 0.5
    seeds: int = 3
    luck: float = 0.05
    clusters: int = 40
    size: int = 5

    def play(self, times: int, seed: int = 0) -> Counter[str]:
        """In how many worlds any player has a verdict: each word once a world; `opposed` where forms disagree."""
        rng, seen = np.random.default_rng(seed), Counter[str]()
        cluster = np.repeat(np.arange(self.clusters), self.size)
        for start in range(0, times, BATCH):
            count = min(BATCH, times - start)
            real, placebo = self._values(rng, count, self.adds_Fn), self._values(rng, count, self.placebo_Fn)
            found = [
                player_effects(Probed(one), {"random": Probed(other)}, cluster, confidence=0.95)
                for one, other in zip(real, placebo, strict=True)
            ]
            for world in range(count):
                seen.update(_said(found, world))
        return seen

    def _values(self, rng: np.random.Generator, count: int, effects_Fn: np.ndarray) -> list[np.ndarray]:
        """For each form (B, S, n, Q): clusters, queries, queries of one network, and networks are luck."""
        num_players, queries = effects_Fn.shape[1], self.clusters * self.size
        shapes = (
            (0.5, (count, 1, num_players, self.clusters)), (0.6, (count, 1, num_players, queries)),
            (0.6, (count, self.seeds, num_players, queries)), (self.luck, (count, self.seeds, num_players, 1)),
        )  # fmt: skip
        common = [rng.standard_normal(shape) for _, shape in shapes]
        out = []
        for effects in effects_Fn:
            total = np.broadcast_to(effects[:, None], (count, self.seeds, num_players, queries)).astype(float)
            for (spread, shape), shared in zip(shapes, common, strict=True):
                own = np.sqrt(self.alike) * shared + np.sqrt(1 - self.alike) * rng.standard_normal(shape)
                if shape[-1] == self.clusters:
                    own = np.repeat(own, self.size, axis=-1)
                total = total + spread * own
            out.append(total)
        return out


def _said(found: list[PlayerEffects], world: int) -> set[str]:
    said = set()
    for player in range(found[0].signs.shape[1]):
        said.add(verdict([WORDS[float(each.signs[world, player])] for each in found]))
        ends = [(each.adds.values, each.adds.low, each.adds.high) for each in found]
        effects = [Effect(value=v[world, player], low=a[world, player], high=b[world, player]) for v, a, b in ends]
        if is_opposed(effects):
            said.add("opposed")
    return said


def nothing(forms: int, players: int = 4) -> np.ndarray:
    """No player does anything under any form."""
    return np.zeros((forms, players))


def all_but_one(forms: int, players: int = 4, worth: float = 1.0) -> np.ndarray:
    """The worst that can be: each player helps plainly under all forms but one, another one for each player."""
    out = np.full((forms, players), worth)
    out[np.arange(players) % forms, np.arange(players)] = 0.0
    return out
