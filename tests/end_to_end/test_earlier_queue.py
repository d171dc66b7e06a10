"""Jobs of version 0.1 that wait in a queue when today's code is installed: their pickles find what they name.

The earlier version submits them with its own code, to an `sbatch` that only takes them in. When their time comes, the
script that it was given runs here, with SLURM's variables, under either version.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.earlier import Version, earlier_version, today
from tests.probing import PLAYERS
from tests.worlds import write_activations, write_small_tree
from vprdist.files import read_json
from vprdist.semantics.cache.format import read_manifest
from vprdist.store.trial_folder import TrialFolder

SBATCH = "#!/bin/sh\necho 'Submitted batch job 77'\n"
SRUN = f'#!/bin/sh\nwhile [ "$1" != {sys.executable} ]; do shift; done\nexec "$@"\n'
"""One task here, whatever options it is given."""
TRIAL: dict[str, Any] = {
    "data": {"train": ["ada"], "validate": ["bob"]},
    "network": {"backbone": "resnet18", "weights": "none", "unfreeze": "0-1", "gem_p": 2.5},
    "train": {
        "image_size": [32, 40], "steps": 2, "batch_pairs": 4, "micro_pairs": 4, "loss": "contrastive", "margin": 0.4,
        "lr": 0.05, "batch_norm": "frozen",
    },
    "evaluate": {"before_training": False},
}  # fmt: skip
EARLIER = """
import json, subprocess, sys
from pathlib import Path
from vprdist import caches, probes
from vprdist.data.digest import dataset_digest
from vprdist.files import digest_file
from vprdist.launch.array import one_task
from vprdist.launch.folder import TrialFolder
from vprdist.launch.journal import JobRecord, job_name, machine_name
from vprdist.launch.node import DEFAULT_JOB
from vprdist.launch.params import submission_parameters
from vprdist.semantics.cache import open_cache
from vprdist.semantics.order import CacheOrder
from vprdist.spec.probes import ProbeOrder
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import Digests, TrialSpec

PROFILE = ClusterProfile(kind="slurm", cpus_per_task=1)

def resolved(values):
    trial = TrialSpec.model_validate_json(json.dumps(values))
    cities, cache = ("ada", "bob"), trial.input.cache
    held = open_cache(Path(cache)).manifest.digest_of(cities) if cache else None
    weights = digest_file(Path(trial.network.weights), 16) if trial.network.checkpoint else "none"
    return trial.resolved(Digests(dataset=dataset_digest(Path(trial.data.root), cities), cache=held, weights=weights))

def submit_trial(runs, values):
    trial = resolved(values)
    place, token = TrialFolder.of(Path(runs), trial.trial_id), "0123456789abcdef"
    place.write_trial(trial)
    place.write_job(JobRecord(
        state="intent", cluster="slurm", name=job_name(trial.trial_id), token=token, attempt=1, job=DEFAULT_JOB,
        parameters=submission_parameters(PROFILE, trial.trial_id, token), num_threads=1, machine=machine_name(),
    ))
    with place.submit_lock.open("w") as lock:
        order = [{"folder": str(place.path), "token": token, "lock": lock.fileno()}]
        words = [sys.executable, "-m", "vprdist.launch.submit"]
        subprocess.run(words, input=json.dumps(order), text=True, check=True, pass_fds=[lock.fileno()])
    return str(place.path), str(place.attempt_log(place.job()))

def train(runs, values):
    from vprdist.training.run import run_trial
    from vprdist.world import World
    trial = resolved(values)
    place = TrialFolder.of(Path(runs), trial.trial_id)
    place.write_trial(trial)
    run_trial(trial, place.path, World(num_threads=1))
    return str(place.path)

def submit_array(kind, values):
    room, order_of = {"probes": (probes, ProbeOrder), "cache": (caches, CacheOrder)}[kind]
    order = order_of.model_validate_json(json.dumps(values))
    array = room.array_of(order)
    array.folder.mkdir(parents=True)
    array.order.write_text(order.model_dump_json())
    told = {"function": room.TASK, "words": [str(array.order)], "count": 2, "logs": str(array.logs)}
    told["parameters"] = submission_parameters(one_task(PROFILE), array.name, "token")
    words = [sys.executable, "-m", "vprdist.launch.array"]
    subprocess.run(words, input=json.dumps(told), text=True, check=True, stdout=subprocess.DEVNULL)
    return str(array.logs), room.TASK

