"""k-means of local features: the same centres from the same seed, whatever the number of threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vprdist.errors import TrainingError

MOST_TURNS = 100
ROWS = 4096
"""Features that are looked at at once: float64 of them all would take twice their memory more."""
Advanced = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


@torch.no_grad()
def centres_of(features_NC: Tensor, count: int, seed: int, advanced: Advanced = silent) -> Tensor:
    """(count, C) float64: the means of k-means' clusters, which start as k-means++ has it (Lloyd 1982; Arthur and
    Vassilvitskii 2007), and are renewed until no feature goes to another.

    Distances are taken in float64, so that rounding moves no feature; of two equally near centres the first is taken.
    A centre that loses all its features stays where it is.

    Args:
        features_NC: float32, on the CPU.
        advanced: told after each renewal, of at most so many.

    Raises:
        TrainingError: there are fewer different features than centres.
    """
    centres_KC = _spread(features_NC, count, np.random.default_rng(seed))
    assigned_N = None
    for turn in range(1, MOST_TURNS + 1):
        found_N = nearest(features_NC, centres_KC)
        if assigned_N is not None and torch.equal(found_N, assigned_N):
            break
        assigned_N = found_N
        centres_KC = _means(features_NC, assigned_N, centres_KC)
        advanced(turn, MOST_TURNS)
    return centres_KC


def nearest(features_NC: Tensor, centres_KC: Tensor) -> Tensor:
    """(N,) the centre that each feature is nearest to."""
    squares_K = centres_KC.square().sum(dim=1)
    parts = [(squares_K - 2 * (part.double() @ centres_KC.T)).argmin(dim=1) for part in features_NC.split(ROWS)]
    return torch.cat(parts)


def _means(features_NC: Tensor, assigned_N: Tensor, before_KC: Tensor) -> Tensor:
    sums_KC, counts_K = torch.zeros_like(before_KC), torch.bincount(assigned_N, minlength=len(before_KC))
    for part, to in zip(features_NC.split(ROWS), assigned_N.split(ROWS), strict=True):
        sums_KC.index_add_(0, to, part.double())
    means_KC = sums_KC / counts_K.clamp(min=1)[:, None]
    return torch.where(counts_K[:, None] > 0, means_KC, before_KC)


def _spread(features_NC: Tensor, count: int, random: np.random.Generator) -> Tensor:
    """(count, C) float64: features that are drawn one after the other, by their squared distance to the drawn ones."""
    weights_N = np.ones(len(features_NC))
    drawn = list[Tensor]()
    for already in range(count):
        running_N = np.cumsum(weights_N)
        if not len(running_N) or not running_N[-1] > 0:
            fault = f"k-means needs as many different features of training pictures as clusters, {count}"
            remedy = "Lower trial.network.aggregator.clusters, or train on more or larger pictures."
            raise TrainingError("trial.network.aggregator.clusters", fault, already, remedy)
        place = int(np.searchsorted(running_N, random.random() * running_N[-1], side="right"))
        place = min(place, int(np.flatnonzero(weights_N)[-1]))  # rounding may lead past the last
        drawn.append(features_NC[place].double())
        far_N = torch.cat([(part.double() - drawn[-1]).square().sum(dim=1) for part in features_NC.split(ROWS)])
        weights_N = far_N.numpy() if already == 0 else np.minimum(weights_N, far_N.numpy())
    return torch.stack(drawn)
