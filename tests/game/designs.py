"""Made designs and worlds whose shares are known: rows on axes, seeds, hits on clustered queries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from vprdist.game.axes import ABSENT, Axis
from vprdist.game.shares import Luck, Scores
from vprdist.report.statistics import Panel

CLUSTER_SD, QUERY_SD, OWN_CLUSTER_SD, OWN_SD, NOISE_SD = 1.0, 1.0, 0.35, 0.5, 0.5


def crossed(*sizes: int) -> np.ndarray:
    """(R, A) every value of every axis with every other."""
    return np.array(list(itertools.product(*(range(size) for size in sizes))))


def axes_of(codes_RA: np.ndarray) -> list[Axis]:
    """Axes a, b, … of codes, `ABSENT` where a row has none."""
    out = []
    for number, codes in enumerate(codes_RA.T):
        known = sorted(set(codes.tolist()) - {ABSENT})
        places = {code: place for place, code in enumerate(known)} | {ABSENT: ABSENT}
        renamed = np.array([places[code] for code in codes.tolist()], np.int64)
        out.append(Axis((chr(97 + number),), tuple(f"v{code}" for code in known), renamed))
    return out


@dataclass(frozen=True)
class World:
    """Rows' true effects on a hidden scale, the seeds of each, and how seeds change it."""

    effects_R: np.ndarray
    seeds_R: np.ndarray
    luck_sd: float = 0.0
    clusters: int = 40
    mean_size: int = 8

    def truth(self) -> tuple[np.ndarray, float]:
        """(R,) each row's score over all queries and seeds, and the variance between seeds, by quadrature."""
        nodes, share = np.polynomial.hermite_e.hermegauss(61)
        share = share / share.sum()
        spread = np.sqrt(CLUSTER_SD**2 + QUERY_SD**2 + OWN_CLUSTER_SD**2 + OWN_SD**2 + NOISE_SD**2)
        scores = ndtr((self.effects_R[:, None] + self.luck_sd * nodes) / spread)
        means = scores @ share
        variances = (scores - means[:, None]) ** 2 @ share
        return means, float((variances * self.seeds_R).sum() / self.seeds_R.sum())

    def panel(self, rng: np.random.Generator) -> Panel:
        sizes = rng.integers(1, 2 * self.mean_size, self.clusters)
        cluster = np.repeat(np.arange(self.clusters), sizes)
        count = len(cluster)
        common = rng.normal(0, CLUSTER_SD, self.clusters)[cluster] + rng.normal(0, QUERY_SD, count)
        values = []
        for effect, seeds in zip(self.effects_R.tolist(), self.seeds_R.tolist(), strict=True):
            own = effect + rng.normal(0, OWN_CLUSTER_SD, self.clusters)[cluster] + rng.normal(0, OWN_SD, count)
            noise = rng.normal(0, NOISE_SD, (seeds, count)) + rng.normal(0, self.luck_sd, (seeds, 1))
            values.append(((common + own + noise) > 0).astype(float))
        return Panel(tuple(values), cluster)


def plain_scores(values: Sequence[float], rows: Sequence[int] | None = None) -> Scores:
    """Scores of trials without any doubt of the queries; rows of one trial each where none are named."""
    row = np.arange(len(values)) if rows is None else np.array(rows)
    of_row = [np.array(values)[row == each] for each in range(row.max() + 1)]
    freedom = sum(len(each) - 1 for each in of_row)
    seen = sum(((each - each.mean()) ** 2).sum() for each in of_row) / max(freedom, 1)
    means = np.array([each.mean() for each in of_row])
    luck = Luck(seen, seen, freedom) if freedom else None
    return Scores(np.array(values, float), row, np.stack([means / 2] * 2), np.zeros((2, len(of_row))), 10.0, luck)


def shapley_of(value: Callable[[frozenset[int]], float], count: int) -> list[float]:
    """The definition: the mean over all orders."""
    out, orders = np.zeros(count), list(itertools.permutations(range(count)))
    for order in orders:
        there: frozenset[int] = frozenset()
        for player in order:
            out[player] += value(there | {player}) - value(there)
            there |= {player}
    return (out / len(orders)).tolist()
