"""What a cache is on disk, written so that a stranger can write a reader from this page.

    <cache>/
      manifest.json            written last: a folder without it is no cache
      shards/<city>_<side>_<first>-<shard id>.arrow
      shards/<same name>.json  only while the cache is being built: the entry of a finished shard
      .lock                    byte ranges of it are held by those that build, one for each shard being made
      build/                   orders and logs of job arrays that segmented pictures; no part of the cache

**manifest.json** is UTF-8 JSON, the fields of `Manifest` below. `format` is "vprdist-cache"; a reader refuses
a `version` above its own. All activations of a cache have one `height` x `width`. `sides` lists each city's
query and database side: how many images, and a digest of their content. `shards` lists the files of a side in
order: image `first + r` of the side is row r of the shard; the images of a side stand in the row order of its
CSVs.

**Grid.** `grid` says where the activations lie on their picture. "cells": point i of n along an axis is the centre of
the i-th of n equal parts. "corners": the first and the last point lie on the first and the last pixel, the others at
equal distances between (TensorFlow's align_corners). Where it is absent it is "cells".

**Versions.** A cache names the oldest version that can read it: 1 where `compression` is "none", 2 where it is
"lz4" or "zstd", 3 where `grid` is not "cells", 4 where `classes` are not the 19 of Cityscapes or `storage` is "top_k".
So caches made before there was a choice stay as they are, byte for byte and id for id, and a vprdist from before
refuses others by their version. `vprdist.version` of a shard knows nothing of the grid: it is 1, 2 or 4.

**A shard** is an Arrow IPC *file* (magic ARROW1; footer at the end) whose record batches hold `batch_images`
rows each (the last may hold fewer). The columns:

    key     utf8                    the image's MSLS key
    city    utf8                    the same in all rows
    side    utf8                    "query" or "database", the same in all rows
    sha256  fixed_size_binary[32]   SHA-256 of the image's activations: 19 x height x width bytes, C order
    road … bicycle                  fixed_size_binary[height * width], one column for each class, under the
                                    class's name, in the order of `classes`: uint8, row-major, top row first,
                                    softmax probability x 255

No column has nulls. The schema's metadata holds `vprdist.version`, `vprdist.height`, `vprdist.width` and
`vprdist.shard`, the shard id: a digest of what the shard was to hold (format, city and its digest, keys, size,
source, compression), equal to `id` in the manifest, so that a shard of another data set is recognised without
reading any pixel. `vprdist.peak`, which older shards lack, is the largest sum of the 19 activations of any pixel of
the shard (about 258): a reader may add in bytes where it knows that little is lost. `vprdist.crc32` is the base64 of
uint32 little-endian numbers, 19 an image in the order of rows: the CRC-32 of each class's bytes. Uncompressed shards of
before lack it, and have `sha256` alone.

**Compression "none".** A shard is one batch, so that the bytes of one class of one image lie together and those of
one class of all images follow each other, class columns at equal distances: a memory map reads the classes it wants
and touches no page of the others, and several classes of an image are one strided array.

**Compression "lz4" or "zstd"** is Arrow's own (BodyCompression: LZ4 frames or zstd frames), so any Arrow reader gives
the same table. Arrow compresses each buffer of a batch for itself (int64 little-endian: the uncompressed length, or -1
where the rest is as it was; then one frame), and batches are small: a mask decompresses its own classes of
`batch_images` images. The schema's metadata holds one thing more. `vprdist.keys` is the key column once more, as a JSON
list: a reader finds an image without decompressing anything. `vprdist.crc32` has 19 numbers a batch: of each class's
buffer as it is stored, length included, so that a flipped byte is found before it is decompressed. Compressed bytes are
those of one version of the compressor: another may write other bytes of the same content.

**Other classes (version 4).** `classes` are 1 to 1024 distinct names in the order of the network's outputs, whatever is
said of 19 above is said of their number C, and a shard's metadata names them once more: `vprdist.classes`, a JSON list.
Class columns are called "class:" and the class's name.

**Storage "top_k" (version 4).** Of each pixel only the `top_k` = k largest activations are stored; of equal ones those
of lower class index; k is at most C. All others are 0 to a reader, and so are they to `sha256`, `peak` and `content`:
with k = C these are those of a dense cache. Behind the leading columns stand 2 k columns, or 3 k where C > 256, of
height x width bytes an image: "value:0" … the stored activations, largest first (equal ones by class index);
"class:0" … the class indices that they belong to, "class_high:0" … their high bytes (index = class + 256 high). No
index stands twice at a pixel. These columns take the places of class columns in all that is said above of check sums
and batches. The metadata has `vprdist.top_k`, k in decimal. One column more stands before them, behind sha256:

    dropped  fixed_size_binary[8 * (4 + C)]  uint64 little-endian: the sum of all the image's activations before any
                                    was dropped, the sum of those dropped, the largest one dropped, the largest sum
                                    that one pixel lost; then the dropped sum of each class

so that the sum of any classes' activations over the image, before and after, is known exactly.

**Digests.** `sha256` of a shard is that of its whole file. The `pixels` of a batch are the byte range [start, end) in
the file from its first class column's buffer to the end of its last one's. The manifest lists them where
uncompressed; where compressed it has none (they would be as many as images), and a reader takes them from the record
batches' messages. `frame` is the SHA-256 of all bytes outside these ranges: structure, keys and check sums, which a
reader checks before it trusts any address in the file. `content` of a side is the SHA-256 over its images in order,
each given as key, one zero byte, and the 32 bytes of its `sha256`. `digest` is the first 16 hex digits of the SHA-256
of the canonical JSON {"classes", "height", "width", "sides": {"<city>/<side>": content}} (sorted keys, no spaces,
ASCII), and "grid" where it is not "cells". It depends on no path, time, shard size or compression: caches of equal
activations are equal. `cities` holds the digests of the cities (`Layout.digest`) that the cache was made for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from vprdist.errors import CacheError, RuleError
from vprdist.files import digest_json
from vprdist.semantics.cache.form import Form, Version
from vprdist.spec.base import Spec
from vprdist.spec.class_table import check_names
from vprdist.spec.manifest_text import ManifestForm, read_manifest_of
from vprdist.spec.names import is_name
from vprdist.spec.vocabulary import CLASSES, Compression, Grid

FORMAT = "vprdist-cache"
VERSION = 4
MANIFEST = "manifest.json"
SHARDS = "shards"
MANIFEST_BYTES = 2**26
"""A manifest of 6,300 shards, all of MSLS, has 3 MB."""
MAX_POINTS, MAX_BATCH_BYTES = 2**25, 2**24
"""A reader allocates what is said here: a class of one image, and one of a compressed batch of several."""
REMEDY = "Run `vprdist cache import` (or `build`) again."
MANIFEST_FORM = ManifestForm(
    error=CacheError, file=MANIFEST, most_bytes=MANIFEST_BYTES, format=FORMAT, version=VERSION, one="cache",
    many="caches", making="import", missing=REMEDY, mend=REMEDY,
    newer="Update vprdist, or import the cache again into another folder.",
)  # fmt: skip

SideName = Literal["query", "database"]


class ShardEntry(Spec):
    """One shard file: images `first` to `first + count - 1` of a side. `file` is relative to the cache."""

    file: str
    id: str
    city: str
    side: SideName
    first: int = Field(ge=0)
    count: int = Field(ge=1)
    sha256: str
    bytes: int = Field(ge=1)
    pixels: tuple[tuple[int, int], ...]
    frame: str

    @property
    def name(self) -> str:
        """The file's own."""
        return self.file.removeprefix(f"{SHARDS}/")


