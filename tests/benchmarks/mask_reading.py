"""Masks of the ten static classes from real activations, out of six kinds of storage: masks a second, and bytes.

    pip install -e '.[bench]' && python tests/benchmarks/mask_reading.py --data ../shared/data

(a) the paper's layout, one grey PNG a class; (b) Hugging Face datasets, four layouts; (c) WebDataset tar, two layouts;
(d) our shards, through `Cache.mask`, uncompressed also as a process that reads them first; (e) the fastest sum, by
numpy or torch, over the same arrays already in memory.
All on one pinned core with pools of one thread, warm page cache, images in random order (WebDataset in its own shuffled
order: a tar is read through). Every side makes the same float32 mask, which is compared bit for bit before it is timed.
The sides take turns; the median round of each counts, or the best one with --best (on a machine that others use). Time
is the process's own CPU time, which on an idle machine is the clock's: nothing here waits for a disk or another core.

The activations are lip6's, enlarged bilinearly from 96x120 to 192x240, their pictures' size, as the paper stored them;
for the bytes at quarter resolution they are averaged to 48x60. `png_sample` holds twelve images as a network drew them
at full size: their files, in the paper's layout, are what our bytes at quarter resolution are compared with, for the
same twelve images. A side whose library is missing says so and is skipped.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[pool] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from told import tell  # noqa: E402

from vprdist.data.layouts.msls import read_city  # noqa: E402
from vprdist.semantics.cache import open_cache  # noqa: E402
from vprdist.semantics.cache.blocks import find_blocks  # noqa: E402
from vprdist.semantics.cache.form import Form  # noqa: E402
from vprdist.semantics.cache.format import MANIFEST, read_manifest  # noqa: E402
from vprdist.semantics.cache.shard import frame_digest, map_file  # noqa: E402
from vprdist.semantics.cache.writer import write_shard  # noqa: E402
from vprdist.semantics.importing import import_cache  # noqa: E402
from vprdist.semantics.masks import reduce_mask  # noqa: E402
from vprdist.semantics.resize import resize_area  # noqa: E402
from vprdist.semantics.sources.png import FILES  # noqa: E402
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES  # noqa: E402

NUM = len(STATIC_CLASSES)
assert CLASSES[:NUM] == STATIC_CLASSES
MEAN = np.float32(255 * NUM)
Masks = Iterator[tuple[int, np.ndarray]]


class Side(NamedTuple):
    """One way to keep activations. `masks` yields (image, mask) for the images of an order, or for all in its own."""

    group: str
    name: str
    masks: Callable[[Sequence[int]], Masks]
    num_bytes: int


class World(NamedTuple):
    """Real activations (N, 19, h, w) of the rows of a city, and where to keep things."""

    data: Path
    city: str
    rows: list[tuple[str, str]]
    values: np.ndarray
    folder: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds lip6 and lip6_semantics")
    parser.add_argument("--city", default="lip6b", help="lip6a or lip6b")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 240), metavar=("H", "W"), help="activation size")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--best", action="store_true", help="the best round instead of the median one")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.core})
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory(prefix="vprdist-masks-") as base:
        os.environ["HF_HOME"] = str(Path(base) / "hf")
        height, width = args.size
        rows, native = load(args.data, args.city)
        full = World(args.data, args.city, rows, enlarged(native, (height, width)), Path(base) / "full")
        small = (height // 4, width // 4)
        quarter = World(args.data, args.city, rows, shrunk(native, small), Path(base) / "quarter")
        sides = make_sides(full)
        check(sides, full.values)
        rates = measure(sides, len(rows), args.rounds, max if args.best else statistics.median)
        bytes_quarter = {side.name: side.num_bytes for side in make_sides(quarter)}
        how = "best" if args.best else "median"
        print(f"{len(rows)} images of {args.city} at {height}x{width}, core {args.core}, {how} of {args.rounds} rounds")
        compared(sides, rates, f"{height}x{width}")
        show(sides, rates, bytes_quarter, len(rows), f"{small[0]}x{small[1]}")
        show_sample(args.data / "lip6_semantics" / "png_sample" / "lip6b" / "query", Path(base))
    return 0


def load(data: Path, city: str) -> tuple[list[tuple[str, str]], np.ndarray]:
    """(side, key) of the images, and their activations (N, 19, 96, 120)."""
    rows, values = [], []
    for side in read_city(data / "lip6", city).sides:
        with np.load(data / "lip6_semantics" / f"{city}_{side.side}.npz") as archive:
            stored = dict(zip(archive["keys"].tolist(), archive["activations"], strict=True))
        rows += [(side.side, str(key)) for key in side.keys]
        values += [stored[str(key)] for key in side.keys]
    return rows, np.stack(values)


def enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    planes = (Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR) for plane in flat(values))
    return np.stack([np.asarray(plane) for plane in planes]).reshape(*values.shape[:2], *size)


def shrunk(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.stack([resize_area(image, size) for image in values])


def flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *values.shape[2:])


def make_sides(world: World) -> list[Side]:
    world.folder.mkdir()
    sides = [png(world)]
    for make, library in ((hugging_face, "datasets"), (web_dataset, "webdataset")):
        try:
            sides += make(world)
        except ModuleNotFoundError as error:
            if error.name != library:
                raise
            print(f"{library} is not installed: skipped (pip install -e '.[bench]')")
    return sides + ours(world) + in_memory(world)


def png(world: World) -> Side:
    """(a): ten small files a mask."""
    folders = [world.folder / "png" / world.city / side / key for side, key in world.rows]
    for folder, image in zip(folders, world.values, strict=True):
        folder.mkdir(parents=True)
        for file, plane in zip(FILES, image, strict=True):
            Image.fromarray(plane).save(folder / file)
    paths = [[str(folder / file) for file in FILES[:NUM]] for folder in folders]

    def plane(path: str) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(image)

    def masks(order: Sequence[int]) -> Masks:
        for index in order:
            yield index, reduce_mask([plane(path) for path in paths[index]], "mean")

    return Side("a", "PNG a class", masks, size_of(world.folder / "png"))


def hugging_face(world: World) -> list[Side]:
    """(b): memory-mapped by datasets. The binary layouts are also read as Arrow tables, without copies."""
    from datasets import Array3D, Dataset, Features, Value, load_from_disk

    height, width = world.values.shape[2:]
    shape = (height, width)
    layouts = {
        "Array3D": Features({"activations": Array3D((len(CLASSES), height, width), "uint8")}),
        "binary": Features({"activations": Value("binary")}),
        "binary a class": Features({name: Value("binary") for name in CLASSES}),
    }

    def rows(layout: str) -> Iterator[dict[str, object]]:
        for image in world.values:
            if layout == "binary a class":
                yield {name: plane.tobytes() for name, plane in zip(CLASSES, image, strict=True)}
            else:
                yield {"activations": image if layout == "Array3D" else image.tobytes()}

    for layout, features in layouts.items():
        made = Dataset.from_generator(rows, features=features, gen_kwargs={"layout": layout})
        made.save_to_disk(world.folder / layout)
    array = load_from_disk(world.folder / "Array3D").with_format("numpy", dtype=np.uint8)
    binary = load_from_disk(world.folder / "binary")
    split = load_from_disk(world.folder / "binary a class").select_columns(list(STATIC_CLASSES))
    arrow = split.with_format("arrow")

    def from_array(order: Sequence[int]) -> Masks:
        for index in order:
            yield index, reduce_mask(array[index]["activations"][:NUM], "mean")

    def from_binary(order: Sequence[int]) -> Masks:
        for index in order:
            planes = np.frombuffer(binary[index]["activations"], np.uint8).reshape(-1, *shape)
            yield index, reduce_mask(planes[:NUM], "mean")

    def from_split(order: Sequence[int]) -> Masks:
        for index in order:
            row = split[index]
            yield index, reduce_mask([np.frombuffer(row[name], np.uint8).reshape(shape) for name in row], "mean")

    def from_arrow(order: Sequence[int]) -> Masks:
        for index in order:
            planes = [column.chunk(0)[0].as_buffer() for column in arrow[index].columns]
            yield index, reduce_mask([np.frombuffer(plane, np.uint8).reshape(shape) for plane in planes], "mean")

    sizes = {layout: size_of(world.folder / layout) for layout in layouts}
    return [
        Side("b", "datasets, Array3D", from_array, sizes["Array3D"]),
        Side("b", "datasets, binary", from_binary, sizes["binary"]),
        Side("b", "datasets, binary a class", from_split, sizes["binary a class"]),
        Side("b", "datasets, the same as Arrow", from_arrow, sizes["binary a class"]),
    ]


def web_dataset(world: World) -> list[Side]:
    """(c): one tar, read through; its own shuffle buffer makes the order."""
    import webdataset

    sides = []
    for name, suffixes in (("one file", ("bin",)), ("a file a class", tuple(f"{file}.bin" for file in FILES))):
        path = world.folder / f"{suffixes[0]}.tar"
        with tarfile.open(path, "w") as archive:
            for index, image in enumerate(world.values):
                parts = image[None] if len(suffixes) == 1 else image
                for suffix, part in zip(suffixes, parts, strict=True):
                    member = tarfile.TarInfo(f"{index:06d}.{suffix}")
                    member.size = part.nbytes
                    archive.addfile(member, io.BytesIO(part.tobytes()))
        sides.append(
            Side("c", f"WebDataset, {name}", tar_masks(webdataset, path, suffixes, world), path.stat().st_size)
        )
    return sides


def tar_masks(
    webdataset: object, path: Path, suffixes: Sequence[str], world: World
) -> Callable[[Sequence[int]], Masks]:
    shape = world.values.shape[2:]

    def masks(order: Sequence[int]) -> Masks:
        for sample in webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False).shuffle(100):  # type: ignore
            if len(suffixes) == 1:
                planes = np.frombuffer(sample["bin"], np.uint8).reshape(-1, *shape)[:NUM]
            else:
                planes = [np.frombuffer(sample[suffix], np.uint8).reshape(shape) for suffix in suffixes[:NUM]]
            yield int(sample["__key__"]), reduce_mask(planes, "mean")

    return masks


def ours(world: World) -> list[Side]:
    """(d): through the public `Cache.mask`."""
    source = world.folder / "source"
    source.mkdir()
    for side in ("query", "database"):
        chosen = [index for index, row in enumerate(world.rows) if row[0] == side]
        keys = np.array([world.rows[index][1] for index in chosen])
        np.savez(source / f"{world.city}_{side}.npz", keys=keys, activations=world.values[chosen])

    def masks_of(compression: str) -> Side:
        out = world.folder / compression
        cache = import_cache(source, world.data / "lip6", out, [world.city], compression=compression)

        def masks(order: Sequence[int]) -> Masks:
            for index in order:
                side, key = world.rows[index]
                yield index, cache.mask(world.city, side, key, STATIC_CLASSES, "mean")

        return Side("d", f"vprdist, {compression}", masks, size_of(out))

    sides = [masks_of(compression) for compression in ("none", "lz4", "zstd")]
    sums, digests = world.folder / "none", world.folder / "digests"
    shutil.copytree(sums, digests)
    without_sums(digests)
    firsts = [("first reading", sums), ("first reading, no sums", digests)]
    return sides + [Side("d", f"vprdist, {name}", first_masks(world, out), size_of(out)) for name, out in firsts]


def first_masks(world: World, out: Path) -> Callable[[Sequence[int]], Masks]:
    """As a process that just started: what was written is compared with its check sums."""

    def masks(order: Sequence[int]) -> Masks:
        cache = open_cache(out)
        for index in order:
            side, key = world.rows[index]
            yield index, cache.mask(world.city, side, key, STATIC_CLASSES, "mean")

    return masks


def without_sums(out: Path) -> None:
    """Make an uncompressed cache one of before there were check sums: digests of whole images alone."""
    manifest, entries = read_manifest(out), []
    for entry in manifest.shards:
        table = pa.ipc.open_file((out / entry.file).read_bytes()).read_all()
        metadata = {name: value for name, value in table.schema.metadata.items() if name != b"vprdist.crc32"}
        with pa.ipc.new_file(str(out / entry.file), table.schema.with_metadata(metadata)) as writer:
            writer.write_table(table)
        pages = map_file(out / entry.file)
        spans = tuple(block.pixels for block in find_blocks(pages))
        facts = {"bytes": pages.size, "pixels": spans, "frame": frame_digest(pages, spans)}
        entries.append(entry.model_copy(update=facts))
    (out / MANIFEST).write_text(manifest.model_copy(update={"shards": tuple(entries)}).to_text())


def in_memory(world: World) -> list[Side]:
    """(e): the same arrays in memory, an image's classes beside each other."""
    values = world.values
    peak = int(values.sum(axis=1, dtype=np.uint16).max())
    tensors = torch.from_numpy(values)
    sums: dict[str, Callable[[int], np.ndarray]] = {
        "numpy, stacked": lambda i: np.stack([*values[i, :NUM]]).sum(axis=0, dtype=np.uint16) / MEAN,
        "numpy, one reduction": lambda i: np.add.reduce(values[i, :NUM], axis=0, dtype=np.uint16) / MEAN,
        "vprdist.reduce_mask": lambda i: reduce_mask(values[i, :NUM], "mean", peak),
        "torch, int16": lambda i: tensors[i, :NUM].sum(0, dtype=torch.int16).to(torch.float32).div_(MEAN).numpy(),
        "torch, float32": lambda i: tensors[i, :NUM].sum(0, dtype=torch.float32).div_(MEAN).numpy(),
    }

    def masks_by(work: Callable[[int], np.ndarray]) -> Callable[[Sequence[int]], Masks]:
        return lambda order: ((index, work(index)) for index in order)

    return [Side("e", f"in memory, {name}", masks_by(work), values.nbytes) for name, work in sums.items()]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check(sides: Sequence[Side], values: np.ndarray) -> None:
    """Every side makes the mask that whole numbers and one division make."""
    wanted = values[:, :NUM].astype(np.int64).sum(axis=1).astype(np.float32) / MEAN
    for side in sides:
        seen = set()
        for index, mask in side.masks(range(len(values))):
            assert mask.dtype == np.float32 and mask.tobytes() == wanted[index].tobytes(), f"{side.name}: {index}"
            seen.add(index)
        assert len(seen) == len(values), f"{side.name} lost images"


