"""Which pairs a step trains on, and which of them a rank takes: from the step's number alone.

Neither the number of ranks nor that of data loader workers changes what a step is made of.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from vprdist.data.graph import CityGraph, Ints
from vprdist.data.pairs import ChunkRow, Chunks, PairStream
from vprdist.data.query_chunks import Pairs
from vprdist.distributed.ranks import Ranks
from vprdist.errors import TrainingError
from vprdist.spec.arms import Arm
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import TrialSpec
from vprdist.training.arms import arm_of_step

Floats = npt.NDArray[np.float32]


class Steps:
    """The steps of a trial.

    Chunks follow each other without a gap, and every step has `batch_pairs` pairs. `chunked` (the reference) training
    begins a step anew with each chunk, so that a chunk's last step may be short; what does not fill a micro-batch is
    left out.
    """

    def __init__(self, sampler: Chunks, spec: TrainSpec) -> None:
        self.spec = spec
        self._stream = PairStream(sampler)
        self._row = ChunkRow(sampler, lambda pairs: -(-self._usable(pairs) // spec.batch_pairs))
        ends = spec.chunked and spec.chunks
        self.count = min(spec.steps, self._row.length(ends)) if ends else spec.steps
        if spec.steps and not self.count:
            fault = "the chunks together must hold a micro-batch of pairs"
            raise TrainingError("trial.train.chunks", fault, spec.chunks, "Draw more queries: train.chunk_queries.")

    def pairs(self, step: int) -> Pairs:
        """The pairs of a step, of all ranks.

        Raises:
            TrainingError: whole chunks find no partner.
        """
        size = self.spec.batch_pairs
        if not self.spec.chunked:
            return self._stream.take(step * size, size)
        index, place = self._row.locate(step)
        chunk = self._row.chunk(index)
        return chunk.part(slice(place * size, min((place + 1) * size, self._usable(chunk))))

    def chunk(self, step: int) -> int:
        """The chunk that a step of `chunked` training is of; 0 in any other."""
        return self._row.locate(step)[0] if self.spec.chunked else 0

    def rest_of_chunk(self, step: int) -> range:
        """The steps from one on that are of the same chunk of `chunked` training."""
        index, _ = self._row.locate(step)
        return range(step, min(self._row.length(index + 1), self.count))

    def renew(self) -> None:
        """Ask the sampler again for the chunk that was asked for last: what it holds was chosen meanwhile."""
        self._row.forget()

    def _usable(self, pairs: Pairs) -> int:
        return len(pairs) // self.spec.micro_pairs * self.spec.micro_pairs


@dataclass(frozen=True)
class RankPart:
    """What one rank does in one step.

    Attributes:
        pairs: the pairs that it reads.
        micro: its micro-batches, as slices of them.
        similarity: of its pairs, (P,) or (P, K); or, where all pairs count, of the step's queries with its partners,
            (N, N K).
        total: how many pairs the step has on all ranks.
        counts: how many of them each rank has. A short step may leave this rank none; it then reads one micro-batch
            that counts for nothing, since all ranks must meet.
        places: where in the step its pairs stand, (P,).
        step: its number.
        arm: through which the step shows its pictures; None: through the trial's own mask, if any.
    """

    pairs: Pairs
    micro: tuple[slice, ...]
    similarity: Floats
    total: int
    counts: tuple[int, ...]
    places: Ints
    step: int = 0
    arm: Arm | None = None


def rank_part(pairs: Pairs, spec: TrainSpec, rank: int, world_size: int, graphs: Sequence[CityGraph]) -> RankPart:
    """One rank's part of a step's pairs.

    `batch_norm: reference` deals out whole micro-batches, whose images set the statistics; `sync` divides each
    micro-batch; `frozen` does not care, and ranks take what is one piece of the batch.
    """
    total, size = len(pairs), spec.micro_pairs
    if spec.batch_norm == "reference":
        bounds = [size * begin for begin in _bounds(total // size, world_size)]
    else:
        bounds = _bounds(total, world_size)
    counts = [end - begin for begin, end in itertools.pairwise(bounds)]
    mine = np.arange(bounds[rank], bounds[rank + 1])
    if spec.batch_norm == "sync":
        size //= world_size
        mine = np.arange(total).reshape(-1, world_size, size)[:, rank].ravel()
    if not len(mine):
        mine = np.arange(min(size, total))
    similarity = similarity_of_all(pairs, graphs) if spec.counts_all_pairs else pairs.similarity[mine]
    micro = tuple(slice(begin, begin + size) for begin in range(0, len(mine), size))
    return RankPart(pairs.part(mine), micro, similarity, total, tuple(counts), mine)


def _bounds(count: int, world_size: int) -> list[int]:
    """Where the ranks' shares of `count` items begin and end; the first rank is never without one."""
    return [-(-count * rank // world_size) for rank in range(world_size + 1)]


def similarity_of_all(pairs: Pairs, graphs: Sequence[CityGraph]) -> Floats:
    """(N, N K): of every query with every partner, each query's K behind each other; 0 between cities."""
    partners, cities = pairs.database.ravel(), np.repeat(pairs.city, pairs.num_partners)
    out = np.zeros((len(pairs), len(partners)), np.float32)
    for city in np.unique(pairs.city):
        queries, theirs = np.flatnonzero(pairs.city == city), np.flatnonzero(cities == city)
        out[np.ix_(queries, theirs)] = graphs[city].similarity_of(pairs.query[queries], partners[theirs])
    return out


class RankParts(Sampler[RankPart]):
    """The parts of one rank of a trial in some steps: what the data loader is to read."""

    def __init__(
        self, trial: TrialSpec, steps: Steps, wanted: range, ranks: Ranks, graphs: Sequence[CityGraph]
    ) -> None:  # fmt: skip
        self.trial, self.steps, self.wanted, self.ranks, self.graphs = trial, steps, wanted, ranks, graphs

    def __len__(self) -> int:
        return len(self.wanted)

    def __iter__(self) -> Iterator[RankPart]:
        for step in self.wanted:
            ranks, spec = self.ranks, self.steps.spec
            part = rank_part(self.steps.pairs(step), spec, ranks.rank, ranks.world_size, self.graphs)
            yield replace(part, step=step, arm=arm_of_step(self.trial, step))
