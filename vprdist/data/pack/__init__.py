"""Pictures of a data set, packed into a few large files. Whoever reads pictures asks `PictureSource` for them."""

from vprdist.data.pack.reader import Pack, open_pack
from vprdist.data.pack.source import PictureSource

__all__ = ["Pack", "PictureSource", "open_pack"]
