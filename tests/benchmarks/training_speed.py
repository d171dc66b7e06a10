"""Pairs a second of our training loop beside a plain re-statement of GCL's published one, and beside the bare network.

    python tests/benchmarks/training_speed.py --data ../shared/data/lip6 --steps 4

Every side trains a ResNet50 (random weights, layer3 and layer4 unfrozen) on the same pairs of the same pictures, one
after the other, each in a process of its own:

  plain      the published loop written out: micro-batches of 2, float32, BatchNorm in training mode, one side after
             the other, pictures decoded by PIL in four workers, a value read back from every micro-batch
  reference  our loop, `recipe: reference`: the same arithmetic to the letter
  float32    our loop, BatchNorm frozen, a batch in one piece
  given back the same, but memory is asked for and given back as a Python does by itself (on a CPU)
  ours       `float32` in bfloat16: the same pairs, losses and optimizer as `plain`
  bare       forward and backward of that network alone, on one batch of tensors again and again: the limit of `ours`
  bare32     the same in float32: the limit of `float32`
  compiled   `ours` with `run.compile`: faster than the eager `bare`, or it is of no use (on a GPU)
  one rank   `ours`, one rank pinned to one core;  two ranks: two gloo ranks pinned to a core each (not on a GPU)

Prints precision, batch and threads of every side, pairs a second (the first row left out), peak memory and ratios, and
how far the losses of `reference` are from those of `plain`, and those of `ours` from those of `float32`. On a GPU a
step takes milliseconds, so that a row should be ten: `--size 480 640 --steps 60 --log-steps 10 --workers 8`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from told import tell

from vprdist.machine import HUGE_PAGES, MALLOC_SETTINGS, kept_memory

REPO = Path(__file__).resolve().parents[2]
BATCH = 32
SIDES: dict[str, dict[str, Any]] = {
    "plain": {},
    "reference": {"micro_pairs": 2, "batch_norm": "reference"},
    "float32": {"micro_pairs": BATCH, "batch_norm": "frozen"},
    "given back": {"micro_pairs": BATCH, "batch_norm": "frozen"},
    "ours": {"micro_pairs": BATCH, "batch_norm": "frozen", "precision": "bf16"},
    "compiled": {"micro_pairs": BATCH, "batch_norm": "frozen", "precision": "bf16"},
    "bare": {"precision": "bf16"},
    "bare32": {"precision": "float32"},
}
ROUNDED = (("reference", "plain"), ("ours", "float32"))
"""Sides whose losses differ by rounding alone."""
RATIOS = (
    ("ours", "plain", 2.5), ("float32", "plain", None), ("reference", "plain", None), ("ours", "bare", 0.98),
    ("float32", "bare32", 0.98), ("float32", "given back", None), ("compiled", "bare", 1.0),
)  # fmt: skip
"""A side, what it is compared with, and the least that its pairs a second are to be of that."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared/data/lip6", help="an MSLS tree")
    parser.add_argument("--city", default="lip6a")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 240), help="height and width")
    parser.add_argument("--steps", type=int, default=4, help="of 32 pairs; the first is left out of the time")
    parser.add_argument("--log-steps", type=int, default=1, help="steps between two looks at the clock and the loss")
    parser.add_argument("--workers", type=int, default=0, help="data loader processes of our loop")
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="only these (default: all that fit the device)")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one_side(args)))
        return
    elsewhere = "given back" if shutil.which("nvidia-smi") else "compiled"
    wanted = args.sides or [side for side in SIDES if side != elsewhere]
    rows = {side: start(args, side)[0] for side in wanted}
    if args.sides is None and rows["ours"]["device"] == "cpu":
        cores = sorted(os.sched_getaffinity(0))[:2]
        rows["one rank"] = start(args, "ours", (cores[0],))[0]
        pair = start(args, "ours", tuple(cores))
        rows["two ranks"] = {**pair[0], "pairs_per_s": min(row["pairs_per_s"] for row in pair)}
    show(rows, args)