def measure(sides: Sequence[Side], count: int, rounds: int, choose: Callable[[list[float]], float]) -> dict[str, float]:
    """Masks a second of each side."""
    order, rates = list(range(count)), {side.name: list[float]() for side in sides}
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for side in sides:
            begin = time.process_time()
            done = sum(1 for _ in side.masks(order))
            rates[side.name].append(done / (time.process_time() - begin))
    return {name: choose(values) for name, values in rates.items()}


def compared(sides: Sequence[Side], rates: dict[str, float], size: str) -> None:
    """The lines of the table of all benchmarks."""
    best = {
        group: max((rates[s.name], s.name) for s in sides if s.group == group) for group in {s.group for s in sides}
    }
    none, lz4 = rates["vprdist, none"], rates["vprdist, lz4"]
    for group, aim in (("e", 0.9), ("c", 8.0), ("b", 2.0), ("a", 30.0)):
        if group in best:
            theirs, name = best[group]
            tell(f"masks of ten classes, {size}, none", none, "1/s", peer=name, theirs=theirs, at_least=aim)
    tell(f"masks of ten classes, {size}, lz4", lz4, "1/s", peer="none", theirs=none, at_least=0.5)


def show(sides: Sequence[Side], rates: dict[str, float], bytes_quarter: dict[str, int], count: int, small: str) -> None:
    best = {group: max(rates[s.name] for s in sides if s.group == group) for group in {s.group for s in sides}}
    heads = [f"/({group})" for group in "abce" if group in best]
    print(f"{'':34s}{'masks/s':>9s}" + "".join(f"{head:>9s}" for head in heads) + f"{'B/image':>10s}{small:>10s}")
    for side in sides:
        rate = rates[side.name]
        ratios = "".join(f"{rate / best[group]:9.2f}" for group in "abce" if group in best)
        sizes = f"{side.num_bytes // count:10d}{bytes_quarter[side.name] // count:10d}"
        print(f"({side.group}) {side.name:30s}{rate:9.0f}{ratios}{sizes}")
    ours = {side.name.split(", ")[1]: side for side in sides if side.group == "d"}
    aims = [("none", "a", 30.0), ("none", "b", 2.0), ("none", "c", 8.0), ("none", "e", 0.8), ("lz4", "a", 10.0)]
    for name, group, aim in aims:
        if group in best:
            found = rates[ours[name].name] / best[group]
            ceiling = f"; (e), from memory: {best['e'] / best[group]:.2f}" if group in "bc" else ""
            text = f"(d) {name} at least {aim:g} times the best of ({group}): {found:.2f}{ceiling}"
            print(f"{verdict(found >= aim)} {text}")


def show_sample(folder: Path, out: Path) -> None:
    """Bytes of the twelve images that are there at full size, in the paper's files and in ours at a quarter of it."""
    images = sorted(folder.iterdir())
    whole = sum(size_of(image) for image in images)
    full = [np.stack([np.asarray(Image.open(image / file)) for file in FILES]) for image in images]
    height, width = full[0].shape[1:]
    small = np.stack([resize_area(each, (height // 4, width // 4)) for each in full], axis=1)
    for name, part in (("lz4", 5), ("zstd", 8)):
        keys = [image.name for image in images]
        shard = write_shard(
            out, f"{name}.arrow", "0" * 16, "lip6b", "query", 0, keys, small, Form(small.shape[2:], name)
        )
        where = f"{small.shape[2]}x{small.shape[3]}, {shard.bytes // len(keys)} B/image"
        theirs = f"(a) at {height}x{width}, {whole // len(keys)} B/image"
        found = whole / shard.bytes
        print(f"{verdict(found >= part)} (d) {name} at {where} at most 1/{part} of {theirs}: 1/{found:.2f}")


def verdict(holds: bool) -> str:
    return "holds:      " if holds else "falls short:"


if __name__ == "__main__":
    sys.exit(main())
