"""The one door to the pixels of pictures: a pack where it holds them, else their files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vprdist.data.images import Loader, Pixels
from vprdist.data.pack.reader import Pack, open_pack
from vprdist.data.places import Side


class PictureSource:
    """Pictures of one size, the same bits wherever they come from.

    Args:
        read: decodes files, or their bytes (`images.loader_of`).
        computation: whose decoder it is.
        pack: the folder of a pack that was made of this data set, which `use.check_pack` finds out; None: none.

    Raises:
        DataError: no pack lies there.
    """

    def __init__(self, read: Loader, image_size: tuple[int, int], computation: int, pack: str | None) -> None:
        self.read, self.image_size = read, image_size
        opened = None if pack is None else open_pack(pack)
        self.pack: Pack | None = opened if opened is not None and opened.serves(image_size, computation) else None

    @property
    def has_pixels(self) -> bool:
        """Whether the pack holds pictures as they are wanted: nothing is gained by keeping them elsewhere."""
        return self.pack is not None and self.pack.manifest.image_size is not None

    def packed(self, side: Side) -> npt.NDArray[np.bool_]:
        """(N,) which pictures of a side the pack holds. Errors as `load`."""
        return np.zeros(len(side), bool) if self.pack is None else self.pack.places(side) >= 0

    def load(self, side: Side, row: int) -> Pixels:
        """(H, W, 3) uint8, perhaps not to be written to.

        Raises:
            DataError: as `load_image`; a shard that is missing, cut or changed.
        """
        path = side.image_path(row)
        held = None if self.pack is None else self.pack.picture(side, row)
        if held is None:
            return self.read(path, *self.image_size)
        if self.has_pixels:
            return np.frombuffer(held, np.uint8).reshape(*self.image_size, 3)
        return self.read(path, *self.image_size, held)
