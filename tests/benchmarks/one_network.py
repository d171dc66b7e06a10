"""Does one network rank subsets of classes as networks do that are trained on each subset alone, and at which cost?

    python tests/benchmarks/one_network.py --runs /tmp/runs             all of it: some 100 trainings, about an hour
    python tests/benchmarks/one_network.py --runs /tmp/runs --cost      the cost of both sides alone, minutes
    python tests/benchmarks/one_network.py --runs /tmp/runs --pooled    one pass alone, a third of an hour a seed

The truth: all 31 subsets of five groups of classes, trained on their own on the demo city, three seeds. Beside it: one
network for all subsets (with and without placebos in its training, and one of twice the steps), the untrained network
under every mask, the same with masks at the features, where one pass over the pictures gives all subsets (`pooled`),
and what leave-one-out and add-one-in say of all subsets if what players add is summed. Everything is run by vprdist's
own sweeps, so a second run reads what is there. --cost wants a machine without other work. --pooled compares the one
pass with networks trained on each subset alone, at the features, and with the truth's where it is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from told import tell

from vprdist.attribution.chances import chances
from vprdist.game.agreement import agreement
from vprdist.probes.make import order_of
from vprdist.probes.read import queries_of, reports, values_of
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.manifest import read_manifest
from vprdist.store.result_file import read_result
from vprdist.store.trial_folder import TrialFolder

GROUPS = {
    "built": ["building", "wall", "fence"],
    "furniture": ["pole", "traffic light", "traffic sign"],
    "ground": ["road", "sidewalk", "terrain"],
    "green": ["vegetation"],
    "traffic": ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"],
}
SUBSETS = list(range(1, 2 ** len(GROUPS)))
OBJECTIVE = "recall@1"
Values = dict[int, np.ndarray]
"""By subset (Q,) values of each query."""


def names_of(subset: int) -> list[str]:
    return [name for i, name in enumerate(GROUPS) if subset >> i & 1]


def sweep_file(name: str, steps: int, seeds: Sequence[int], search: Mapping[str, Any]) -> dict[str, Any]:
    """A sweep over the five groups; `search` beside them."""
    subsets = {"groups": GROUPS, **search.get("subsets", {})}
    return {
        "name": name,
        "scale": "demo",
        "trial": {
            "input": {"mode": "masked"},
            "network": {"unfreeze": "0-2"},
            "train": {"steps": steps, "schedule": "cosine"},
            "evaluate": {"before_training": False},
        },
        "search": {**search, "subsets": subsets},
        "seeds": list(seeds),
        "objective": OBJECTIVE,
        "cluster": "local",
    }


def run_sweep(runs: Path, content: Mapping[str, Any]) -> Path:
    """Run a sweep by the command that a user types; returns its folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.yaml"
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
        subprocess.run([sys.executable, "-m", "vprdist.sweep", str(path), "--runs", str(runs)], check=True)
    return runs / "sweeps" / str(content["name"])


def truth_values(runs: Path, folder: Path) -> dict[int, Values]:
    """By seed the values of networks that were trained on each subset alone."""
    by_classes = {frozenset(c for name in names_of(s) for c in GROUPS[name]): s for s in SUBSETS}
    out: dict[int, Values] = {}
    for result in results_of(runs, folder):
        queries = queries_of(TrialFolder.of(runs, result.trial_id).path).only("all")
        subset = by_classes[frozenset(result.trial.input.class_names)]
        out.setdefault(result.trial.seed, {})[subset] = queries.metrics[OBJECTIVE]
    return out


def results_of(runs: Path, folder: Path) -> list[ResultRow]:
    """The results of all trials of a sweep; none where it never ran."""
    trials = read_manifest(folder)["trials"] if folder.is_dir() else []
    return [read_result(TrialFolder.of(runs, entry["trial"]).result_file) for entry in trials]


def is_network(trial: TrialSpec) -> bool:
    """Whether it is the one network, and no finalist: it was trained under arms, or not at all."""
    return trial.train.arms is not None or not trial.train.steps


def network_orders(runs: Path, folder: Path) -> list[Any]:
    """The probe orders of a sweep's networks, by seed."""
    sweep = read_sweep(folder / "sweep.yaml")
    trials = [TrialFolder.of(runs, entry["trial"]) for entry in read_manifest(folder)["trials"]]
    networks = sorted((t for t in trials if is_network(t.trial())), key=lambda t: t.trial().seed)
    return [order_of(sweep, {}, network) for network in networks]


