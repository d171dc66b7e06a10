"""All subsets from one pass: wall time and memory, beside pooling under each mask from features that are kept.

    python tests/benchmarks/pooled_subsets.py                        # 302 pictures, and MSLS' 740 x 18,871
    python tests/benchmarks/pooled_subsets.py --world large --full   # every one of the 1,024 subsets

Sums are made up: 2,048 channels of 19 classes, as a ResNet50 with GeM has them. Subsets are of ten classes; of the
large world some are measured, and all are extrapolated, unless --full asks for them. `each` pools features of 15 x 20
places under each mask (30 pictures, extrapolated), without the network's pass, which comes on top: once for `pooled`,
once for every subset otherwise. Each world and number of threads is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from told import tell

from vprdist.evaluation.retrieve import retrieve
from vprdist.network.aggregators.gem import GeM
from vprdist.probes.pooled import Pooled, neighbours_on
from vprdist.probes.sums import Sums
from vprdist.spec.arms import Arm
from vprdist.spec.vocabulary import CLASSES

WORLDS = {"small": (151, 151), "large": (740, 18_871)}
"""Queries and database pictures."""
CHANNELS, PLACES, PLAYERS, DEPTH = 2048, (15, 20), CLASSES[:10], 20


class Made:
    """What `Pooled` asks of a network: the aggregator, and unit length."""

    def __init__(self) -> None:
        self.pool, self.dimensions = GeM(CHANNELS).requires_grad_(False), CHANNELS

    def parameters(self) -> Any:
        return self.pool.parameters()

    def from_sums(self, sums_BM: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.pool.from_sums(sums_BM), dim=1)


@dataclass(frozen=True)
class MadeSide:
    """What `Sums` asks of a side."""

    side: str
    keys: np.ndarray
    city: str = "x"

    def __len__(self) -> int:
        return len(self.keys)


def sums_in(folder: Path, world: str) -> Sums:
    """The sums of a world's pictures, queries first."""
    counts = zip(("query", "database"), WORLDS[world], strict=True)
    wanted: Any = [(MadeSide(side, np.arange(count).astype(str)), np.arange(count)) for side, count in counts]
    return Sums(folder, wanted, CLASSES, CHANNELS + 1, ("none",))


def write_world(folder: Path, world: str) -> Sums:
    """Sums of pictures; each query's are those of a database picture, changed by a tenth."""
    sums, (queries, database) = sums_in(folder, world), WORLDS[world]
    for block in sums.blocks:
        values = np.empty((len(CLASSES), len(block), CHANNELS + 1), np.float32)
        for at, place in enumerate(block):
            original = place if place >= queries else queries + place % database
            values[:, at] = np.random.default_rng(original).random((len(CLASSES), CHANNELS + 1), np.float32) ** 4
            if place < queries:
                values[:, at] *= 1 + 0.1 * np.random.default_rng(place).random(CHANNELS + 1, np.float32)
        sums.write(block, "none", values)
    return sums


def arms_of(count: int) -> list[Arm]:
    """Subsets of ten classes, spread over all 1,024."""
    chosen = np.linspace(1, 2 ** len(PLAYERS) - 1, count).astype(int)
    return [Arm(tuple(name for bit, name in enumerate(PLAYERS) if subset >> bit & 1)) for subset in chosen]


def measure(folder: Path, world: str, count: int) -> dict[str, float]:
    """Seconds of one subset: of its descriptors, and of what they retrieve; and the peak memory of the process."""
    sums, (queries, _) = sums_in(folder, world), WORLDS[world]
    network: Any = Made()
    pooled, near = Pooled(network, sums, 0), neighbours_on(torch.device("cpu"))
    begin, searching = time.perf_counter(), 0.0
    for each in pooled.descriptors(arms_of(count)):
        at = time.perf_counter()
        retrieve(each.values_ND[:queries], each.values_ND[queries:], DEPTH, neighbours=near)
        searching += time.perf_counter() - at
    total = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"describing": (total - searching) / count, "searching": searching / count, "peak": peak}


@torch.inference_mode()
def pool_each(pictures: int) -> float:
    """Seconds that pooling features under one mask takes a picture."""
    features = torch.rand(pictures, CHANNELS, *PLACES).contiguous(memory_format=torch.channels_last)
    weights, pool = torch.rand(pictures, 1, *PLACES), GeM(CHANNELS)
    pool(features, weights=weights)
    begin = time.perf_counter()
    for _ in range(3):
        pool(features, weights=weights)
    return (time.perf_counter() - begin) / 3 / pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--world", choices=[*WORLDS, "both"], default="both")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--subsets", type=int, default=12, help="of the large world")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        torch.set_num_threads(int(args.one[2]))
        found = measure(args.folder, args.one[0], int(args.one[1]))
        print(json.dumps(found | {"each": pool_each(30)}))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for world in WORLDS if args.world == "both" else [args.world]:
            here = Path(folder) / world
            sums = write_world(here, world)
            size = sum(path.stat().st_size for path in here.iterdir()) / 1e9
            count = 1023 if args.full or world == "small" else args.subsets
            print(f"{world}: {sums.num_pictures} pictures, sums of {size:.2f} GB; {count} subsets measured", flush=True)
            for threads in args.threads:
                words = [sys.executable, __file__, "--folder", str(here), "--one", world, str(count), str(threads)]
                environment = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
                done = subprocess.run(words, env=environment | _path(), stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout)
                each = found["each"] * sums.num_pictures
                one = found["describing"] + found["searching"]
                what = f"a subset's descriptors from sums, {world}, {threads} threads"
                tell(what, found["describing"], "s", peer="pooling under each mask", theirs=each)
                print(
                    f"  {threads} thread(s): {found['describing']:.3f} s descriptors + {found['searching']:.3f} s "
                    f"search a subset; all 1,024 in {1024 * one / 60:.1f} min; peak {found['peak']:.2f} GB; pooling "
                    f"under each mask {each:.2f} s: {each / found['describing']:.0f} times as long",
                    flush=True,
                )


def _path() -> dict[str, str]:
    import os

    return {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "HOME") if key in os.environ}


if __name__ == "__main__":
    main()
