"""Sums over the classes of pictures: what the descriptors under all masks of one network follow from.

Where masks weigh the pooling, and what is pooled is a sum over places, the sums of a subset's mask are those of its
classes' maps. So pictures pass the network once. The sums of every class of the cache are kept in the trial's folder,
in blocks of pictures, each a file that appears whole (`vprdist.arrow`), made by whoever is free.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from vprdist.arrow import Rows, map_rows, write_rows
from vprdist.data.places import Side
from vprdist.errors import TrainingError, UserError
from vprdist.evaluation.descriptors import BATCH_IMAGES, NOT_FINITE, Wanted
from vprdist.files import digest_json, locked, write_json
from vprdist.network.arriving import Answers, arriving
from vprdist.network.batch import Batch
from vprdist.network.folded import folded
from vprdist.network.inputs import PlaceReader, Reading, SideImages, stack_or_error
from vprdist.network.model import PlaceNetwork
from vprdist.prepare.sums_room import no_room
from vprdist.probes.order import BLOCK_PICTURES, PartReport
from vprdist.spec.vocabulary import Placebo

FORMAT = "vprdist-sums 1"
BLOCK_BYTES = 2**28
"""Memory for one kind of a block, which has `BLOCK_PICTURES` at most."""
SOURCES: Mapping[Placebo, Placebo] = {"none": "none", "classes": "none", "image": "image", "random": "random"}
"""By what is shown in a mask's place, whose maps it is a sum of. An outline is no sum."""
OTHERS_S = 1.0
"""Seconds before another look, while others make the last blocks."""


@dataclass(frozen=True)
class Sums:
    """The sums of some pictures of one network.

    Attributes:
        folder: where the blocks lie.
        wanted: the pictures, each side once.
        classes: of the maps.
        width: numbers of a map's sums.
        kinds: whose maps, in the order of `SOURCES`.
    """

    folder: Path
    wanted: Wanted
    classes: tuple[str, ...]
    width: int
    kinds: tuple[Placebo, ...]

    @property
    def num_pictures(self) -> int:
        return sum(len(rows) for _, rows in self.wanted)

    @property
    def blocks(self) -> list[range]:
        """Places of the pictures of each block."""
        most = BLOCK_BYTES // (4 * len(self.classes) * self.width)
        step = max(1, min(BLOCK_PICTURES, most))
        count = self.num_pictures
        return [range(begin, min(begin + step, count)) for begin in range(0, count, step)]

    def path(self, block: range, kind: Placebo) -> Path:
        """The file of a block's sums of one kind."""
        return self.folder / f"{digest_json(self._facts(block, kind), 12)}.arrow"

    def missing(self, block: range) -> tuple[Placebo, ...]:
        """Kinds of a block that nobody has made yet."""
        return tuple(kind for kind in self.kinds if not self.path(block, kind).exists())

    def check_room(self) -> None:
        """Raises:
        UserError: what is missing does not fit the disk.
        """
        a_picture = 4 * len(self.classes) * self.width
        need = sum(len(block) * len(self.missing(block)) * a_picture for block in self.blocks)
        self.folder.mkdir(parents=True, exist_ok=True)
        if need > (free := shutil.disk_usage(self.folder).free):
            raise no_room(self.folder, need, free)

    def write(self, block: range, kind: Placebo, values_KNM: np.ndarray) -> None:
        """Publish one kind of a block."""
        facts = {"vprdist.format": FORMAT, "vprdist.kind": kind}
        write_rows(self.path(block, kind), self.classes, block.start, values_KNM, facts)

    def rows(self, kind: Placebo) -> Iterator[Rows]:
        """The blocks of one kind, in order, mapped.

        Raises:
            UserError: one cannot be read.
        """
        for block in self.blocks:
            path = self.path(block, kind)
            try:
                found = map_rows(path)
                fits = (found.names, found.first) == (self.classes, block.start)
                if not fits or found.values_KNM.shape[1:] != (len(block), self.width):
                    raise ValueError(f"sums of {len(found.names)} classes of {found.values_KNM.shape[1]} pictures")
            except (OSError, ValueError) as error:
                remedy = f"Delete it and run the sweep again: {path}."
                raise UserError(path, "a block of sums must be readable", str(error), remedy) from None
            yield found

    def _facts(self, block: range, kind: Placebo) -> dict[str, object]:
        """What decides what a file holds, beside the trial whose folder it lies in."""
        pictures = [f"{side.city}/{side.side}/{side.keys[row]}" for side, row in self._pictures(block)]
        return {"format": FORMAT, "kind": kind, "width": self.width, "classes": self.classes, "pictures": pictures}

    def _pictures(self, block: range) -> Iterator[tuple[Side, int]]:
        begin = 0
        for side, rows in self.wanted:
            for row in rows[max(0, block.start - begin) : max(0, block.stop - begin)]:
                yield side, int(row)
            begin += len(rows)


