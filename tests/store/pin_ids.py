"""Prints `of_0_1/ids.json`: what version 0.1 computes from raw values. It runs under that version: see make_of_0_1.py.

No test imports this: it speaks to the earlier version's modules.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

DIGESTS = {"dataset": "d", "cache": "c", "weights": "w", "labels": None}
BASE = {"data.root": "/data/msls", "data.train": ["a", "b"], "data.validate": ["c"]}
MASKED = {"input.mode": "masked", "input.cache": "/data/cache"}
ADDED = {"input.mode": "rgb+mask", "input.cache": "/data/cache"}
PLAYERS = [["building", "wall"], ["pole"], ["vegetation", "terrain"]]
ARMS = {
    **MASKED, "input.classes": ["building", "wall", "pole", "vegetation", "terrain"], "input.mask_reduce": "sum",
    "train.arms": {"players": PLAYERS, "placebos": ["random", "classes"]},
}  # fmt: skip
WHOLE = {"train.micro_pairs": 32, "train.batch_norm": "frozen"}
CHANGES: list[dict[str, Any]] = [
    {},
    {"data.positive_radius_m": 10.0}, {"data.fov_radius_m": 40.0}, {"data.fov_degrees": 70.0},
    {"data.labels": "computed"},
    MASKED, {**MASKED, "input.classes": "all"}, {**MASKED, "input.classes": ["sky", "road"]},
    {**MASKED, "input.mask_reduce": "sum"}, {**MASKED, "input.mask_reduce": "max"},
    {**MASKED, "input.placebo": "random"}, {**MASKED, "input.placebo": "image"}, {**MASKED, "input.placebo": "classes"},
    {"input.placebo": "random"},
    ADDED, {**ADDED, "input.conv1_init": "random", "input.classes": ["building"]},
    {"input.mode": "rgb+semantics", "input.cache": "/data/cache"},
    {"input.mode": "rgb+semantics", "input.conv1_init": "random"},
    {"input.mode": "masked", "input.segmenter": {"name": "deeplabv3plus", "weights": "/w.pth", "flip": True}},
    {"input.mode": "masked", "input.segmenter": {"name": "transformers:nvidia/segformer"}, "input.compression": "lz4"},
    {"network.backbone": "resnet18"}, {"network.backbone": "resnet34"}, {"network.backbone": "resnet50"},
    {"network.backbone": "resnet101"}, {"network.backbone": "resnet152"}, {"network.backbone": "efficientnet_lite0"},
    {"network.backbone": "efficientnet_lite0", "network.unfreeze": "2-2"},
    {"network.unfreeze": "all"}, {"network.unfreeze": "2-2"}, {"network.unfreeze": ["layer4", "layer3"]},
    {"network.weights": "none"}, {"network.weights": "/weights/gcl.pth"}, {"network.weights": "./runs/last.pt"},
    {"network.gem_p": 2.0}, {"network.gem_p": 3.0},
    {"train.recipe": "reference"}, {"train.image_size": [240, 320]}, {"train.steps": 0}, {"train.steps": 100},
    {"train.batch_pairs": 16}, {"train.micro_pairs": 4}, {"train.chunk_queries": 500}, {"train.chunked": True},
    {"train.chunked": True, "train.chunks": 52}, {"train.chunks": 52}, {"train.pairs": "all", **WHOLE},
    {"train.loss": "gcl"}, {"train.loss": "contrastive"}, {"train.margin": 0.7},
    {"train.loss": "contrastive", "train.margin": 0.7}, {"train.loss": "gcl", "train.margin": 0.5},
    {"train.optimizer": "adamw", "train.lr": 0.0001, "train.weight_decay": 0.0001}, {"train.lr": 0.2},
    {"train.schedule": "cosine"}, {"train.warmup": 0.1}, {"train.lr_drop_pairs": None}, {"train.lr_drop_pairs": 1000},
    {"train.batch_norm": "frozen"}, {"train.batch_norm": "sync"}, {"train.precision": "bf16"},
    ARMS, {**ARMS, "train.loss": "contrastive", "network.gem_p": 4.0},
    {"evaluate.subtask": "s2w"}, {"evaluate.gallery": "merged"}, {"evaluate.queries": "every"},
    {"evaluate.database": "every"}, {"evaluate.image_size": [240, 320]}, {"evaluate.before_training": False},
    {"evaluate.whitening": "train"}, {"evaluate.whitening": "database", "evaluate.dimensions": [64, 128]},
    {"evaluate.storage": "float16"}, {"evaluate.predict": ["miami"]},
    {"seed": 7}, {"digests.labels": "l"}, {"run.workers": 4, "run.evaluate_steps": 10, "data.root": "/elsewhere"},
]  # fmt: skip
"""Dotted keys beside BASE; each field off its default, every mode, every word."""

MINE = """
trial:
  data: {root: /data/msls, train: [a], validate: [b]}
  network: {backbone: resnet18, gem_p: 2.5}
  train: {loss: contrastive, margin: 0.6, steps: 40}