def at_features(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same sweep with masks at the features, where all subsets of one network follow from one pass."""
    trial = {**content["trial"], "input": {"mode": "masked", "mask_at": "features"}}
    pooled = {"probes": {"how": "pooled"}} if "searcher" in content["search"] else {}
    name = f"{content['name']}_{'pooled' if pooled else 'features'}"
    return {**content, "name": name, "trial": trial, "search": {**content["search"], **pooled}}


def pooled(runs: Path, steps: int, seeds: Sequence[int]) -> None:
    """One pass over the pictures beside networks that are trained on each subset alone, at the features as well.

    Beside the truth of black masks too, of whichever seeds it is there: that is another form of the mask.
    """
    one = {"searcher": "one_network", "subsets": {"finalists": 0}}
    lists = {"subsets": {"take": [names_of(subset) for subset in SUBSETS]}}
    folders = [
        run_sweep(runs, at_features(sweep_file("one_untrained", 0, [0], one))),
        run_sweep(runs, at_features(sweep_file("one_plain", steps, seeds, one))),
    ]
    truth_folders = {
        "features": run_sweep(runs, at_features(sweep_file("truth", steps, seeds, lists))),
        "black": runs / "sweeps" / "truth",
    }
    orders = [order for folder in folders for order in network_orders(runs, folder)]
    names = ["nobody trained it", *(f"trained under all subsets, seed {seed}" for seed in sorted(seeds))]
    trial = Path(orders[0].trial)
    queries, known = queries_of(trial).only("all"), chances(TrialFolder(trial).trial(), OBJECTIVE)
    nobody = np.array([known[at] for at in zip(queries.city, queries.query, strict=True)])
    truths = {form: truth_values(runs, folder) for form, folder in truth_folders.items() if folder.is_dir()}
    for form, truth in truths.items():
        print(f"\none pass, beside trainings under {form} masks, seeds {', '.join(map(str, truth))}")
        print("network | tau with single seeds, mean | with their mean [95 %] | 32 values, nobody included")
        for name, order in zip(names, orders, strict=True):
            print(f"{name} | {compare(probed_values(order), list(truth.values()), queries.cluster, nobody)}")
        for name, order in zip(names, orders, strict=True):
            print_cost(name, order, results_of(runs, truth_folders[form]))
    both = [list(truth.values()) for truth in truths.values()]
    if len(both) > 1:
        between = compare(mean_of(both[0]), both[1], queries.cluster, nobody)
        print(f"\ntrainings at the features, beside those under black masks | {between}")


def print_cost(name: str, order: Any, truth: Sequence[ResultRow]) -> None:
    """What a pass and its subsets took, with and without the network's own trial, beside each seed of the truth."""
    took = sum(part.seconds for part in reports(order))
    whole = took + read_result(TrialFolder(Path(order.trial)).result_file).wall_s
    print(f"{name}: {took:.1f} core-seconds for {len(order.probes)} subsets, {whole:.1f} with its own trial")
    for seed in sorted({row.trial.seed for row in truth}):
        alone = sum(row.wall_s for row in truth if row.trial.seed == seed)
        ratios = f"{alone / took:.0f} times the pass, {alone / whole:.0f} times all of it"
        print(f"  seed {seed} of the truth: {alone:.0f} core-seconds: {ratios}")


def mean_of(values: Sequence[Values]) -> Values:
    return {s: np.mean([each[s] for each in values], axis=0) for s in SUBSETS}


def probed_values(order: Any) -> Values:
    found = values_of(order, OBJECTIVE)
    return {subset: found.of((subset, "none")) for subset in SUBSETS}


def summed(values: Values, nobody: np.ndarray, way: str) -> Values:
    """Every subset's value if players add what they add in the 6 arms of leave-one-out, or the 5 of add-one-in."""
    everybody = SUBSETS[-1]
    alone = [1 << i for i in range(len(GROUPS))]
    if way == "leave_one_out":
        lost = [values[everybody] - values[everybody ^ one] for one in alone]
        return {s: values[everybody] - sum(lost[i] for i in range(len(alone)) if not s >> i & 1) for s in SUBSETS}
    gain = [values[one] - nobody for one in alone]
    return {s: nobody + sum(gain[i] for i in range(len(alone)) if s >> i & 1) for s in SUBSETS}


def compare(method: Values, truth: Sequence[Values], cluster: np.ndarray, nobody: np.ndarray) -> str:
    """Kendall's tau-b with the truth's seeds one by one (mean), and with their mean: 31 subsets, and 32 with nobody."""

    def matrix(values: Values, with_nobody: bool) -> np.ndarray:
        return np.stack([*([nobody] if with_nobody else []), *(values[s] for s in SUBSETS)])

    mean = mean_of(truth)
    singles = [agreement(matrix(method, False), matrix(each, False), cluster).value for each in truth]
    whole, with_nobody = (agreement(matrix(method, flag), matrix(mean, flag), cluster) for flag in (False, True))
    single = np.mean([value for value in singles if value is not None])
    return f"{single:.3f} | {whole.value:.3f} [{whole.low:.3f}, {whole.high:.3f}] | {with_nobody.value:.3f}"


def show(runs: Path, steps: int, seeds: Sequence[int]) -> None:
    """Run what is missing, and print the table."""
    lists = {"subsets": {"take": [names_of(subset) for subset in SUBSETS]}}
    truth_folder = run_sweep(runs, sweep_file("truth", steps, seeds, lists))
    one = {"searcher": "one_network", "subsets": {"finalists": 0}}
    plain = run_sweep(runs, sweep_file("one_plain", steps, seeds, one))
    long = run_sweep(runs, sweep_file("one_long", 2 * steps, seeds, one))
    control = {"searcher": "one_network", "subsets": {"finalists": 3, "placebos": ["random", "image", "classes"]}}
    placebo = run_sweep(runs, sweep_file("one_placebo", steps, seeds, control))
    untrained = run_sweep(runs, sweep_file("one_untrained", 0, seeds[:1], one))
    one_pass = run_sweep(runs, at_features(sweep_file("one_untrained", 0, seeds[:1], one)))
    weighed = run_sweep(runs, at_features(sweep_file("one_plain", steps, seeds, one)))

    truth = truth_values(runs, truth_folder)
    first = TrialFolder.of(runs, read_manifest(truth_folder)["trials"][0]["trial"])
    queries = queries_of(first.path).only("all")
    known = chances(first.trial(), OBJECTIVE)
    nobody = np.array([known[at] for at in zip(queries.city, queries.query, strict=True)])
    results = results_of(runs, truth_folder)
    print(f"\n{len(queries.query)} queries, {len(np.unique(queries.cluster))} clusters; nobody {nobody.mean():.3f}")
    print("subset | truth, mean of seeds | seeds | one network, mean of seeds")
    folders = {"plain": plain, "twice the steps": long, "placebo": placebo, "at the features, pooled": weighed}
    networks = {name: [probed_values(o) for o in network_orders(runs, f)] for name, f in folders.items()}
    for subset in sorted(SUBSETS, key=lambda s: -np.mean([truth[seed][s].mean() for seed in seeds])):
        by_seed = [truth[seed][subset].mean() for seed in seeds]
        shared = np.mean([each[subset].mean() for each in networks["plain"]])
        single = " ".join(f"{value:.3f}" for value in by_seed)
        print(f"{'+'.join(names_of(subset))} | {np.mean(by_seed):.3f} | {single} | {shared:.3f}")

    print("\nmethod | tau with single seeds of the truth, mean | with their mean [95 %] | 32 values, nobody included")
    pairs = list(itertools.permutations(seeds, 2))
    between = [
        agreement(*(np.stack([truth[s][k] for k in SUBSETS]) for s in pair), queries.cluster).value for pair in pairs
    ]
    tell("two seeds of the truth", np.mean([v for v in between if v is not None]), "tau")
    print(f"another seed of the truth | {np.mean([v for v in between if v is not None]):.3f} | - | -")
    for name, some in networks.items():
        for seed, values in zip(seeds, some, strict=True):
            print(
                f"one network, {name}, seed {seed} | {compare(values, list(truth.values()), queries.cluster, nobody)}"
            )
        mean = compare(mean_of(some), list(truth.values()), queries.cluster, nobody)
        print(f"one network, {name}, mean of {len(some)} | {mean}")
    for title, folder in {"untrained network": untrained, "untrained network, one pass": one_pass}.items():
        [raw] = [probed_values(order) for order in network_orders(runs, folder)]
        print(f"{title} | {compare(raw, list(truth.values()), queries.cluster, nobody)}")
    for way in ("leave_one_out", "add_one_in"):
        told = summed(truth[seeds[0]], nobody, way)
        others = [truth[seed] for seed in seeds[1:]]
        print(f"{way}, summed (seed {seeds[0]}, against the others) | {compare(told, others, queries.cluster, nobody)}")

    print("\nseconds as they came out in these runs (beside whatever else ran)")
    for seed in seeds:
        own = [row for row in results if row.trial.seed == seed]
        train, wall = sum(row.train_s for row in own), sum(row.wall_s for row in own)
        print(f"truth, seed {seed}: training {train:.0f} s, with evaluation and start {wall:.0f} s")
    for name, folder in {**folders, "nobody trained it, pooled": one_pass}.items():
        for order in network_orders(runs, folder):
            row, parts = read_result(Path(order.trial) / "result.json"), reports(order)
            print(
                f"one network, {name}, seed {row.trial.seed}: training {row.train_s:.0f} s (wall {row.wall_s:.0f} s), "
                f"{sum(len(p.probes) for p in parts)} probes {sum(p.seconds for p in parts):.0f} s"
            )


def cost(runs: Path, steps: int, num_arms: int) -> None:
    """Both sides in this process, one core: some arms of the truth, one network and its probes."""
    import torch

    from vprdist.distributed.world import World
    from vprdist.probes.worker import work
    from vprdist.training.run import run_trial

    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"train": [], "wall": []}
    truth = read_manifest(runs / "sweeps" / "truth")["trials"]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "trials"
        for entry in truth[:: max(1, len(truth) // num_arms)][:num_arms]:
            spec = TrialFolder.of(runs, entry["trial"]).trial()
            begin = time.perf_counter()
            run_trial(spec, scratch / spec.trial_id, World(num_threads=1))
            seconds["wall"].append(time.perf_counter() - begin)
            seconds["train"].append(read_result(scratch / spec.trial_id / "result.json").train_s)
        networks = []
        for name in ("one_plain", "one_long"):
            order = network_orders(runs, runs / "sweeps" / name)[0]
            spec = TrialFolder(Path(order.trial)).trial()
            place = scratch / spec.trial_id
            begin = time.perf_counter()
            run_trial(spec, place, World(num_threads=1))
            took = time.perf_counter() - begin
            (place / "trial.json").write_text(json.dumps(spec.to_json()))
            begin = time.perf_counter()
            work(order.model_copy(update={"trial": str(place)}), 0, 1, lambda made: None)
            own = read_result(place / "result.json").train_s
            networks.append((spec.train.steps, own, took, len(order.probes), time.perf_counter() - begin))
    arms = len(SUBSETS)
    train, wall = (float(np.mean(seconds[name])) * arms for name in ("train", "wall"))
    print(f"one core, float32, {steps} steps of 16 pairs, 96x128, EfficientNet-Lite0 0-2; {num_arms} arms timed")
    print("side | training s | with evaluation s")
    print(f"truth, one seed, {arms} subsets (mean of {num_arms} arms times {arms}) | {train:.0f} | {wall:.0f}")
    for of_steps, own, took, num_probes, probes in networks:
        print(f"one network of {of_steps} steps | {own:.0f} | {took:.0f}")
        print(f"its {num_probes} probes | {probes:.0f} | {probes:.0f}")
        what = f"one network of {of_steps} steps with its probes"
        tell(what, own + probes, "training s", peer=f"{arms} networks", theirs=train)
        print(f"truth / this network with its probes | {train / (own + probes):.1f} | {wall / (took + probes):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cost", action="store_true", help="time both sides in this process, after a whole run")
    parser.add_argument("--pooled", action="store_true", help="only the one pass, beside trainings at the features")
    parser.add_argument("--arms", type=int, default=4, help="arms of the truth that --cost times")
    args = parser.parse_args()
    if args.pooled:
        pooled(args.runs.resolve(), args.steps, args.seeds)
    elif args.cost:
        cost(args.runs.resolve(), args.steps, args.arms)
    else:
        show(args.runs.resolve(), args.steps, args.seeds)


if __name__ == "__main__":
    main()
