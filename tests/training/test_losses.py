"""The Generalized Contrastive Loss against its formula, one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vprdist.training.losses.contrastive import ContrastiveLoss
from vprdist.training.losses.distance import all_distances, pair_distance
from vprdist.training.losses.gcl import GeneralizedContrastiveLoss
from vprdist.training.objective import drawn_pairs, every_pair


def gcl(margin, query, partner, similarity):
    return GeneralizedContrastiveLoss(margin)(pair_distance(query, partner), similarity)


def by_hand(query, partner, s, margin):
    # The reference's distance adds 1e-6 to every difference.
    d = math.sqrt(sum((a - b + 1e-6) ** 2 for a, b in zip(query, partner, strict=True)))
    return s * 0.5 * d**2 + (1 - s) * 0.5 * max(0.0, margin - d) ** 2


@pytest.mark.parametrize("margin", [0.5, 1.2])
def test_equal_to_the_formula(margin):
    rng = np.random.default_rng(0)
    # Lengths of 0.05 to 1: distances below and above the margin.
    query, partner = (torch.from_numpy(rng.normal(size=(40, 8)) * rng.uniform(0.05, 0.4, (40, 1))) for _ in range(2))
    similarity = torch.from_numpy(np.concatenate([[0, 0, 1, 1, 0.5], rng.uniform(0, 1, 35)]))
    found = gcl(margin, query, partner, similarity)
    expected = [
        by_hand(q, p, s, margin) for q, p, s in zip(query.tolist(), partner.tolist(), similarity.tolist(), strict=True)
    ]
    assert found.shape == (40,)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert (found[similarity == 0] == 0).any() or margin == 1.2, "far negatives cost nothing"


def test_equal_descriptors_have_a_finite_gradient():
    query = torch.ones(3, 4, requires_grad=True)
    gcl(0.5, query, torch.ones(3, 4), torch.tensor([0.0, 0.5, 1.0])).sum().backward()
    assert torch.isfinite(query.grad).all()


def test_binary_labels_are_the_contrastive_loss():
    rng = torch.Generator().manual_seed(1)
    query, partner = torch.rand(10, 4, generator=rng), torch.rand(10, 4, generator=rng)
    same = torch.tensor([0.0, 1.0] * 5)
    d = torch.nn.functional.pairwise_distance(query, partner)
    expected = torch.where(same == 1, d**2 / 2, (0.5 - d).clamp(min=0) ** 2 / 2)
    assert torch.allclose(gcl(0.5, query, partner, same), expected)


def test_contrastive_asks_only_whether_a_pair_overlaps_by_half():
    distance = torch.tensor([0.2, 0.2, 0.2, 0.7, 0.0])
    similarity = torch.tensor([0.5, 0.499, 1.0, 0.0, 0.0])
    found = ContrastiveLoss(0.5)(distance, similarity)
    assert torch.allclose(found, torch.tensor([0.02, 0.045, 0.02, 0.0, 0.125]))


def test_drawn_pairs_are_summed_and_null_ones_counted():
    query, partner = torch.eye(4)[:, :3], torch.eye(4)[:, :3]
    similarity = torch.tensor([1.0, 0.0, 0.5, 0.0])
    total, nulls = drawn_pairs(query, 3 * partner, similarity, GeneralizedContrastiveLoss(0.5))
    rows = zip(query.tolist(), (3 * partner).tolist(), similarity.tolist(), strict=True)
    one_by_one = [by_hand(q, p, s, 0.5) for q, p, s in rows]
    assert total.item() == pytest.approx(sum(one_by_one), abs=1e-5)
    assert nulls.item() == sum(loss == 0 for loss in one_by_one) == 1


@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_every_pair_counts_pulls_and_the_pushes_that_are_not_null(density):
    rng = torch.Generator().manual_seed(3)
    # Lengths around the margin: some pairs that do not overlap are far enough apart, some are not.
    query, partner = (0.3 * torch.randn(7, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    similarity = torch.rand(7, 7, generator=rng) * (torch.rand(7, 7, generator=rng) < density)
    found, null = every_pair(query, partner, similarity, GeneralizedContrastiveLoss(0.5))
    pulls, pushes, nulls = [], [], 0
    for i in range(7):
        for j in range(7):
            s, d = similarity[i, j].item(), math.dist(query[i].tolist(), partner[j].tolist())
            loss = s * 0.5 * d**2 + (1 - s) * 0.5 * max(0.0, 0.5 - d) ** 2
            nulls += loss == 0
            if s > 0:
                pulls.append(loss)
            elif loss > 0:
                pushes.append(loss)
    expected = sum(sum(each) / len(each) for each in (pulls, pushes) if each)
    assert found.item() == pytest.approx(expected)
    assert null.item() == pytest.approx(nulls / 49)


def test_equal_descriptors_among_all_pairs_have_a_finite_gradient():
    query = torch.ones(3, 4, requires_grad=True)
    loss, _ = every_pair(query, torch.ones(3, 4), torch.eye(3), GeneralizedContrastiveLoss(0.5))
    loss.backward()
    assert torch.isfinite(query.grad).all()
    assert torch.equal(torch.cdist(query, query), torch.zeros(3, 3)) and all_distances(query, query).max() == 0
