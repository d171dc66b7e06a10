"""How long it takes to evaluate one network under all subsets of the ten static classes, by inference alone.

    python tests/benchmarks/probing.py --runs /tmp/runs
    python tests/benchmarks/probing.py --runs /tmp/runs --placebos       three placebos of every subset too

One city of the demo, about a hundred pictures of 96x128; a process a core. Prints the wall time of all probes, and the
share of it that is the network alone: the same batches of 32 without reading a mask or searching a gallery.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from one_network import network_orders, run_sweep
from told import tell

from vprdist.network.folded import folded
from vprdist.probes.read import reports
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.trained import trained_network

BATCHES = 20


def bare_s(trial: Path) -> float:
    """Seconds a picture of the network alone, one thread."""
    torch.set_num_threads(1)
    spec = TrialFolder(trial).trial()
    network = folded(trained_network(spec, trial))
    height, width = spec.train.image_size
    images = torch.randint(0, 255, (32, 3, height, width), dtype=torch.uint8).to(memory_format=torch.channels_last)
    masks = torch.randint(0, 255, (32, 1, height, width), dtype=torch.uint8)
    with torch.inference_mode():
        network(images, masks)
        begin = time.perf_counter()
        for _ in range(BATCHES):
            network(images, masks)
    return (time.perf_counter() - begin) / (BATCHES * len(images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--placebos", action="store_true")
    args = parser.parse_args()
    runs = args.runs.resolve()
    name = "probing_placebos" if args.placebos else "probing"
    content = {
        "name": name,
        "scale": "demo",
        "trial": {
            "data": {"demo": {"streets": 2, "seed": 3}, "validate": ["dogwood"]},
            "input": {"mode": "masked"},
            "train": {"steps": 0},
        },
        "search": {
            "searcher": "one_network",
            "subsets": {
                "classes": "static",
                "finalists": 0,
                "placebos": ["random", "image", "classes"] if args.placebos else [],
            },
        },
        "cluster": "local",
    }
    begin = time.perf_counter()
    folder = run_sweep(runs, content)
    wall = time.perf_counter() - begin
    [order] = network_orders(runs, folder)
    parts = reports(order)
    pictures, seconds = parts[0].num_pictures, sum(part.seconds for part in parts)
    probes = sum(len(part.probes) for part in parts)
    bare = bare_s(Path(order.trial)) * pictures * probes
    print(
        f"{probes} probes of {pictures} pictures: {seconds:.0f} core-seconds, {1e3 * seconds / probes:.1f} ms a probe"
    )
    tell(f"{probes} probes of {pictures} pictures", seconds, "core-s", peer="the network alone", theirs=bare)
    print(f"the network alone: {bare:.0f} core-seconds, {bare / seconds:.2f} of it")
    print(f"the whole sweep (with the making of the city, if it was not there): {wall:.0f} s of wall time")


if __name__ == "__main__":
    main()
