"""k-means: recomputed feature by feature, whatever the blocks, and refused where there are too few features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vprdist.errors import TrainingError
from vprdist.network import clusters
from vprdist.network.clusters import MOST_TURNS, centres_of


def drawn(count: int, channels: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(seed))


def slowly(features: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, int]:
    """k-means++ and Lloyd in float64 loops; and how often the centres were renewed."""
    random, chosen = np.random.default_rng(seed), list[int]()
    for _ in range(count):
        weights = [min((float(((x - features[c]) ** 2).sum()) for c in chosen), default=1.0) for x in features]
        asked = random.random() * sum(weights)
        chosen.append(next(place for place in range(len(weights)) if sum(weights[: place + 1]) > asked))
    centres, before, turns = features[chosen].copy(), None, 0
    while True:
        nearest = [int(np.argmin([((x - centre) ** 2).sum() for centre in centres])) for x in features]
        if nearest == before:
            return centres, turns
        before, turns = nearest, turns + 1
        for k in range(count):
            mine = [x for x, to in zip(features, nearest, strict=True) if to == k]
            centres[k] = sum(mine) / len(mine) if mine else centres[k]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_centres_are_those_of_the_slow_way(count):
    features, told = drawn(90), list[int]()
    found = centres_of(features, count, seed=3, advanced=lambda done, total: told.append(done))
    expected, turns = slowly(features.double().numpy(), count, seed=3)
    assert np.allclose(found.numpy(), expected, atol=1e-12)
    assert told == list(range(1, turns + 1)) and turns < MOST_TURNS
    assert count == 1 or not torch.equal(found, centres_of(features, count, seed=4)), "the seed draws where they start"


def test_the_size_of_blocks_changes_nothing(monkeypatch):
    features = drawn(200)
    whole = centres_of(features, 6, seed=0)
    monkeypatch.setattr(clusters, "ROWS", 7)
    assert torch.allclose(centres_of(features, 6, seed=0), whole, atol=1e-14)


def test_a_centre_without_features_stays_where_it_is():
    features, before = drawn(5), torch.cat([drawn(2, seed=1).double(), torch.full((1, 5), 99.0, dtype=torch.float64)])
    found = clusters._means(features, clusters.nearest(features, before), before)
    assert torch.equal(found[2], before[2]) and torch.isfinite(found).all()


def test_more_clusters_than_different_features_are_refused():
    features = drawn(3).repeat(10, 1)
    assert centres_of(features, 3, seed=0).unique(dim=0).shape == (3, 5)
    with pytest.raises(TrainingError, match=r"as many different features .* as clusters, 4; found 3\. Lower trial"):
        centres_of(features, 4, seed=0)
    with pytest.raises(TrainingError, match="found 0"):
        centres_of(torch.empty(0, 5), 2, seed=0)