class SideEntry(Spec):
    """One side of a city. `source` tells what it was made from, `content` what it holds."""

    city: str
    side: SideName
    count: int = Field(ge=1)
    source: str
    content: str


class Manifest(Spec):
    """manifest.json; see the module's page."""

    format: Literal["vprdist-cache"] = "vprdist-cache"
    version: Version = 1
    classes: tuple[str, ...] = CLASSES
    storage: Literal["dense", "top_k"] = "dense"
    top_k: int | None = Field(default=None, ge=1, description="activations stored of each pixel")
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    grid: Grid = "cells"
    compression: Compression = "none"
    batch_images: int = Field(ge=1, description="rows of a record batch; the whole shard where uncompressed")
    segmenter: str
    cities: dict[str, str]
    sides: tuple[SideEntry, ...]
    shards: tuple[ShardEntry, ...]
    digest: str

    def digest_of(self, cities: Iterable[str]) -> str:
        """16 hex digits of the activations of these cities alone, however many others the cache holds."""
        wanted = set(cities)
        sides = {f"{s.city}/{s.side}": s.content for s in self.sides if s.city in wanted}
        what = {"classes": list(self.classes), "height": self.height, "width": self.width, "sides": sides}
        return digest_json(what | ({} if self.grid == "cells" else {"grid": self.grid}))

    @property
    def form(self) -> Form:
        """How its shards store activations."""
        return Form((self.height, self.width), self.compression, self.classes, self.top_k)

    def to_text(self) -> str:
        """What stands in the file. What came later is not named where it says nothing: a vprdist that knows no grid and
        no storage reads such caches too."""
        usual = {"grid": self.grid == "cells", "storage": self.storage == "dense", "top_k": self.top_k is None}
        return self.model_dump_json(indent=1, exclude={name for name, is_usual in usual.items() if is_usual}) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a cache folder.

    Raises:
        CacheError: no cache, one of a newer version, or a manifest that breaks its own rules.
    """
    manifest = read_manifest_of(folder, Manifest, MANIFEST_FORM)
    _check(folder / MANIFEST, manifest)
    return manifest


def _check(path: Path, manifest: Manifest) -> None:
    """The manifest agrees with itself: shards tile their sides, and the digest is that of the sides."""
    try:
        check_names(manifest.classes)
    except RuleError as error:
        raise CacheError(f"{path}: classes", error.fault, error.value, REMEDY) from None
    if (manifest.storage == "top_k") != (manifest.top_k is not None):
        fault = "`top_k` must be said where the storage is top_k, and nowhere else"
        raise CacheError(path, fault, f"{manifest.storage}, {manifest.top_k}", REMEDY)
    if (manifest.top_k or 0) > len(manifest.classes):
        raise CacheError(path, f"`top_k` must be {len(manifest.classes)} at most here", manifest.top_k, REMEDY)
    points = manifest.height * manifest.width
    if points > MAX_POINTS:
        raise CacheError(path, f"activations must have {MAX_POINTS} points a class at most", points, REMEDY)
    if manifest.compression != "none" and manifest.batch_images * points > max(points, MAX_BATCH_BYTES):
        fault = f"a batch of a compressed shard must have {MAX_BATCH_BYTES} bytes a class at most"
        raise CacheError(path, fault, manifest.batch_images * points, REMEDY)
    if manifest.version != (wanted := manifest.form.version_with(manifest.grid)):
        fault = f"compression {manifest.compression} and a grid of {manifest.grid} need version {wanted}"
        if wanted == VERSION:
            fault = f"classes that are not the 19, or storage top_k, need version {wanted}"
        raise CacheError(path, fault, manifest.version, REMEDY)
    for name in manifest.cities:
        if not is_name(name):
            raise CacheError(path, "a city must be a name, not a path", name, REMEDY)
    ends: dict[tuple[str, str], int] = {}
    for shard in manifest.shards:
        if shard.file != f"{SHARDS}/{shard.name}" or not is_name(shard.name):
            raise CacheError(path, f"a shard must be a file of the folder {SHARDS}", shard.file, REMEDY)
        if shard.first != ends.get((shard.city, shard.side), 0):
            raise CacheError(
                path, f"the shards of a side must follow each other; {shard.file} does not", shard.first, REMEDY
            )
        ends[shard.city, shard.side] = shard.first + shard.count
    for side in manifest.sides:
        if ends.pop((side.city, side.side), 0) != side.count or side.city not in manifest.cities:
            raise CacheError(
                path, f"the shards of {side.city}/{side.side} do not hold its {side.count} images", None, REMEDY
            )
    if ends:
        raise CacheError(path, "a shard belongs to no side of the manifest", next(iter(ends)), REMEDY)
    if manifest.digest != manifest.digest_of(manifest.cities):
        raise CacheError(
            path, "the digest must be that of the sides; the manifest was changed", manifest.digest, REMEDY
        )
