"""Which triplets a chunk gives: positives and hard negatives, chosen by the network as it is at the chunk's start.

Descriptors are made of the chunk's candidates alone (partial mining, Berton et al. 2022, section 3.3), by the ranks
together; the first rank chooses, and shares what it chose. A checkpoint holds it: a run that goes on in the midst of a
chunk has the triplets of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vprdist.data.groups import Candidates, TripletSampler
from vprdist.data.places import City, Side
from vprdist.data.query_chunks import Pairs
from vprdist.distributed.ranks import Ranks
from vprdist.errors import CheckpointError
from vprdist.evaluation.descriptors import Descriptors, Rows, Values, describe
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import PlaceNetwork
from vprdist.training.checkpoint import REMEDY


class Miner:
    """Chooses the triplets of chunks, and keeps those of one.

    Args:
        sampler: draws what is chosen from, and is told what was chosen.
        cities: the training cities.

    Attributes:
        chunk: whose triplets are kept; -1: none.
    """

    def __init__(
        self, sampler: TripletSampler, network: PlaceNetwork, reader: PlaceReader, cities: Sequence[City],
        ranks: Ranks, workers: int,
    ) -> None:  # fmt: skip
        self.sampler, self.network, self.reader = sampler, network, reader
        self.cities, self.ranks, self.workers = list(cities), ranks, workers
        self.chunk, self._rows, self._similarity = -1, torch.empty(0), torch.empty(0)

    def mine(self, chunk: int, said: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Choose those of a chunk; the network must be in evaluation mode, and the same on all ranks.

        Args:
            said: told how many pictures this rank has described, and how many are to be.

        Raises:
            TrainingError: a descriptor is not finite.
        """
        found = self.sampler.candidates(chunk)
        wanted = self._wanted(found)
        total, done = sum(len(rows) for _, rows in wanted) // self.ranks.world_size, 0

        def advanced(count: int) -> None:
            nonlocal done
            done += count
            said(done, max(done, total))

        made = describe(self.network, self.reader, wanted, self.ranks, self.workers, advanced=advanced)
        shape = (len(found), 1 + self.sampler.num_negatives)
        rows, similarity = np.empty(shape, np.int64), np.zeros(shape, np.float32)
        if made is not None:
            rows, similarity[:, 0] = self._chosen(found, made)
        device = self.ranks.device
        tensors = [torch.from_numpy(each).to(device) for each in (rows, similarity)]
        self.ranks.share_first(tensors)
        self._take(chunk, found, *(each.cpu() for each in tensors))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"chunk": self.chunk, "rows": self._rows, "similarity": self._similarity}

    def check(self, state: Any, path: Path) -> None:
        """What a checkpoint holds are triplets of this trial.

        Raises:
            CheckpointError: they are not.
        """
        fault = "the checkpoint must hold the triplets that were chosen"
        if not isinstance(state, Mapping) or type(state.get("chunk")) is not int:
            raise CheckpointError(path, fault, None, REMEDY)
        if state["chunk"] < 0:
            return
        found = self.sampler.candidates(state["chunk"])
        shape = (len(found), 1 + self.sampler.num_negatives)
        for name, dtype in (("rows", torch.int64), ("similarity", torch.float32)):
            value = state.get(name)
            if not isinstance(value, Tensor) or value.shape != shape or value.dtype != dtype:
                raise CheckpointError(path, fault, f"no {name} of shape {shape}", REMEDY)
        sizes = np.array([graph.similarity.shape[1] for graph in self.sampler.graphs])[found.city]
        rows = state["rows"].numpy()
        if not ((rows >= 0) & (rows < sizes[:, None])).all():
            raise CheckpointError(path, fault, "rows that the city does not have", REMEDY)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the triplets of a checkpoint, which were checked."""
        if state["chunk"] >= 0:
            found = self.sampler.candidates(state["chunk"])
            self._take(state["chunk"], found, state["rows"].clone(), state["similarity"].clone())

    def _take(self, chunk: int, found: Candidates, rows: Tensor, similarity: Tensor) -> None:
        self.chunk, self._rows, self._similarity = chunk, rows, similarity
        self.sampler.choose(chunk, Pairs(found.city, found.query, rows.numpy(), similarity.numpy()))

    def _wanted(self, found: Candidates) -> list[tuple[Side, Rows]]:
        """The pictures of a chunk's candidates, each once: a city's queries, then its database images."""
        wanted = list[tuple[Side, Rows]]()
        for number, city in enumerate(self.cities):
            mine = found.city == number
            database = np.unique(np.concatenate([found.positives[mine].ravel(), found.pools[number]]))
            database = database[database >= 0] if mine.any() else database[:0]
            wanted += [(city.query, np.unique(found.query[mine])), (city.database, database)]
        return [(side, rows) for side, rows in wanted if len(rows)]

    def _chosen(self, found: Candidates, made: Descriptors) -> tuple[Rows, Values]:
        """(P, 1 + negatives) database rows, and (P,) the similarity of the positive."""
        rows = np.empty((len(found), 1 + self.sampler.num_negatives), np.int64)
        similarity = np.empty(len(found), np.float32)
        for number, city in enumerate(self.cities):
            pool = found.pools[number]
            of_city = np.flatnonzero(found.city == number)
            if not len(of_city):
                continue
            pool_RD = made.values_ND[made.of(city.database, pool)]
            queries_QD = made.values_ND[made.of(city.query, found.query[of_city])]
            near_QR = queries_QD @ pool_RD.T
            similar = self.sampler.graphs[number].similarity_of(found.query[of_city], pool) > 0
            near_QR[similar] = -np.inf
            for at, place in enumerate(of_city):
                hardest = np.argsort(-near_QR[at], kind="stable")[: self.sampler.num_negatives]
                mine = found.positives[place]
                mine = mine[mine >= 0]
                nearest = int(np.argmax(made.values_ND[made.of(city.database, mine)] @ queries_QD[at]))
                rows[place] = [mine[nearest], *pool[hardest]]
                similarity[place] = found.similarity[place, nearest]
        return rows, similarity