print(json.dumps(globals()[sys.argv[1]](*json.loads(sys.argv[2]))))
"""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return earlier_version(tmp_path_factory.mktemp("earlier") / "code")


@pytest.fixture(autouse=True)
def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's two commands, as far as jobs need them."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=":")


def ask(earlier: Version, what: str, *words: object) -> Any:
    """One of the functions of `EARLIER`, called there."""
    return json.loads(earlier.run("-c", EARLIER, what, json.dumps(words)).splitlines()[-1])


def begins(version: Version, logs: str, array_task: str | None = None) -> str:
    """A node begins the job whose script and pickle lie in `logs`, and ends it well; what it prints."""
    task = {} if array_task is None else {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": array_task}
    one = dict.fromkeys(("SLURM_NTASKS", "SLURM_JOB_NUM_NODES", "SLURM_CPUS_PER_TASK"), "1")
    first = dict.fromkeys(("SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID"), "0")
    (script,) = Path(logs).glob("*_submission.sh")
    return version.run(str(script), program="bash", SLURM_JOB_ID="77", SLURMD_NODENAME="node01", **one, **first, **task)


def pickled(logs: str) -> bytes:
    """What waits in a folder; of an array its first call."""
    return min(Path(logs).glob("*_submitted.pkl")).read_bytes()


def numbers(earlier: Version, version: Version, runs: Path, values: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """A trial's folder and numbers: the earlier version submits it, and `version` is there when its time comes."""
    folder, logs = ask(earlier, "submit_trial", str(runs), values)
    for word in (b"vprdist.launch.node", b"NodeJob", b"vprdist.training.run:run_trial"):
        assert word in pickled(logs), "what lies in queues is called this"
    begins(version, logs)
    place = TrialFolder(Path(folder))
    (start,) = place.starts()
    assert start["job_id"] == "77" and start["host"] == "node01"
    result = read_json(place.result_file)
    found = {name: result[name] for name in ("trial_id", "metrics", "city_metrics", "steps", "final_loss")}
    return place.path, found | {"ranking": (place.path / "predictions" / "bob.txt").read_bytes()}


@pytest.mark.slow
def test_a_waiting_trial_runs_and_finds_the_same_numbers(earlier: Version, tmp_path: Path) -> None:
    """One that starts anew, and one that starts from the network that a trial of the earlier version left.

    Its pictures are large enough to be decoded at a smaller scale, as that version did.
    """
    tree = write_small_tree(tmp_path / "tree", picture_size=(100, 80))
    values = {**TRIAL, "data": {**TRIAL["data"], "root": str(tree)}}
    now, then = tmp_path / "now", tmp_path / "then"
    left, wanted = numbers(earlier, earlier, then, values)
    assert numbers(earlier, today(), now, values)[1] == wanted
    network = {"backbone": "resnet18", "unfreeze": "0-1", "weights": str(left / "checkpoint" / "last.pt")}
    on = {**values, "network": network}
    assert numbers(earlier, today(), now, on)[1] == numbers(earlier, earlier, then, on)[1]


@pytest.mark.drill  # by default a waiting trial is run, and tests/store finds the arrays by their names
def test_a_waiting_array_of_probes_probes_a_network_of_then(earlier: Version, tmp_path: Path) -> None:
    tree, cache = write_small_tree(tmp_path / "tree"), tmp_path / "cache"
    write_activations(tree, ("ada", "bob"), tmp_path / "npz")
    earlier.run("-m", "vprdist", "cache", "import", str(tmp_path / "npz"), "--data", str(tree), "--out", str(cache))
    classes = ["building", "wall", "pole", "vegetation", "terrain"]
    shown = {"mode": "masked", "classes": classes, "mask_reduce": "sum", "cache": str(cache)}
    arms = {"players": PLAYERS, "placebos": ["random"]}
    trained = {"data": {**TRIAL["data"], "root": str(tree)}, "input": shown, "train": {**TRIAL["train"], "arms": arms}}
    trial = ask(earlier, "train", str(tmp_path / "runs"), {**TRIAL, **trained})
    probes = [[7, "none"], [1, "none"], [5, "random"], [7, "classes"]]
    logs, task = ask(earlier, "submit_array", "probes", {"trial": trial, "players": PLAYERS, "probes": probes})
    assert task == "vprdist.training.probe_worker:make_part" and task.encode() in pickled(logs)

    assert "task 0 of 2: 4 of 4 probes are made" in begins(today(), logs, "0")
    (part,) = Path(trial).glob("probes/*/*.parquet")
    made = part.read_bytes()
    part.unlink()
    begins(earlier, logs, "0")
    assert part.read_bytes() == made, "the same part, to the byte"


@pytest.mark.drill
def test_a_waiting_array_segments_the_pictures(earlier: Version, tmp_path: Path, deeplab_weights: Path) -> None:
    tree, found = write_small_tree(tmp_path / "tree"), {}
    segmenter = {"name": "deeplabv3plus", "weights": str(deeplab_weights), "image_size": [32, 40]}
    for name, version in (("now", today()), ("then", earlier)):
        out = tmp_path / name
        order = {"root": str(tree), "cities": ["bob"], "out": str(out), "segmenter": segmenter}
        logs, task = ask(earlier, "submit_array", "cache", order)
        assert task == "vprdist.semantics.worker:make_part" and task.encode() in pickled(logs)
        assert "task 0 of 2: the cache is complete" in begins(version, logs, "0")
        found[name] = {path.name: path.read_bytes() for path in (out / "shards").iterdir()}
        assert read_manifest(out).digest_of(("bob",))
        shutil.rmtree(out)
    assert found["now"] == found["then"], "the same shards, to the byte"
