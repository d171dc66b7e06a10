"""Pictures from files, from a pack of files as they are, and from a pack of pixels: how fast, and how many files.

    python tests/benchmarks/packed_pictures.py --pictures 1500 --rounds 3

JPEGs of 480x640 (noise on smooth colours, quality 88) in one city, brought to --image-size. The sides take turns in
one process of one thread each, in a random order of pictures, the same for all:

  files    `load_image` of each file
  bytes    a pack of the files' bytes: decoded as well
  pixels   a pack of decoded pixels

`cold` drops each side's own files from the page cache before each round (posix_fadvise; a file system that does not
honour it shows as warm), `warm` reads what the round before left there, in a process that maps it for the first time;
`again` is a second pass of the same process. The best round counts, in pictures a second: of wall time where cold, of
CPU time otherwise, since somebody else may use the machine too. What it takes to open a pack is told apart.

`opens` are the pictures and shards that one pass opens, and looks at by name, counted by strace where it is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from told import tell

from tests.worlds import write_side
from vprdist.data.images import load_image
from vprdist.data.layouts import open_layout
from vprdist.data.pack import PictureSource
from vprdist.data.pack.making import Wanted, make_pack
from vprdist.data.places import Side
from vprdist.spec.computation import COMPUTATION

SIDES = ("files", "bytes", "pixels")
STATES = ("cold", "warm", "again")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image-size", type=int, nargs=2, default=(480, 640))
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--only", choices=SIDES, help=argparse.SUPPRESS)  # the process whose files are counted
    args = parser.parse_args()
    size = (args.image_size[0], args.image_size[1])
    if args.only:
        one_pass(source(args.only, args.folder, size), side_of(args.folder))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_tree(folder / "tree", args.pictures)
        for word in SIDES[1:]:
            begin = time.perf_counter()
            made = make_pack(
                Wanted(open_layout(folder / "tree"), ("aa",), size if word == "pixels" else None), folder / word
            )
            seconds, total = time.perf_counter() - begin, sum(shard.bytes for shard in made.shards)
            print(
                f"packed {word}: {made.num_pictures / seconds:.0f} pictures/s, {len(made.shards)} files, "
                f"{total / 1e6:.0f} MB ({sum(path.stat().st_size for path in pictures(folder)) / 1e6:.0f} MB of files)"
            )
        measured(folder, size, args.rounds)
        counted(folder, size)


def write_tree(root: Path, count: int) -> None:
    """A city whose database has the pictures."""
    rng, folder = np.random.default_rng(0), root / "train_val" / "aa"
    keys = [f"d{row:05}" for row in range(count)]
    write_side(folder / "database", keys, [(10.0 * row, 0.0) for row in range(count)], images=False)
    write_side(folder / "query", ["q"], [(0.0, 0.0)])
    for key in keys:
        coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8)).resize(
            (640, 480), Image.Resampling.BICUBIC
        )
        pixels = (np.asarray(coarse).astype(int) + rng.integers(-6, 7, (480, 640, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "database" / "images" / f"{key}.jpg", quality=88)


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "tree").rglob("database/images/*.jpg"))


def side_of(folder: Path) -> Side:
    return open_layout(folder / "tree").read("aa").database


def source(word: str, folder: Path, size: tuple[int, int]) -> PictureSource:
    return PictureSource(load_image, size, COMPUTATION, None if word == "files" else str(folder / word))


def one_pass(read: PictureSource, side: Side, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of all pictures, each copied as a network's batch copies it."""
    rows = np.random.default_rng(1).permutation(len(side)).tolist()
    read.packed(side)  # opens what is to be opened
    begin = clock()
    for row in rows:
        read.load(side, row).copy()
    return clock() - begin


def dropped(paths: list[Path]) -> None:
    """Asks the kernel to forget the pages of files that nobody maps."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measured(folder: Path, size: tuple[int, int], rounds: int) -> None:
    side, best = side_of(folder), dict[tuple[str, str], float]()
    for _ in range(rounds):
        for word in SIDES:
            # Pages that are mapped stay: the shards are opened by a new process for each round.
            files = pictures(folder) if word == "files" else sorted((folder / word / "shards").iterdir())
            dropped(files)

            def timed(word: str = word) -> list[float]:
                read = source(word, folder, size)
                return [one_pass(read, side, time.process_time) for _ in range(2)]

            found = in_child(lambda word=word: [one_pass(source(word, folder, size), side)]) + in_child(timed)
            for state, seconds in zip(STATES, found, strict=True):
                best[word, state] = min(best.get((word, state), float("inf")), seconds)
    (seconds,) = in_child(lambda: [opening(folder, size, side)])
    print(f"a pack is opened in {seconds:.2f} s, once a process")
    for state in STATES:
        of_files = best["files", state]
        rates = (f"{word} {len(side) / best[word, state]:.0f} ({of_files / best[word, state]:.2f})" for word in SIDES)
        for word in SIDES[1:]:
            rate = len(side) / best[word, state]
            tell(f"pictures from a pack of {word}, {state}", rate, "1/s", peer="files", theirs=len(side) / of_files)
        print(f"{state}, pictures/s (times files): {', '.join(rates)}")


def opening(folder: Path, size: tuple[int, int], side: Side) -> float:
    """CPU seconds, pyarrow's import with them."""
    begin = time.process_time()
    source("pixels", folder, size).packed(side)
    return time.process_time() - begin


def in_child(work: Callable[[], list[float]]) -> list[float]:
    """What a forked process answers."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.write(writing, " ".join(map(str, work())).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        return [float(word) for word in stream.read().split()]


def counted(folder: Path, size: tuple[int, int]) -> None:
    if shutil.which("strace") is None:
        print("opens: no strace here")
        return
    for word in SIDES:
        log = folder / f"{word}.strace"
        command = [sys.executable, __file__, "--only", word, "--folder", str(folder), "--image-size", *map(str, size)]
        subprocess.run(
            ["strace", "-f", "-e", "trace=open,openat,stat,newfstatat", "-o", str(log), *command], check=True
        )
        lines = [line for line in log.read_text().splitlines() if str(folder) in line and "ENOENT" not in line]
        opens = [line for line in lines if "open" in line.split("(")[0]]
        images = sum("/images/" in line for line in opens)
        shards = sum("/shards/" in line for line in opens)
        stats = sum("/images/" in line or "/shards/" in line for line in lines) - images - shards
        print(f"opens of {word}: {images} pictures, {shards} shards; {stats} looks at one by name")


if __name__ == "__main__":
    main()
