"""The Generalized Contrastive Loss against its formula, one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vprdist.training.losses.gcl import GeneralizedContrastiveLoss


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
    found = GeneralizedContrastiveLoss(margin)(query, partner, similarity)
    expected = [
        by_hand(q, p, s, margin) for q, p, s in zip(query.tolist(), partner.tolist(), similarity.tolist(), strict=True)
    ]
    assert found.shape == (40,)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert (found[similarity == 0] == 0).any() or margin == 1.2, "far negatives cost nothing"


def test_equal_descriptors_have_a_finite_gradient():
    query = torch.ones(3, 4, requires_grad=True)
    GeneralizedContrastiveLoss(0.5)(query, torch.ones(3, 4), torch.tensor([0.0, 0.5, 1.0])).sum().backward()
    assert torch.isfinite(query.grad).all()


def test_binary_labels_are_the_contrastive_loss():
    rng = torch.Generator().manual_seed(1)
    query, partner = torch.rand(10, 4, generator=rng), torch.rand(10, 4, generator=rng)
    same = torch.tensor([0.0, 1.0] * 5)
    d = torch.nn.functional.pairwise_distance(query, partner)
    expected = torch.where(same == 1, d**2 / 2, (0.5 - d).clamp(min=0) ** 2 / 2)
    assert torch.allclose(GeneralizedContrastiveLoss(0.5)(query, partner, same), expected)