"""
OLD_AXES = (
    MINE + "search: {grid: {train.loss: [gcl, contrastive], train.margin: [0.4, 0.5], network.gem_p: [3.0, 2]}}\n"
)
RECIPES = MINE + "search: {grid: {train.recipe: [reference, fast], network.backbone: [resnet50, resnet18]}}\n"
SPACE = f"""{MINE}search:
  searcher: optuna
  num_trials: 9
  space:
    train.loss: [gcl, contrastive]
    train.margin: {{uniform: [0.3, 0.9]}}
    network.gem_p: {{uniform: [1, 6]}}
    network.backbone: [resnet18, resnet34]
    train.recipe: [reference, fast]
"""


def subsets(searcher: str, seeds: list[int], more: str = "") -> str:
    """A sweep file of subsets of three groups."""
    groups = "{built: [building, wall], thin: [pole], green: [vegetation, terrain]}"
    search = f"search: {{searcher: {searcher}, subsets: {{groups: {groups}{more}}}}}\n"
    return f"{MINE}  input: {{mode: masked, cache: /data/cache}}\n{search}seeds: {seeds}\n"


OWN: dict[str, tuple[str, list[str]]] = {
    "axes": (OLD_AXES, []),
    "axes overridden": (OLD_AXES, ["search.grid.train.margin=[0.7]", "seeds=[0, 1]"]),
    "margin first": (f"{MINE}search: {{grid: {{train.margin: [0.4, 0.5], train.loss: [gcl, contrastive]}}}}\n", []),
    "recipes": (RECIPES, []),
    "space": (SPACE, []),
    "one network": (subsets("one_network", [0, 1], ", placebos: [random, image]"), []),
    "greedy": (subsets("greedy", [0]), []),
    "draws": (subsets("shapley, num_trials: 90", [2], ", placebos: [classes]"), []),
    "fast": (MINE, ["trial.train.recipe=fast", "trial.train.loss=gcl"]),
    "paper": ("scale: paper\n", []),
    "paper by hand": ("scale: paper\ntrial: {train: {margin: 0.6, loss: contrastive}, network.gem_p: 2.0}\n", []),
}
"""Sweep files (text, overrides) beside those in `sweeps/`."""
WRITTEN = ("axes", "recipes", "space", "one network", "draws")
"""Sweeps whose resolved file, as it lies in the sweep's folder, is kept too."""
POINTS: dict[str, list[dict[str, Any]]] = {
    "space": [
        {"train.loss": "gcl", "train.margin": 0.31, "network.gem_p": 2.2, "network.backbone": "resnet34",
         "train.recipe": "fast"},
        {"train.loss": "contrastive", "train.margin": 0.5, "network.gem_p": 3.0, "network.backbone": "resnet18",
         "train.recipe": "reference"},
    ],
    "greedy": [{"input.classes": ["building", "wall"], "seed": 0}],
    "draws": [{"input.placebo": "classes", "input.classes": ["building", "wall", "pole"], "seed": 5}],
}  # fmt: skip
"""What searchers proposed; that of one network is asked for."""


def bare(file: Path) -> str:
    """A sweep file without its comments."""
    lines = [line.split(" #")[0].rstrip() for line in file.read_text().splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("#")) + "\n"


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """The values as a person writes them: sections with keys."""
    out: dict[str, Any] = {}
    for key, value in dotted.items():
        *sections, last = key.split(".")
        place = out
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return out


