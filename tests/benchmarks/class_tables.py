"""Caches of 150 classes, dense and with the largest activations of each pixel: bytes, what is dropped, masks a second.

    python tests/benchmarks/class_tables.py --data ../shared/data

There are no real activations of 150 classes here. They are made of lip6's real ones (96x120, 19 classes): each class is
split into eight at most, by a smooth random share at every pixel, so that edges, sureness and the number of classes
that a pixel doubts between are those of real activations, and more of them. One core, images in random order, page
cache warm, the best of some rounds. All masks are of the parts of the ten static classes, and dense ones and those of
top 150 are compared bit for bit before they are timed. As it is called above it takes about half a minute of a free
core; larger sizes, more rounds, other K, zstd and top 150, which takes longest, are asked for:

    python tests/benchmarks/class_tables.py --top-k 150 16 8 4 --compression none lz4 zstd --rounds 5
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[pool] = "1"

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from told import tell  # noqa: E402

from vprdist.data.layouts.msls import read_city  # noqa: E402
from vprdist.semantics.importing import import_cache  # noqa: E402
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES  # noqa: E402

PARTS = 8
NAMES = tuple(f"{name} {part}" for name in CLASSES for part in range(PARTS))[:150]
CHOSEN = tuple(name for name in NAMES if name.rpartition(" ")[0] in STATIC_CLASSES)


def split(image_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(150, H, W): each class's activation among its parts, whole numbers that sum to about it."""
    classes, height, width = image_CHW.shape
    knots = rng.gamma(0.3, size=(classes * PARTS, 4, 5)).astype(np.float32)
    smooth = [np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BILINEAR)) for each in knots]
    share = np.stack(smooth).reshape(classes, PARTS, height, width) + 1e-6
    share /= share.sum(axis=1, keepdims=True)
    found = np.round(image_CHW[:, None] * share).astype(np.uint8).reshape(-1, height, width)
    return found[: len(NAMES)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--size", type=int, nargs=2, default=(48, 60), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--top-k", type=int, nargs="+", default=(8,), help="beside dense ones")
    parser.add_argument("--compression", nargs="+", default=("none", "lz4"))
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    root, rng = args.data / "lip6", np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="vprdist-tables-") as base:
        source = Path(base) / "source"
        source.mkdir()
        for side in read_city(root, "lip6b").sides:
            name = f"lip6b_{side.side}.npz"
            with np.load(args.data / "lip6_semantics" / name) as archive:
                values = np.stack([split(image, rng) for image in archive["activations"]])
                np.savez(source / name, keys=archive["keys"], activations=values, classes=np.array(NAMES))
        truth: list[np.ndarray] = []
        dense: dict[str, float] = {}
        for top_k in (None, *args.top_k):
            for compression in args.compression:
                out = Path(base) / f"{top_k}-{compression}"
                cache = import_cache(
                    source, root, out, ["lip6b"], size=tuple(args.size), compression=compression, top_k=top_k
                )
                keys = [(s, key) for s in ("query", "database") for key in cache.keys("lip6b", s)]
                masks = [cache.mask("lip6b", side, key, CHOSEN, "sum") for side, key in keys]
                truth = truth or masks
                if top_k in (None, 150):
                    assert all((a == b).all() for a, b in zip(masks, truth, strict=True))
                worst = max(float(np.abs(a - b).max()) for a, b in zip(masks, truth, strict=True))
                best = 0.0
                for turn in range(args.rounds):
                    random.Random(turn).shuffle(keys)
                    begin = time.process_time()
                    for side, key in keys:
                        cache.levels("lip6b", side, key, CHOSEN, "sum")
                    best = max(best, len(keys) / (time.process_time() - begin))
                fastest = dense.setdefault(compression, best)
                if top_k is not None:
                    what = f"masks of 150 classes, top {top_k}, {compression}"
                    tell(what, best, "1/s", peer="all activations stored", theirs=fastest)
                size = sum(entry.bytes for entry in cache.manifest.shards) // len(keys)
                dropped = cache.dropped()
                told = (
                    "" if dropped is None else f"{100 * dropped.share:.3f} % dropped, a mask off by {worst:.3f} at most"
                )
                print(f"top_k {top_k!s:5} {compression:5} {size:8} B/image {best:9.0f} masks/s  {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
