"""Pictures a second that an evaluation describes on this machine, beside the bare network: the limit.

    python tests/benchmarks/describing.py --data ../shared/data/lip6
    python tests/benchmarks/describing.py --data ../shared/data/lip6 --arms 64 --size 480 640 --backbone resnet50

`--arms`: every picture is shown through so many masks, as probes of one network are (the masks are read from a cache of
made-up activations at a quarter of the resolution). Pictures are decoded in a first round that is not timed, and kept;
with `--pack` they are read from a pack of pixels. A round is one evaluation of all pictures, `--repeat` times over: a
city has thousands of them, and what it costs to begin and to end is to weigh as much as there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from told import tell

from vprdist.data.layouts import open_layout
from vprdist.data.layouts.msls import read_city
from vprdist.data.pack.making import Wanted, make_pack
from vprdist.data.places import City
from vprdist.distributed.ranks import Ranks, join
from vprdist.distributed.world import World
from vprdist.evaluation.descriptors import BATCH_IMAGES, describe_arms
from vprdist.network.folded import folded
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.model import PlaceNetwork, build_network, set_mode
from vprdist.semantics.importing import import_cache
from vprdist.spec.arms import Arm
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, RunSpec, TrialSpec
from vprdist.spec.vocabulary import STATIC_CLASSES


def make_cache(root: Path, city: City, folder: Path, size: tuple[int, int]) -> Path:
    """Activations that mean nothing, and sum to one."""
    rng = np.random.default_rng(0)
    (folder / "npz").mkdir()
    for side in city.sides:
        share = rng.dirichlet(np.full(19, 0.1), (len(side), *size)).transpose(0, 3, 1, 2)
        values = np.rint(255 * share).astype(np.uint8)
        np.savez(folder / "npz" / f"{city.name}_{side.side}.npz", keys=side.keys, activations=values)
    import_cache(folder / "npz", root, folder / "cache")
    return folder / "cache"


def bare_s(network: PlaceNetwork, size: tuple[int, int], masks: bool, device: torch.device, rounds: int) -> float:
    """Seconds a picture."""
    image = torch.randint(0, 256, (BATCH_IMAGES, *size, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    mask = torch.randint(0, 256, (BATCH_IMAGES, 1, size[0] // 4, size[1] // 4), dtype=torch.uint8, device=device)
    with torch.inference_mode():
        for timed in (False, True):
            begin = time.perf_counter()
            for _ in range(rounds if timed else 2):
                found = network(image, mask if masks else None)
            found.sum().item()
    return (time.perf_counter() - begin) / (rounds * BATCH_IMAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an MSLS tree")
    parser.add_argument("--city", default="lip6a")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 240), help="height and width")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--precision", default="bf16", choices=("float32", "bf16"))
    parser.add_argument("--arms", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3, help="each is the whole city")
    parser.add_argument("--repeat", type=int, default=1, help="so many times, in a round")
    parser.add_argument("--workers", type=int, default=0, help="data loader processes")
    parser.add_argument("--pack", action="store_true", help="from a pack of pixels")
    args = parser.parse_args()
    city, size = read_city(args.data, args.city), tuple(args.size)
    with tempfile.TemporaryDirectory() as folder, join(World(), Path(folder) / "rendezvous.json") as ranks:
        cache = make_cache(args.data, city, Path(folder), (size[0] // 4, size[1] // 4)) if args.arms else None
        values: dict[str, Any] = {"mode": "rgb"}
        if cache is not None:
            values = {"mode": "masked", "cache": str(cache), "classes": tuple(STATIC_CLASSES), "mask_reduce": "sum"}
        pack = Path(folder) / "pack" if args.pack else None
        if pack is not None:
            make_pack(Wanted(open_layout(args.data), (args.city,), size), pack)
        trial = TrialSpec(
            data=DataSpec(root=str(args.data), validate_cities=(args.city,), pack=pack and str(pack)),
            input=InputSpec(**values),
            network=NetworkSpec(backbone=args.backbone, weights="none", unfreeze="0-2"),
            train=TrainSpec(steps=0, image_size=size, batch_norm="frozen", precision=args.precision),
            run=RunSpec(keep_mb=4096, workers=args.workers),
        ).resolved(Digests(dataset="-", cache="-" if cache else None, weights="none"))
        measure(trial, city, args, ranks)


def measure(trial: TrialSpec, city: City, args: argparse.Namespace, ranks: Ranks) -> None:
    num_arms, workers = args.arms, trial.run.workers
    size = trial.train.image_size
    network = build_network(trial, None).to(ranks.device)
    set_mode(network, "frozen", training=False)
    reader = PlaceReader(trial, size, KeptPictures(trial, city.sides, size))
    wanted = [(side, np.tile(np.arange(len(side)), args.repeat)) for side in city.sides]
    subsets = range(1, num_arms + 1)
    arms = [Arm(tuple(c for i, c in enumerate(STATIC_CLASSES) if subset >> i & 1)) for subset in subsets] or None
    describe_arms(network, reader, wanted, arms and arms[:1], ranks)
    begin = time.perf_counter()
    for _ in range(args.rounds):
        describe_arms(network, reader, wanted, arms, ranks, workers)
    took = time.perf_counter() - begin
    count = args.rounds * args.repeat * sum(map(len, city.sides)) * max(1, num_arms)
    bare = bare_s(
        folded(network) if ranks.device.type == "cpu" else network,
        size,
        num_arms > 0,
        ranks.device,
        max(4, min(100, count // BATCH_IMAGES)),
    )
    name = torch.cuda.get_device_name() if ranks.device.type == "cuda" else f"cpu x{torch.get_num_threads()}"
    print(f"{name}, {args.backbone}, {size[0]}x{size[1]}, {trial.train.precision}, {num_arms} arms")
    how = f", {num_arms} masks" * (num_arms > 0) + ", packed" * args.pack + f", {workers} workers" * (workers > 0)
    what = f"pictures described, {args.backbone}, {size[0]}x{size[1]}, {args.precision}{how}"
    tell(what, count / took, "1/s", peer="the bare network", theirs=1 / bare, at_least=0.95)
    print(f"described: {count / took:.0f} a second; the bare network: {1 / bare:.0f}; {count * bare / took:.2f} of it")


if __name__ == "__main__":
    main()
