"""Pictures a second that DeepLabV3+ (ResNet101) segments on this machine, and what MSLS would take.

    python tests/benchmarks/segmentation.py --data ../shared/data/lip6     every stride and precision of the device
    python tests/benchmarks/segmentation.py --pictures 16                  fewer, and without files

Seeded weights, 480x640, the batches of a builder of caches. `network`: pictures of noise that are in memory, with the
way to the device and of the activations back. `files`: what a builder reads and writes but for the shards themselves,
pictures decoded while the network works on those before. A first batch is left out.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from told import tell

from tests.worlds import write_deeplab
from vprdist.data.layouts import open_layout
from vprdist.data.layouts.msls import read_city
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.sources.segmented import BATCH_IMAGES, SegmentedSource, segment
from vprdist.spec.segmenter import SegmenterSpec

IMAGES = {"the paper's seven cities": 140_000, "all of MSLS": 1_600_000}


def of_network(spec: SegmenterSpec, device: str, count: int) -> float:
    """Pictures a second from memory to memory."""
    segmenter = open_segmenter(spec, device)
    images = np.random.default_rng(0).integers(0, 256, (BATCH_IMAGES, 480, 640, 3), np.uint8)
    segment(segmenter, images)
    rounds, begin = -(-count // BATCH_IMAGES), time.perf_counter()
    for _ in range(rounds):
        segment(segmenter, images)
    return BATCH_IMAGES * rounds / (time.perf_counter() - begin)


def of_files(spec: SegmenterSpec, device: str, root: Path, city: str, count: int) -> float:
    """Pictures a second from JPEGs, one side of a city."""
    keys = list(map(str, read_city(root, city).database.keys))[: count + BATCH_IMAGES]
    found = SegmentedSource(open_layout(root), spec, device).read(city, "database", keys)
    list(itertools.islice(found, BATCH_IMAGES))
    begin = time.perf_counter()
    rest = sum(1 for _ in found)
    return rest / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="an MSLS tree")
    parser.add_argument("--city", default="lip6a")
    parser.add_argument("--pictures", type=int, default=256, help="of each side")
    args = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device, name = ("cuda", torch.cuda.get_device_name()) if on_gpu else ("cpu", "one core of this CPU")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        write_deeplab(weights)
        print(f"{name}, torch {torch.__version__}, batches of {BATCH_IMAGES}")
        hours = " | ".join(f"hours for {who}" for who in IMAGES)
        print(f"stride | precision | network: pictures/s | files: pictures/s | {hours}")
        # Random weights reach beyond float16, which is as fast as bfloat16.
        for stride, precision in itertools.product((16, 8), ("float32", "bfloat16") if on_gpu else ("float32",)):
            spec = SegmenterSpec(name="deeplabv3plus", weights=str(weights), output_stride=stride, precision=precision)
            alone = rate = of_network(spec, device, args.pictures)
            if args.data is not None:
                rate = of_files(spec, device, args.data, args.city, args.pictures)
            if args.data is not None:
                what = f"pictures segmented from files, stride {stride}, {precision}"
                tell(what, rate, "1/s", peer="the network alone", theirs=alone)
            else:
                tell(f"pictures segmented, stride {stride}, {precision}", alone, "1/s")
            took = " | ".join(f"{count / rate / 3600:.2f}" for count in IMAGES.values())
            files = f"{rate:.1f}" if args.data is not None else "-"
            print(f"{stride} | {precision} | {alone:.1f} | {files} | {took}", flush=True)


if __name__ == "__main__":
    main()
