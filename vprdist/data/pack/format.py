"""What a pack is on disk, written so that a stranger can read one from this page.

    <pack>/
      manifest.json            written last: a folder without it is no pack
      shards/<city>_<side>_<first>-<shard id>.arrow
      .lock                    held by the one that packs

**manifest.json** is UTF-8 JSON, the fields of `Manifest` below. `image_size` null: the bytes of a picture are those of
its file. Else they are its pixels, uint8 of height x width x 3 (RGB, row-major, top row first), as `load_image` gives
them: decoded whole, upright, resized by bilinear filtering with antialiasing; `decoder` says by which libraries.
`cities` holds the digests of the cities (`Layout.whole_digest`: columns, and the pictures' names and sizes).

**A shard** is an Arrow IPC file, uncompressed, of one record batch, of pictures `first` to `first + count - 1` of one
side, in the order of the data set's rows:

    city, side, key   utf8           whose picture it is
    name              utf8           where its file lies below the data set's folder
    size              int64          the bytes of its file
    stamp             uint64         `files.file_stamp` of its file: size and times, when it was packed
    content           uint64         64 bits of BLAKE2b of its file's bytes (`files.content_number`)
    crc32             uint32         CRC-32 of what the last column holds
    bytes             large_binary   the picture

No column has nulls. The schema's metadata holds `vprdist.pack`, the shard id: a digest of what the shard was to hold.
`index` in the manifest is the SHA-256 of everything in the shard but the last column's bytes (`shard.index_digest`).
A reader checks it before it trusts an address, and each picture's `crc32` when it reads the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from vprdist.errors import DataError
from vprdist.files import digest_json
from vprdist.spec.base import ImageSize, Spec
from vprdist.spec.manifest_text import ManifestForm, read_manifest_of
from vprdist.spec.names import Name

FORMAT = "vprdist-pack"
VERSION = 1
MANIFEST, SHARDS = "manifest.json", "shards"
MANIFEST_BYTES = 2**26
REMEDY = "Run `vprdist data pack` again: what is whole is kept."
MANIFEST_FORM = ManifestForm(
    error=DataError, file=MANIFEST, most_bytes=MANIFEST_BYTES, format=FORMAT, version=VERSION, one="pack", many="packs",
    making="packing", missing="Make it: vprdist data pack ROOT OUT; what is packed already is kept.", mend=REMEDY,
    newer="Update vprdist, or pack again into another folder.",
)  # fmt: skip

SideName = Literal["query", "database"]


class ShardEntry(Spec):
    """One shard: pictures `first` to `first + count - 1` of a side. `file` lies in the folder of shards."""

    file: Name
    id: str
    city: Name
    side: SideName
    first: int = Field(ge=0)
    count: int = Field(ge=1)
    bytes: int = Field(ge=1)
    index: str


class Manifest(Spec):
    """manifest.json; see the module's page."""

    format: Literal["vprdist-pack"] = "vprdist-pack"
    version: Literal[1] = 1
    image_size: ImageSize | None
    computation: int
    decoder: str
    cities: dict[Name, str]
    shards: tuple[ShardEntry, ...]

    @property
    def num_pictures(self) -> int:
        return sum(shard.count for shard in self.shards)

    @property
    def kind(self) -> str:
        """What it holds, in words."""
        return "files as they are" if self.image_size is None else "pixels of {}x{}".format(*self.image_size)

    def of_side(self, city: str, side: str) -> tuple[ShardEntry, ...]:
        """The shards of a side, in the order of its pictures."""
        return tuple(shard for shard in self.shards if (shard.city, shard.side) == (city, side))


def shard_id(city: str, side: str, form: object, pictures: object) -> str:
    """16 hex digits over what a shard is to hold."""
    return digest_json([FORMAT, VERSION, city, side, form, pictures])


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a pack.

    Raises:
        DataError: no pack, one of a newer version, or a manifest that breaks its own rules.
    """
    manifest = read_manifest_of(folder, Manifest, MANIFEST_FORM)
    _check(folder / MANIFEST, manifest)
    return manifest


def _check(path: Path, manifest: Manifest) -> None:
    """The shards of each side follow each other, and both sides of each city are there."""
    ends: dict[tuple[str, str], int] = {}
    for shard in manifest.shards:
        if shard.first != ends.get((shard.city, shard.side), 0):
            fault = f"the shards of a side must follow each other; {shard.file} does not"
            raise DataError(path, fault, shard.first, REMEDY)
        ends[shard.city, shard.side] = shard.first + shard.count
    if strange := {city for city, _ in ends} ^ set(manifest.cities):
        raise DataError(path, "cities and shards must be of each other", sorted(strange)[0], REMEDY)
