"""How long `recipe: fast` takes to be as good as `recipe: reference` after a fixed number of steps.

    python tests/benchmarks/recipes.py demo --steps 100
    python tests/benchmarks/recipes.py lip6 --steps 100 --fast lr=0.0002

Trains both recipes with three seeds each on the same pictures, backbone, size and threads, one after the other, and
evaluates them on the way. Prints the mean R@5 of the seeds at every evaluation with the seconds of training it took,
and the ratio of the times: the first evaluation at which the mean of the fast recipe is at least the reference's final
mean, beside the reference's whole training. Time is that of training alone, evaluations left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml
from told import tell

from vprdist.data.layouts import dataset_digest
from vprdist.distributed.world import World
from vprdist.files import digest_file
from vprdist.spec.computation import COMPUTATION
from vprdist.spec.data import DataSpec
from vprdist.spec.demo import DemoSpec
from vprdist.spec.doors import BackboneName
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.recipes import RECIPES
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, RunSpec, TrialSpec
from vprdist.training.run import run_trial

REPO = Path(__file__).resolve().parents[2]
BACKBONE = "efficientnet_lite0"
Point = tuple[int, float, float]
"""Step, seconds of training, R@5."""
Curve = list[Point]
SIZES = {"demo": (96, 128), "lip6": (96, 120)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["demo", "lip6"])
    parser.add_argument("--lip6", type=Path, default=REPO.parent / "shared/data/lip6")
    parser.add_argument("--steps", type=int, default=100, help="of the reference")
    parser.add_argument("--fast-steps", type=int, help="of the fast recipe (default: half of the reference's)")
    parser.add_argument("--every", type=int, default=10, help="steps between two evaluations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--unfreeze", default="0-4")
    parser.add_argument("--sides", nargs="+", default=["reference", "fast"])
    parser.add_argument("--fast", nargs="*", default=[], help="key=value of trial.train, laid over the fast recipe")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix="vprdist-recipes-") as folder:
        data = prepared(args, Path(folder))
        curves = {side: [train(side, seed, data, args, Path(folder)) for seed in args.seeds] for side in args.sides}
    show(curves, args)


def prepared(args: argparse.Namespace, folder: Path) -> DataSpec:
    if args.data == "lip6":
        return DataSpec(root=str(args.lip6), train=("lip6a",), validate_cities=("lip6b",))
    from vprdist.demo import make

    spec = DemoSpec()
    make(spec, folder / "city")
    return DataSpec(root=str(folder / "city"), train=spec.train, validate_cities=spec.validate_cities)


def train(side: str, seed: int, data: DataSpec, args: argparse.Namespace, folder: Path) -> Curve:
    """A point for every evaluation."""
    steps = args.steps if side == "reference" else args.fast_steps or args.steps // 2
    own: dict[str, Any] = {}
    if side == "fast":
        for word in args.fast:
            own.update(yaml.safe_load(word.replace("=", ": ", 1)))
    trial = TrialSpec(
        data=data,
        network=NetworkSpec(backbone=BACKBONE, unfreeze=args.unfreeze),
        train=TrainSpec(**{**RECIPES[side], "image_size": SIZES[args.data], "steps": steps, **own}),
        evaluate=EvaluateSpec(before_training=False),
        run=RunSpec(evaluate_steps=args.every, log_steps=args.every),
        seed=seed,
    )
    weights = digest_file(BackboneName.of(BACKBONE).make().find_weights(), 16)
    cities = (*data.train, *data.validate_cities)
    dataset = dataset_digest(data, cities)
    trial = trial.resolved(Digests(dataset=dataset, cache=None, weights=weights, computation=COMPUTATION))
    place = folder / "runs" / "trials" / f"{side}-{seed}"
    run_trial(trial, place, World(num_threads=args.threads))
    rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    seconds = {row["step"]: row["train_s"] for row in rows if row["kind"] == "train"}
    curve = [(row["step"], seconds[row["step"]], row["recall@5"]) for row in rows if row["kind"] == "evaluate"]
    print(f"{side} seed {seed}: " + "  ".join(f"{step}: {recall:.3f}" for step, _, recall in curve), flush=True)
    return curve


def mean(points: tuple[Point, ...]) -> Point:
    """The mean of the seeds, at one step."""
    return points[0][0], fmean(seconds for _, seconds, _ in points), fmean(recall for _, _, recall in points)


def show(curves: dict[str, list[Curve]], args: argparse.Namespace) -> None:
    means = {
        side: [
            (each[0][0], fmean(s for _, s, _ in each), fmean(r for _, _, r in each)) for each in zip(*runs, strict=True)
        ]
        for side, runs in curves.items()
    }
    for side, points in means.items():
        print(f"{side}: step, seconds, mean R@5 of {len(args.seeds)} seeds")
        for step, seconds, recall in points:
            print(f"  {step:>5} {seconds:>8.1f} {recall:>7.3f}")
    if len(means) == 2:
        _, whole, final = means["reference"][-1]
        reached = next((point for point in means["fast"] if point[2] >= final), None)
        if reached is None:
            tell("recipe fast", means["fast"][-1][2], "R@5", peer="recipe reference", theirs=final, at_least=1)
            print(f"fast never reached the reference's final mean R@5 of {final:.3f}")
        else:
            print(f"the reference's final mean R@5, {final:.3f}, took it {whole:.1f} s and fast {reached[1]:.1f} s")
            tell("recipe fast", reached[1], "s", peer="recipe reference", theirs=whole, at_most=0.33)
            print(f"fast / reference  {reached[1] / whole:.2f}   (aim 0.33)")


if __name__ == "__main__":
    main()