def make_sums(
    sums: Sums, network: PlaceNetwork, reader: PlaceReader, workers: int, *, turn: int, device: str,
    check: Callable[[], None],
) -> None:  # fmt: skip
    """Make the blocks that are missing and that nobody else is making; returns when all are there.

    Args:
        network: in evaluation mode, on its device.
        turn: where this process begins, so that processes seldom meet.
        device: its name, for the reports.
        check: called before each block: raises where the cache is not the trial's any more.

    Raises:
        TrainingError: a sum is not finite.
        UserError: what `check` raises; pictures or maps that cannot be read.
    """
    blocks = sums.blocks
    while left := [block for block in blocks[turn:] + blocks[:turn] if sums.missing(block)]:
        made = False
        for block in left:
            lock = sums.path(block, sums.kinds[0]).with_suffix(".lock")
            lock = lock.with_name(f".{lock.name}")
            with locked(lock, blocking=False) as mine:
                if not mine or not (kinds := sums.missing(block)):
                    continue
                check()
                _make(sums, block, kinds, network, reader, workers, device)
                made = True
            lock.unlink(missing_ok=True)
        if not made:
            time.sleep(OTHERS_S)


class _Found(Answers[list[int]]):
    """Puts the sums of a batch, (B, kinds K, M), among those of its block, (kinds, K, pictures, M)."""

    def __init__(self, device: torch.device, found: npt.NDArray[np.float32], first: int) -> None:
        super().__init__(device)
        self.found, self.first = found, first

    def take(self, place: list[int], rows_ND: Tensor) -> None:
        kinds, classes, _, width = self.found.shape
        at = place[0] - self.first
        sums = rows_ND.reshape(len(place), kinds, classes, width).permute(1, 2, 0, 3)
        self.found[:, :, at : at + len(place)] = sums.numpy()


@torch.inference_mode()
def _make(
    sums: Sums, block: range, kinds: Sequence[Placebo], network: PlaceNetwork, reader: PlaceReader, workers: int,
    device: str,
) -> None:  # fmt: skip
    """One pass of a block's pictures, for some kinds."""
    begin = time.perf_counter()
    on = next(network.parameters()).device
    described_by = folded(network) if on.type == "cpu" else network
    images: ConcatDataset[Reading | UserError] = ConcatDataset(
        [SideImages(reader, side, rows.tolist(), kinds=kinds) for side, rows in sums.wanted]
    )
    places = [list(block[at : at + BATCH_IMAGES]) for at in range(0, len(block), BATCH_IMAGES)]
    found = np.empty((len(kinds), len(sums.classes), len(block), sums.width), np.float32)
    batches: Iterator[Batch] = arriving(images, workers, on, collate=stack_or_error, batch_sampler=places)
    answers = _Found(on, found, block.start)
    for batch, rows in zip(batches, places, strict=True):
        assert batch.extra is not None
        answers.put(rows, [described_by.map_sums(batch.image, batch.extra)])
    answers.finish()
    if not np.isfinite(found).all():
        raise TrainingError("evaluation", "sums of features must be finite", None, NOT_FINITE)
    for kind, values_KNM in zip(kinds, found, strict=True):
        sums.write(block, kind, values_KNM)
    report = PartReport(
        probes=(), num_pictures=len(block), seconds=time.perf_counter() - begin, device=device,
        threads=torch.get_num_threads(), how="pooled",
    )  # fmt: skip
    write_json(sums.path(block, kinds[0]).with_suffix(".json"), report.model_dump(mode="json"))
