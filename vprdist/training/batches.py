"""The pairs of a step as tensors: what the loop reads from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vprdist.data.places import Side
from vprdist.errors import UserError
from vprdist.network.inputs import Batch, PlaceReader, Reading, stack
from vprdist.spec.augment import AugmentSpec
from vprdist.training.augment import draw
from vprdist.training.steps import RankPart


@dataclass(frozen=True)
class PairBatch:
    """One rank's pairs of a step: P queries, their P K partners, each query's behind each other; the graded similarity,
    float32, as `RankPart` has it; and how they are divided."""

    query: Batch
    partner: Batch
    similarity: Tensor
    part: RankPart

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.query.tensors, *self.partner.tensors, self.similarity]

    def sides(self, which: slice) -> tuple[Batch, Batch]:
        """Some of its queries, and their partners."""
        num = self.part.pairs.num_partners
        return self.query.part(which), self.partner.part(slice(which.start * num, which.stop * num))

    def to(self, device: torch.device) -> PairBatch:
        similarity = self.similarity.to(device, non_blocking=True)
        return replace(self, query=self.query.to(device), partner=self.partner.to(device), similarity=similarity)

    def pin_memory(self) -> PairBatch:
        query, partner = self.query.pin_memory(), self.partner.pin_memory()
        return replace(self, query=query, partner=partner, similarity=self.similarity.pin_memory())


class PairImages(Dataset[PairBatch | UserError]):
    """Reads the pictures of a rank's part of a step; the part itself is the index.

    What a person can mend is handed over instead of raised: torch would wrap it, and its traceback, in another error.
    """

    def __init__(
        self, reader: PlaceReader, cities: Sequence[tuple[Side, Side]], augment: AugmentSpec | None = None
    ) -> None:
        self.reader, self.cities, self.augment = reader, list(cities), augment

    def __getitem__(self, part: RankPart) -> PairBatch | UserError:
        try:
            return self._read(part)
        except UserError as error:
            return error

    def _read(self, part: RankPart) -> PairBatch:
        pairs = part.pairs
        rows = (pairs.query, pairs.database.ravel())
        cities = (pairs.city, np.repeat(pairs.city, pairs.num_partners))
        query, partner = (
            stack(
                [
                    self._picture(part, side, number, c, int(row))
                    for number, (c, row) in enumerate(zip(cities[side], rows[side], strict=True))
                ]
            )
            for side in (0, 1)
        )
        outline = None if part.arm is None else part.arm.placebo == "outline"
        query, partner = replace(query, outline=outline), replace(partner, outline=outline)
        return PairBatch(query, partner, torch.from_numpy(part.similarity.copy()), part)

    def _picture(self, part: RankPart, side: int, number: int, city: int, row: int) -> Reading:
        """A picture of a rank's part of a step, as it is trained on."""
        return self.changed(self.reader.read(self.cities[city][side], row, part.arm), part, side, number)

    def changed(self, reading: Reading, part: RankPart, side: int, number: int) -> Reading:
        """A picture and what the mode adds, augmented as its place in the step says.

        Args:
            side: 0 of the queries, 1 of their partners.
            number: of the picture among those of its side in the rank's part.
        """
        if self.augment is None:
            return reading
        height, width = self.reader.image_size
        query, partner = divmod(number, part.pairs.num_partners if side else 1)
        seed = (self.reader.seed, part.step, side + partner, int(part.places[query]))
        drawn = draw(self.augment, width / height, seed)
        image, extra = reading
        return drawn.picture(image), None if extra is None else drawn.added(extra, self.reader.grid)
