"""Makes `of_0_1/`: what version 0.1 left on a disk, cut to what its readers need. Run it in a clone, from its root:

    python -m tests.store.make_of_0_1 tests/store/of_0_1

Not a test, and seldom run: it lays out the code of that version (see tests/earlier.py), which makes everything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from tests.earlier import REPO, Version, earlier_version
from tests.worlds import spread_queries, write_activations, write_small_tree

TRIAL = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input: {{cache: {cache}}}
  network: {{backbone: resnet18, weights: none, unfreeze: 5-0}}
  train: {{image_size: [32, 40], steps: 4, batch_pairs: 4, micro_pairs: 4, lr: 0.05, batch_norm: frozen{train}}}
  evaluate: {{before_training: {before}}}
  run: {{log_steps: 2}}
cluster: local
"""
PLAIN = """
name: plain
search:
  grid:
    network.gem_p: [3.0, 2.0]
    train.lr: [0.05, 1.0e+30]
baseline: {network.gem_p: 3.0}
"""
"""Two of its trials diverge, and are given up."""
SEARCHED = """
name: searched
search:
  searcher: random
  num_trials: 5
  seed: 1
  scheduler: asha
  reduction: 2
  space:
    train.loss: [gcl, contrastive]
    train.margin: {uniform: [0.3, 0.9]}
    train.micro_pairs: [4, 2]
    train.pairs: [drawn, all]
"""
"""Some of its points are no trials: `pairs: all` needs a batch in one piece."""
TINY = """
name: tiny
search:
  searcher: one_network
  grid: {input.mode: [masked]}
  subsets:
    groups: {built: [building, wall], thin: [pole], green: [vegetation, terrain]}
    placebos: [random]
    finalists: 1
"""
DRIVER = """
import sys
from pathlib import Path
from vprdist.launch.detach import submit_driver
from vprdist.launch.driving import cancel_rest
from vprdist.spec.profile import ClusterProfile
sweep, runs = map(Path, sys.argv[1:])
submit_driver(sweep, runs, ClusterProfile(kind="slurm", partition="day"), 1.5)
cancel_rest(sweep, "somebody")
"""
COMMANDS = {"squeue": "#!/bin/sh\n", "sbatch": "#!/bin/sh\necho 4711\n"}
KEPT = (
    "cache/manifest.json",
    "runs/sweeps/*/manifest.json", "runs/sweeps/*/sweep.yaml", "runs/sweeps/*/proposals.jsonl",
    "runs/sweeps/*/attribution.json", "runs/sweeps/*/cancelled.json", "runs/sweeps/*/driver/job.json",
    "runs/sweeps/*/driver/driver.sbatch",
    "runs/trials/*/trial.json", "runs/trials/*/job.json", "runs/trials/*/failure.json", "runs/trials/*/metrics.jsonl",
    "runs/trials/*/result.json", "runs/trials/*/log/starts.jsonl", "runs/trials/*/probes/*/*.json",
    "runs/trials/*/probes/*/*.parquet", "runs/trials/*/predictions/queries.parquet",
)  # fmt: skip


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="vprdist-of-0-1-") as name:
        work = Path(name)
        earlier = Version(earlier_version(work / "code").code, REPO)
        make(earlier, work)
        cut(earlier, work, out)
        pinned = earlier.run("-m", "tests.store.pin_ids", str(work / "code"))
        (out / "ids.json").write_text(pinned)


def make(earlier: Version, work: Path) -> None:
    """Three sweeps in `work/runs`, by the earlier version."""
    root, cache = write_small_tree(work / "tree"), work / "cache"
    spread_queries(root, "bob")  # one cluster tells nothing, and would be refused
    write_activations(root, ("ada", "bob"), work / "npz")
    earlier.run("-m", "vprdist", "cache", "import", str(work / "npz"), "--data", str(root), "--out", str(cache))
    runs = str(work / "runs")
    for text, train, before, code in (
        (PLAIN, ", loss: contrastive, margin: 0.4", "true", 1), (SEARCHED, "", "false", 0), (TINY, "", "false", 0),
    ):  # fmt: skip
        file = work / "sweep.yaml"
        file.write_text(text.lstrip() + TRIAL.format(root=root, cache=cache, train=train, before=before).lstrip())
        process = earlier.start("-m", "vprdist.sweep", str(file), "--runs", runs)
        printed, _ = process.communicate()
        assert process.returncode == code, printed
    commands = work / "commands"
    commands.mkdir()
    for name, script in COMMANDS.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    found = os.pathsep.join((str(commands), os.environ["PATH"]))
    earlier.run("-c", DRIVER, str(work / "runs" / "sweeps" / "searched"), runs, PATH=found)


def is_wanted(path: Path, light: Collection[str]) -> bool:
    """Folders of some trials are kept light: text alone, and no rows of metrics."""
    return not set(path.parts) & set(light) or path.suffix == ".json"


def cut(earlier: Version, work: Path, out: Path) -> None:
    """Copy what is kept, and have the earlier version make the leaderboards of that."""
    shutil.rmtree(out, ignore_errors=True)
    searched = json.loads((work / "runs" / "sweeps" / "searched" / "manifest.json").read_text())
    light = [entry["trial"] for entry in searched["trials"]]
    for pattern in KEPT:
        for path in work.glob(pattern):
            if not is_wanted(path.relative_to(work), light):
                continue
            copy = out / str(path.relative_to(work)).removeprefix("runs/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shown = work / "shown"
    for part in ("trials", "sweeps"):
        shutil.copytree(out / part, shown / part)
    for sweep in (out / "sweeps").iterdir():
        earlier.run("-m", "vprdist", "leaderboard", sweep.name, "--runs", str(shown))
        shutil.copy(shown / "sweeps" / sweep.name / "leaderboard.csv", sweep)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    subprocess.run(["du", "-sh", sys.argv[1]], check=True)
