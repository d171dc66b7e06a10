"""The second stage: what the first retrieved is described by local features, scored by all ranks, and ordered anew.

Local features of a whole gallery fill no memory: they are made of blocks of queries, kept in float16 while their block
is scored, and made again where a later block asks for the same pictures. Blocks follow from what was retrieved alone,
so that batches, and with them the numbers, are those of a single rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import ConcatDataset

from vprdist.distributed.ranks import Ranks
from vprdist.errors import UserError
from vprdist.evaluation.descriptors import BATCH_IMAGES, Descriptors, Rows, Wanted
from vprdist.evaluation.ranking import DEPTH, Ranking
from vprdist.evaluation.rerank.base import LocalFeatures, features_of, scored
from vprdist.network.arriving import arriving
from vprdist.network.folded import folded
from vprdist.network.inputs import PlaceReader, Reading, SideImages, stack_or_error
from vprdist.network.model import PlaceNetwork
from vprdist.spec.doors import RerankName

BLOCK_BYTES = 2**30
"""Memory for the local features of a block's pictures; a single query with its images may need more."""
BLOCK_QUERIES = 64
Scores = npt.NDArray[np.float64]
Images = ConcatDataset[Reading | UserError]


@dataclass(frozen=True)
class Pairs:
    """Which images are scored for which query; both are places of `Descriptors`.

    queries_Q: each once, in their order; images_M: those of the first query in ascending order, then the second's, …;
    begins: where those of each query begin, and the end.
    """

    queries_Q: Rows
    images_M: Rows
    begins: Rows

    def images(self, number: int) -> Rows:
        """Those of a query, by its number among them."""
        return self.images_M[self.begins[number] : self.begins[number + 1]]

    @staticmethod
    def of(queries_Q: Rows, images: Sequence[Rows]) -> Pairs:
        begins = np.cumsum([0, *map(len, images)], dtype=np.int64)
        return Pairs(queries_Q, np.concatenate([np.empty(0, np.int64), *images]), begins)


