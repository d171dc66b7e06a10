"""What a trial's batches are drawn by."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.data.graph import CityGraph
from vprdist.data.groups import PlaceSampler, TripletSampler
from vprdist.data.pairs import PairSampler
from vprdist.spec.train import TrainSpec


def sampler_of(spec: TrainSpec, graphs: Sequence[CityGraph], seed: int) -> PairSampler | PlaceSampler | TripletSampler:
    """The sampler of `train.batches`.

    Raises:
        TrainingError: no query of any training city has the partners that it draws.
    """
    if spec.batches == "places":
        return PlaceSampler(graphs, seed, spec.chunk_queries, spec.place_pictures, spec.chunked)
    if spec.batches == "triplets":
        sizes = (spec.mining.negatives, spec.mining.pool, spec.mining.positives)
        return TripletSampler(graphs, seed, spec.chunk_queries, sizes, spec.chunked)
    return PairSampler(graphs, seed, spec.chunk_queries, spec.draws, spec.chunked)
