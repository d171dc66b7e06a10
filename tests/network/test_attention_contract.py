"""One contract for every built-in attention (methods.md, A0): it begins as nothing, it matters, it sees everything."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from tests.network.contract import (
    CASES,
    IDENTITY,
    Case,
    cancels,
    features,
    frozen,
    identity,
    influence,
    moved,
    shape,
    slow,
)
from vprdist.spec.doors import AggregatorName

WORKING = [case for case in CASES if not cancels(case)]
PLAIN = [case for case in CASES if not case.parameters]
CANCELLING = [case for case in CASES if cancels(case)]
POOLS = [AggregatorName.of("gem"), AggregatorName.of("gem+linear", length="places")]
POOLS += [pool for pool in map(AggregatorName.of, AggregatorName.door.built_in) if pool.normalises]
ids = pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
working = pytest.mark.parametrize("case", WORKING, ids=lambda case: case.title)


@pytest.mark.parametrize("case", IDENTITY, ids=lambda case: case.title)
def test_identity_pretrained_weights_are_kept(case: Case) -> None:
    assert identity(case) <= 1e-6


@working
def test_influence_another_attention_is_another_descriptor(case: Case) -> None:
    found = influence(case)
    assert found.moved > 1e-3 and found.share >= 1e-3, found


@pytest.mark.skipif(not CANCELLING, reason="no word has an order that cancels")
@pytest.mark.parametrize("case", CANCELLING, ids=lambda case: case.title)
def test_influence_the_order_as_published_divides_attention_out_again(case: Case) -> None:
    found = influence(case)
    assert found.moved < 1e-5 and found.share < 1e-3, found


@pytest.mark.parametrize("at", ["layer3", "layer4"])
@pytest.mark.parametrize("aggregator", POOLS, ids=lambda pool: pool.title)
@pytest.mark.parametrize("case", [*PLAIN, *CANCELLING], ids=lambda case: case.title)
def test_what_goes_with_the_features_length_is_said(case: Case, aggregator: AggregatorName, at: str) -> None:
    """And nothing else is: under every aggregator that divides features by their length, behind each unit."""
    found = moved(case.network(at, aggregator=aggregator))
    if case.spec(at, aggregator=aggregator).divides_out:
        assert found < 1e-5
    else:
        assert found > 1e-3


@ids
def test_shape_every_column_counts_in_what_is_pooled(case: Case) -> None:
    change = shape(case)
    assert change is None or change > 0


@ids
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 2), (7, 7)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_of_every_size_and_layout_and_precision(case: Case, size: tuple[int, int], layout: torch.memory_format):
    module, given = case.module().eval().to(memory_format=layout), features(size)
    plain = module(given)
    assert plain.shape == given.shape and torch.isfinite(plain).all()
    assert torch.allclose(module(given.contiguous(memory_format=layout)), plain, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = module(given.bfloat16())
    assert torch.allclose(half.float(), plain, atol=0.05 * float(plain.detach().abs().max()))


@ids
def test_slow_it_is_what_a_loop_over_places_says(case: Case) -> None:
    single, double = slow(case)
    assert single < 1e-5 and double < 1e-9


@working
@pytest.mark.parametrize("mode", ["frozen", "sync"])
def test_frozen_units_stay_and_attention_trains(case: Case, mode: Literal["frozen", "sync"]) -> None:
    found = frozen(case, mode)
    assert found.trained == 1.0 and not found.frozen, found


@ids
def test_it_compiles_in_one_piece(case: Case) -> None:
    module, given = case.module().eval(), features((7, 9))
    whole = torch.compile(module, backend="eager", fullgraph=True)
    assert torch.allclose(whole(given), module(given), atol=1e-6)