@dataclass(frozen=True)
class SecondStage:
    """What it takes: the same on every rank.

    network: in evaluation mode. wanted: what was described: a place of `Descriptors` is one of its pictures.
    """

    network: PlaceNetwork
    reader: PlaceReader
    wanted: Wanted
    named: RerankName
    ranks: Ranks
    workers: int = 0
    block_bytes: int = BLOCK_BYTES

    @property
    def top(self) -> int:
        """How many images are ordered anew."""
        top = self.named.top
        assert top is not None, "there is a second stage"
        return top

    def reorder(
        self, rankings: Sequence[Ranking], descriptors: Descriptors | None,
        advanced: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Ranking]:  # fmt: skip
        """Rankings with their first `top` images in the second stage's order, cut to 20; all ranks call it.

        Args:
            rankings, descriptors: of the first stage, `top` images deep where there are so many. On rank 0; the others
                have none, and get none.
            advanced: told how many blocks of queries are done, and of how many, on every rank at the same time.

        Raises:
            UserError: a picture that cannot be read; what `scored` raises.
        """
        pairs = _shared(None if descriptors is None else pairs_of(rankings, descriptors, self.top), self.ranks)
        scores_M = self.scores(pairs, advanced)
        if descriptors is None or scores_M is None:
            return []
        return [_ordered(ranking, descriptors, pairs, scores_M, self.top) for ranking in rankings]

    @torch.inference_mode()
    def scores(self, pairs: Pairs, advanced: Callable[[int, int], None] = lambda done, total: None) -> Scores | None:
        """(M,) the score of each pair on rank 0, None elsewhere; ranks take whole blocks of queries in turn."""
        ranks = self.ranks
        network = folded(self.network) if ranks.device.type == "cpu" else self.network
        images: Images = ConcatDataset([SideImages(self.reader, side, rows.tolist()) for side, rows in self.wanted])
        scores_M = torch.zeros(len(pairs.images_M), dtype=torch.float64)
        blocks = _blocks(pairs, self.block_bytes // _picture_bytes(network, images, ranks))
        places = [_places(pairs, block) for block in blocks[ranks.rank :: ranks.world_size]]
        batches = [some[n : n + BATCH_IMAGES].tolist() for some in places for n in range(0, len(some), BATCH_IMAGES)]
        described = arriving(images, self.workers, ranks.device, collate=stack_or_error, batch_sampler=batches)
        reranker = self.named.make()
        for turn in range(0, len(blocks), ranks.world_size):
            if turn + ranks.rank < len(blocks):
                here, features = places[turn // ranks.world_size], list[LocalFeatures]()
                while len(features) < len(here):
                    features += features_of(network, next(described))
                for number in blocks[turn + ranks.rank]:
                    asked = features[int(np.searchsorted(here, pairs.queries_Q[number]))]
                    others = [features[n] for n in np.searchsorted(here, pairs.images(number)).tolist()]
                    if others:
                        part = slice(int(pairs.begins[number]), int(pairs.begins[number + 1]))
                        scores_M[part] = scored(reranker, self.named, asked, others)
            advanced(min(len(blocks), turn + ranks.world_size), len(blocks))
        parts = ranks.gather_first(scores_M)
        return None if parts is None else torch.stack(parts).sum(dim=0).numpy()


def _queries(ranking: Ranking, descriptors: Descriptors) -> Iterator[tuple[int, int, int, Rows]]:
    """(task, index, query, images) of each query, the last two as places."""
    galleries = [descriptors.of(task.city.database, task.gallery) for task in ranking.tasks]
    places = np.concatenate([np.empty(0, np.int64), *galleries])
    for number, task in enumerate(ranking.tasks):
        for index, query in enumerate(descriptors.of(task.city.query, task.queries).tolist()):
            yield number, index, query, places[ranking.retrieved[number][index]]


def pairs_of(rankings: Sequence[Ranking], descriptors: Descriptors, top: int) -> Pairs:
    """Every query of every ranking with the images that any of them retrieved for it: a pair is scored once."""
    asked: dict[int, list[Rows]] = {}
    for ranking in rankings:
        for _, _, query, images in _queries(ranking, descriptors):
            asked.setdefault(query, []).append(images[:top])
    queries = np.array(sorted(asked), np.int64)
    return Pairs.of(queries, [np.unique(np.concatenate(asked[query])) for query in queries.tolist()])


def _shared(pairs: Pairs | None, ranks: Ranks) -> Pairs:
    """Rank 0's pairs, on every rank."""
    arrays = [] if pairs is None else [pairs.queries_Q, pairs.images_M, pairs.begins]
    sizes = torch.tensor([len(array) for array in arrays] or [0, 0, 0])
    ranks.share_first([sizes])
    tensors = [torch.from_numpy(array) for array in arrays] or [torch.zeros(n, dtype=torch.int64) for n in sizes]
    ranks.share_first(tensors)
    return Pairs(*(tensor.numpy() for tensor in tensors))


def _ordered(ranking: Ranking, descriptors: Descriptors, pairs: Pairs, scores_M: Scores, top: int) -> Ranking:
    retrieved: list[list[Rows]] = [[] for _ in ranking.tasks]
    for number, index, query, images in _queries(ranking, descriptors):
        which = int(np.searchsorted(pairs.queries_Q, query))
        at = pairs.begins[which] + np.searchsorted(pairs.images(which), images[:top])
        order = np.argsort(-scores_M[at], kind="stable")
        rows = ranking.retrieved[number][index]
        retrieved[number].append(np.concatenate([rows[:top][order], rows[top:]])[:DEPTH])
    return replace(ranking, retrieved=retrieved)


def cut(ranking: Ranking) -> Ranking:
    """The first stage's first 20."""
    return replace(ranking, retrieved=[[rows[:DEPTH] for rows in task] for task in ranking.retrieved])


def _picture_bytes(network: PlaceNetwork, images: Images, ranks: Ranks) -> int:
    """What the local features of a picture take: one is asked."""
    if not len(images):
        return 1
    batch = stack_or_error([images[0]])
    if isinstance(batch, UserError):
        raise batch
    (found,) = features_of(network, batch.to(ranks.device))
    return max(1, 2 * found.features_NC.shape[1] * found.size[0] * found.size[1])


def _blocks(pairs: Pairs, most: int) -> list[range]:
    """Queries, one after the other, whose pictures are at most so many, and at least one query."""
    blocks, begin, held = list[range](), 0, set[int]()
    for number, query in enumerate(pairs.queries_Q.tolist()):
        needed = {query, *pairs.images(number).tolist()}
        if number > begin and (len(held | needed) > most or number - begin == BLOCK_QUERIES):
            blocks.append(range(begin, number))
            begin, held = number, set()
        held |= needed
    return [*blocks, range(begin, len(pairs.queries_Q))] if len(pairs.queries_Q) else blocks


def _places(pairs: Pairs, block: range) -> Rows:
    """The pictures of a block, each once, in ascending order."""
    return np.unique(np.concatenate([pairs.queries_Q[block.start : block.stop], *map(pairs.images, block)]))