def trials() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first trial as version 0.1 writes it to a disk; of each values beside BASE, id, and what else is written."""
    from vprdist.spec.trial import Digests, TrialSpec

    first: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    for changes in CHANGES:
        digests = Digests(**{**DIGESTS, **nested(changes).get("digests", {})})
        values = nested({key: value for key, value in {**BASE, **changes}.items() if not key.startswith("digests.")})
        trial = TrialSpec.model_validate_json(json.dumps(values)).resolved(digests)
        parts = {name: part for name, part in trial.to_json().items() if isinstance(part, dict)}
        written = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
        written["seed"] = trial.seed
        first = first or written
        apart = {key: value for key, value in written.items() if first[key] != value}
        found.append({"values": changes, "id": trial.trial_id} | ({} if apart == changes else {"apart": apart}))
    return first, found


def sweeps(code: Path) -> list[dict[str, Any]]:
    """By sweep file: its trials' ids and row names, and its searcher's points with theirs."""
    from vprdist.manifest import Manifest, resolved_file

    from vprdist.search.subset_rule import network_point
    from vprdist.spec.sweep import trial_at
    from vprdist.spec.sweep_file import read_sweep
    from vprdist.spec.trial import Digests

    os.environ["MSLS_ROOT"] = "/data/msls"
    digests = Digests(**DIGESTS)
    given = sorted((code / "sweeps").glob("*.yaml"))
    files: dict[str, tuple[str, list[str]]] = {file.stem: (bare(file), []) for file in given} | OWN
    found: list[dict[str, Any]] = []
    for name, (text, overrides) in files.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mine.yaml"
            path.write_text(text)
            sweep = read_sweep(path, overrides)
        book, resolved = Manifest(Path("/nowhere"), sweep, ()), [trial.resolved(digests) for trial in sweep.trials]
        for trial in resolved:
            book.add(trial)
        points = list(POINTS.get(name, ()))
        if sweep.search.searcher == "one_network":
            points = [network_point(sweep, setting, sweep.seeds[0]) for setting in sweep.settings]
        proposed = [{"point": point, "id": trial_at(sweep, point).resolved(digests).trial_id} for point in points]
        found.append({
            "name": name, "text": text, "overrides": overrides, "ids": [trial.trial_id for trial in resolved],
            "rows": list(book.names.values()), "proposed": proposed,
            "resolved": resolved_file(sweep) if name in WRITTEN else None,
        })  # fmt: skip
    return found


def others() -> dict[str, Any]:
    """Digests that name folders and job arrays."""
    from vprdist.files import digest_json
    from vprdist.semantics.order import CacheOrder
    from vprdist.spec.demo import DemoSpec
    from vprdist.spec.probes import ProbeOrder
    from vprdist.spec.segmenter import SegmenterSpec

    cities: list[dict[str, Any]] = [
        {}, {"streets": 1, "places": 6, "query_visits": 2, "train": ["alder"], "validate": ["dogwood"]},
        {"planted": {"noise": ["sky"]}},
    ]  # fmt: skip
    networks: list[dict[str, Any]] = [
        {"name": "deeplabv3plus", "weights": "/w.pth"},
        {"name": "deeplabv3plus", "weights": "/w.pth", "output_stride": 8, "flip": True, "precision": "bfloat16"},
        {"name": "transformers:nvidia/segformer", "image_size": [512, 512], "size": [64, 64]},
        {"name": "litert:/net.tflite", "inference": "sliding", "window": [256, 256], "overlap": 0.5},
    ]  # fmt: skip
    orders: list[dict[str, Any]] = [
        {"root": "/data/msls", "cities": ["b", "a"], "out": "/data/cache", "segmenter": network} for network in networks
    ]
    probes: dict[str, Any] = {
        "trial": "/runs/trials/0123456789abcdef", "players": PLAYERS,
        "probes": [[subset, kind] for kind in ("none", "random", "image") for subset in range(1, 8)],
    }  # fmt: skip

    def read(model: Any, values: dict[str, Any]) -> Any:
        return model.model_validate_json(json.dumps(values))

    order = read(ProbeOrder, probes)
    return {
        "demo": [{"values": v, "id": digest_json(read(DemoSpec, v).model_dump(mode="json"), 8)} for v in cities],
        "segmenters": [
            {"values": v, "id": [digest_json(read(SegmenterSpec, v).identity("w", on)) for on in ("cpu", "cuda")]}
            for v in networks
        ],
        "orders": [{"values": v, "id": read(CacheOrder, v).digest} for v in orders],
        "probes": {"values": probes, "id": order.digest, "parts": [str(path) for path in order.parts]},
    }


if __name__ == "__main__":
    first, each = trials()
    told = {
        "base": BASE,
        "digests": DIGESTS,
        "written": first,
        "trials": each,
        "sweeps": sweeps(Path(sys.argv[1])),
        **others(),
    }
    text = json.dumps(told, separators=(",", ":"))
    for key in ("values", "name"):  # a line for each, so that a change can be read
        text = text.replace(f',{{"{key}"', f',\n{{"{key}"')
    print(text)