def start(args: argparse.Namespace, side: str, cores: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """Run a side: in one process on all cores, or as a rank a core."""
    with tempfile.TemporaryDirectory(prefix="vprdist-speed-") as folder:
        common = [sys.executable, __file__, "--side", side, "--data", str(args.data), "--city", args.city]
        common += ["--size", *map(str, args.size), "--steps", str(args.steps), "--workers", str(args.workers)]
        common += ["--log-steps", str(args.log_steps), "--folder", folder]
        ranks = [["--rank", str(i), "--world", str(len(cores)), "--core", str(c)] for i, c in enumerate(cores)] or [[]]
        begun = [subprocess.Popen([*common, *rank], stdout=subprocess.PIPE, text=True, cwd=REPO) for rank in ranks]
        said = [process.communicate()[0] for process in begun]
        assert all(process.returncode == 0 for process in begun), side
    return [json.loads(text.splitlines()[-1]) for text in said]


def one_side(args: argparse.Namespace) -> dict[str, Any]:
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    threads = len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ[HUGE_PAGES] = "1"
    if args.side in ("plain", "given back"):
        os.environ |= {HUGE_PAGES: "0", **dict.fromkeys(MALLOC_SETTINGS, "")}  # nothing of ours is done
    import torch

    from vprdist.distributed.ranks import pick_device

    torch.set_num_threads(threads)
    device = pick_device(args.rank)
    run = {"plain": plain, "bare": bare, "bare32": bare}.get(args.side, ours)
    with kept_memory(device.type):
        step_s, losses = run(args, device)
    on_gpu = device.type == "cuda"
    return {
        "pairs_per_s": BATCH * (len(step_s) - 1) / sum(step_s[1:]),
        "losses": losses,
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "peak_mb": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else _resident_mb(),
    }


def _resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_trial(args: argparse.Namespace) -> Any:
    from vprdist.spec.data import DataSpec
    from vprdist.spec.network import NetworkSpec
    from vprdist.spec.recipes import REFERENCE
    from vprdist.spec.train import TrainSpec
    from vprdist.spec.trial import Digests, RunSpec, TrialSpec

    recipe = {**REFERENCE, **SIDES[args.side], "image_size": tuple(args.size), "steps": args.steps, "chunked": False}
    trial = TrialSpec(
        data=DataSpec(root=str(args.data), train=(args.city,)),
        network=NetworkSpec(backbone="resnet50", weights="none", unfreeze="0-2"),
        train=TrainSpec(**recipe),
        run=RunSpec(log_steps=args.log_steps, workers=args.workers, checkpoint_s=1e9, compile=args.side == "compiled"),
    )
    return trial.resolved(Digests(dataset="-", cache=None, weights="none"))


def ours(args: argparse.Namespace, device: Any) -> tuple[list[float], dict[int, float]]:
    from vprdist.data.graph import city_graph
    from vprdist.data.layouts.msls import read_city
    from vprdist.distributed.ranks import join
    from vprdist.distributed.world import World
    from vprdist.network.inputs import KeptPictures, PlaceReader
    from vprdist.network.model import build_network
    from vprdist.training.loop import Trainer

    trial, city = make_trial(args), read_city(args.data, args.city)
    kept = KeptPictures(trial, city.sides, trial.train.image_size)
    rows: list[dict[str, Any]] = []
    world = World(rank=args.rank, world_size=args.world, local_rank=args.rank)
    with join(world, args.folder / "rendezvous.json") as ranks:
        reader = PlaceReader(trial, trial.train.image_size, kept)
        graphs = [city_graph(city, trial.data)]
        network = build_network(trial, None).to(device)
        Trainer(trial, network, [city], graphs, reader, ranks, args.folder, rows.append).run()
    train = [row for row in rows if row["kind"] == "train"]
    return [BATCH / row["pairs_per_s"] for row in train], {row["step"]: row["loss"] for row in train}


def plain(args: argparse.Namespace, device: Any) -> tuple[list[float], dict[int, float]]:
    """The published loop, written out for this benchmark."""
    import torch
    from PIL import Image
    from torchvision import transforms

    from vprdist.data.graph import city_graph
    from vprdist.data.layouts.msls import read_city
    from vprdist.data.pairs import PairSampler, PairStream
    from vprdist.network.model import build_network

    args = argparse.Namespace(**{**vars(args), "side": "reference"})
    trial, city = make_trial(args), read_city(args.data, args.city)
    network = build_network(trial, None).to(device, memory_format=torch.contiguous_format).train()
    torch.backends.cudnn.allow_tf32 = False  # as ours: float32
    units, pool = torch.nn.Sequential(*network.units.values()), network.pool
    pairs = PairStream(PairSampler([city_graph(city, trial.data)], 0, 10_000)).take(0, BATCH * args.steps)
    prepare = transforms.Compose(
        [
            transforms.Resize(trial.train.image_size),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(pairs)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, float]:
            query = Image.open(city.query.image_path(int(pairs.query[i]))).convert("RGB")
            partner = Image.open(city.database.image_path(int(pairs.database[i]))).convert("RGB")
            return prepare(query), prepare(partner), float(pairs.similarity[i])

    def describe(image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(pool(units(image)))

    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    times, losses, clock = [], {}, time.perf_counter()
    batches = torch.utils.data.DataLoader(Pictures(), BATCH, num_workers=4)
    for step, batch in enumerate(batches, 1):
        query, partner, similarity = (part.to(device) for part in batch)
        total = 0.0
        for j in range(0, BATCH, 2):
            part = slice(j, j + 2)
            x, y, s = describe(query[part]), describe(partner[part]), similarity[part].float()
            distance = torch.nn.functional.pairwise_distance(x, y)
            loss = s * 0.5 * distance**2 + (1 - s) * 0.5 * torch.clamp(0.5 - distance, min=0) ** 2
            _ = (loss == 0).sum().item() / len(loss)
            error = loss.mean() / (BATCH // 2)
            error.backward()
            total += error.item()
        optimizer.step()
        optimizer.zero_grad()
        losses[step] = total
        if step % args.log_steps == 0:
            times.append((time.perf_counter() - clock) / args.log_steps)
            clock = time.perf_counter()
    return times, losses


def bare(args: argparse.Namespace, device: Any) -> tuple[list[float], dict[int, float]]:
    """Forward and backward of the network on the images of one step, that are tensors already."""
    import torch

    from vprdist.network.model import build_network, set_mode

    trial = make_trial(args)
    network = build_network(trial, None).to(device)
    set_mode(network, "frozen", training=True)
    torch.backends.cudnn.allow_tf32 = False
    size = (2 * BATCH, *trial.train.image_size, 3)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    times = []
    for _ in range(args.steps // args.log_steps):
        clock = time.perf_counter()
        for _ in range(args.log_steps):
            value = network(images).sum()
            value.backward()
        value.item()
        times.append((time.perf_counter() - clock) / args.log_steps)
    return times, {}


def show(rows: dict[str, dict[str, Any]], args: argparse.Namespace) -> None:
    timed = args.steps - args.log_steps
    print(f"ResNet50, layer3 and layer4 trained, {args.size[0]}x{args.size[1]}, {timed} timed steps of {BATCH} pairs")
    print(f"on {next(iter(rows.values()))['device']}")
    print(f"{'side':<10} {'precision':>9} {'micro':>5} {'threads':>7} {'pairs/s':>8} {'peak MB':>8}")
    for name, row in rows.items():
        recipe = SIDES.get(name, SIDES["ours"])
        precision, micro = (
            recipe.get("precision", "float32"),
            recipe.get("micro_pairs", 2 if name == "plain" else BATCH),
        )
        if name == "two ranks":
            micro //= 2
        numbers = f"{row['threads']:>7} {row['pairs_per_s']:>8.2f} {row['peak_mb']:>8.0f}"
        print(f"{name:<10} {precision:>9} {micro:>5} {numbers}")
    rate = {name: row["pairs_per_s"] for name, row in rows.items()}
    for side, other, aim in RATIOS:
        if side in rate and other in rate:
            said = "" if aim is None else f"   (aim {aim:g})"
            print(f"{f'{side} / {other}':<31} {rate[side] / rate[other]:.2f}{said}")
            what = f"training, {side}, ResNet50, {args.size[0]}x{args.size[1]}"
            tell(what, rate[side], "pairs/s", peer=other, theirs=rate[other], at_least=aim)
    if "two ranks" in rate:
        print(f"two ranks / twice one rank      {rate['two ranks'] / (2 * rate['one rank']):.2f}   (aim 0.9)")
    # Under `frozen` BatchNorm is another function than in `plain`: what bfloat16 costs is seen beside float32.
    for side, other in ROUNDED:
        if side not in rows or other not in rows:
            continue
        known = rows[other]["losses"]
        apart = [abs(loss - known[step]) / known[step] for step, loss in rows[side]["losses"].items()]
        print(f"loss of {side} against {other}, step by step: {', '.join(f'{100 * value:.2g} %' for value in apart)}")


if __name__ == "__main__":
    main()
