"""Which shards a pack takes, known from listings of folders alone: the same plan from the same data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL
from PIL import features

from vprdist.data.layouts import Layout
from vprdist.data.pack.format import SideName, shard_id
from vprdist.data.pack.shard import Place
from vprdist.data.pictures import check_images, picture_sizes, picture_stamps
from vprdist.data.places import City, Side
from vprdist.errors import DataError
from vprdist.spec.computation import COMPUTATION
from vprdist.spec.names import is_name


@dataclass(frozen=True)
class PlannedPicture:
    """A picture to be packed: its file, and the file's bytes and `files.file_stamp` when it was planned."""

    key: str
    name: str
    path: Path
    size: int
    stamp: int


@dataclass(frozen=True)
class PlannedShard:
    """A shard to be made.

    Attributes:
        room: bytes that its pictures take.
        image_size: None: the bytes of files.
    """

    place: Place
    pictures: tuple[PlannedPicture, ...]
    room: int
    image_size: tuple[int, int] | None


@dataclass(frozen=True)
class Plan:
    """The shards of some cities, and the cities' digests."""

    cities: dict[str, str]
    shards: tuple[PlannedShard, ...]

    @property
    def count(self) -> int:
        """Pictures in all."""
        return sum(len(shard.pictures) for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.room for shard in self.shards)


def decoder() -> str:
    """What decodes and resizes pictures: another version may round otherwise."""
    turbo = features.version_feature("libjpeg_turbo")
    jpeg = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"
    return f"Pillow {PIL.__version__}, {jpeg}"


def make_plan(layout: Layout, cities: Sequence[str], image_size: tuple[int, int] | None, shard_bytes: int) -> Plan:
    """The shards of these cities.

    Raises:
        DataError: no such city, a picture that is missing or empty, or a folder that cannot be listed.
    """
    shards, digests = list[PlannedShard](), dict[str, str]()
    for name in sorted(set(cities)):
        city = layout.read(name)
        digests[name] = layout.whole_digest(name)
        shards += _of_city(city, layout.root, image_size, shard_bytes)
    return Plan(digests, tuple(shards))


def _of_city(city: City, root: Path, image_size: tuple[int, int] | None, shard_bytes: int) -> Iterator[PlannedShard]:
    if not is_name(city.name):
        raise DataError(
            city.folder, "a city must be a name to be packed", city.name, "Let the layout name it otherwise."
        )
    for side, word in zip(city.sides, ("query", "database"), strict=True):
        check_images(side)
        first = 0
        for pictures, room in _cut(_planned(side, root), image_size, shard_bytes):
            yield _shard(city.name, word, first, pictures, room, image_size)  # type: ignore[arg-type]
            first += len(pictures)


def _planned(side: Side, root: Path) -> Iterator[PlannedPicture]:
    sizes, stamps = picture_sizes(side.paths).tolist(), picture_stamps(side.paths).tolist()
    for key, path, size, stamp in zip(side.keys.tolist(), side.paths, sizes, stamps, strict=True):
        name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
        yield PlannedPicture(key, name, path, size, stamp)


def _cut(
    pictures: Iterator[PlannedPicture], image_size: tuple[int, int] | None, shard_bytes: int
) -> Iterator[tuple[tuple[PlannedPicture, ...], int]]:
    """Pictures that follow each other, as many as fit a shard, one at least; and their bytes."""
    some, room = list[PlannedPicture](), 0
    for picture in pictures:
        size = picture.size if image_size is None else 3 * image_size[0] * image_size[1]
        if some and room + size > shard_bytes:
            yield tuple(some), room
            some, room = [], 0
        some.append(picture)
        room += size
    if some:
        yield tuple(some), room


def _shard(
    city: str, side: SideName, first: int, pictures: tuple[PlannedPicture, ...], room: int,
    image_size: tuple[int, int] | None,
) -> PlannedShard:  # fmt: skip
    form = None if image_size is None else [*image_size, COMPUTATION, decoder()]
    listed = hashlib.sha256()
    for picture in pictures:
        listed.update(f"{picture.key}\0{picture.name}\0{picture.size}\n".encode())
    made = shard_id(city, side, form, [first, len(pictures), listed.hexdigest()])
    return PlannedShard(
        Place(f"{city}_{side}_{first:07}-{made}.arrow", made, city, side, first), pictures, room, image_size
    )
