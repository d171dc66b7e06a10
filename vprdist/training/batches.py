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
from vprdist.network.batch import Batch
from vprdist.network.inputs import PlaceReader, Reading, stack
from vprdist.spec.augment import AugmentSpec
from vprdist.training.augment import Drawn, draw
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
            self._batch(
                part, side, [(self.cities[c][side], int(row)) for c, row in zip(cities[side], rows[side], strict=True)]
            )
            for side in (0, 1)
        )
        return PairBatch(query, partner, torch.from_numpy(part.similarity.copy()), part)

    def _batch(self, part: RankPart, side: int, pictures: Sequence[tuple[Side, int]]) -> Batch:
        """The pictures of a side of a rank's part of a step, as they are trained on."""
        readings, beside = list[Reading](), list[Tensor]()
        for number, (place, row) in enumerate(pictures):
            readings.append(self.changed(self.reader.read(place, row, part.arm), part, side, number))
            if (activations := self.reader.teaching(place, row)) is not None:
                drawn = self._drawn(part, side, number)
                beside.append(activations if drawn is None else drawn.added(activations, self.reader.grid))
        outline = None if part.arm is None else part.arm.placebo == "outline"
        return replace(stack(readings), outline=outline, activations=torch.stack(beside) if beside else None)

    def changed(self, reading: Reading, part: RankPart, side: int, number: int) -> Reading:
        """A picture and what the mode adds, augmented as its place in the step says.

        Args:
            side: 0 of the queries, 1 of their partners.
            number: of the picture among those of its side in the rank's part.
        """
        if (drawn := self._drawn(part, side, number)) is None:
            return reading
        image, extra = reading
        return drawn.picture(image), None if extra is None else drawn.added(extra, self.reader.grid)

    def _drawn(self, part: RankPart, side: int, number: int) -> Drawn | None:
        """What happens to a picture; the same whenever it is asked."""
        if self.augment is None:
            return None
        height, width = self.reader.image_size
        query, partner = divmod(number, part.pairs.num_partners if side else 1)
        seed = (self.reader.seed, part.step, side + partner, int(part.places[query]))
        return draw(self.augment, width / height, seed)
