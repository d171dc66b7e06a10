"""The pairs of a step as tensors: what the loop reads from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vprdist.data.msls import Side
from vprdist.data.pairs import Pairs
from vprdist.network.inputs import Batch, PlaceReader, stack


@dataclass(frozen=True)
class PairBatch:
    """B pairs: queries, partners, and their graded similarity (B,) float32."""

    query: Batch
    partner: Batch
    similarity: Tensor

    def to(self, device: torch.device) -> PairBatch:
        return PairBatch(self.query.to(device), self.partner.to(device), self.similarity.to(device))

    def part(self, which: slice) -> PairBatch:
        return PairBatch(self.query.part(which), self.partner.part(which), self.similarity[which])


class StepPairs(Dataset[PairBatch]):
    """The pairs of the steps to come, one item a step; a rank reads its share only.

    Args:
        pairs: all pairs of these steps, `batch_pairs` a step.
        share: which of a step's pairs this rank reads.
    """

    def __init__(
        self,
        reader: PlaceReader,
        cities: Sequence[tuple[Side, Side]],
        pairs: Pairs,
        batch_pairs: int,
        share: slice,
    ) -> None:
        self.reader, self.cities, self.pairs = reader, list(cities), pairs
        self.batch_pairs, self.share = batch_pairs, share

    def __len__(self) -> int:
        return len(self.pairs) // self.batch_pairs

    def __getitem__(self, step: int) -> PairBatch:
        part = self.pairs.part(slice(step * self.batch_pairs, (step + 1) * self.batch_pairs)).part(self.share)
        query = [self.reader.read(self.cities[c][0], int(row)) for c, row in zip(part.city, part.query, strict=True)]
        partner = [
            self.reader.read(self.cities[c][1], int(row)) for c, row in zip(part.city, part.database, strict=True)
        ]
        return PairBatch(stack(query), stack(partner), torch.from_numpy(part.similarity.copy()))
