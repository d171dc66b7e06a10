"""GCL's own public training, untouched, as a trial on a real SLURM: interrupted, its predictions are those of an
undisturbed run to the byte, and our evaluation of them is its own.

The code is fetched and is not ours: skipped where no clone is at hand (`tests.public_code`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from tests.program.public_gcl.prepare import prepare as prepare_cities
from tests.public_code import checkout
from tests.slurm.conftest import DevCluster
from tests.waiting import until
from vprdist.launch.dispatcher import Dispatcher
from vprdist.prepare.prepare import look
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder

REPO = Path(__file__).resolve().parents[2]
HERE = REPO / "tests" / "program" / "public_gcl"
GLUE_LINES = 20
STEPS = 3


@pytest.fixture(scope="module")
def gcl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with its code, MSLS' own evaluation, which it calls, and the data."""
    code = checkout("VPRDIST_GCL", "marialeyvallina+generalized_contrastive_loss", None, tmp_path_factory)
    peers = checkout("VPRDIST_MSLS", "mapillary+mapillary_sls", None, tmp_path_factory)
    folder = tmp_path_factory.mktemp("gcl")
    prepare_cities(folder / "msls")
    (folder / "code").symlink_to(code)
    (folder / "peers").symlink_to(peers)
    return folder


def trial_of(folder: Path, runs: Path) -> TrialSpec:
    """The glue with GCL's own words as parameters."""
    params = {
        "root_dir": f"{folder}/msls/", "cities": "toy", "image_size": "32,40", "backbone": "resnet18", "batch_size": 4,
        "steps": STEPS, "learning_rate": 0.05,
    }  # fmt: skip
    files = [str(folder / "code" / name) for name in ("train.py", "src")]
    search = os.pathsep.join(map(str, (HERE / "old_environment", folder / "code", REPO)))
    words = ["env", "GCL=1", f"MAPILLARY_ROOT={folder}/peers", f"PYTHONPATH={search}", "python", str(HERE / "glue.py")]
    job = {"command": words, "files": files, "leaves": "predictions"}
    data = {"root": str(folder / "msls"), "train": ["amman"], "validate": ["cph", "sf"]}
    path = folder / "gcl.yaml"
    path.write_text(yaml.safe_dump({"trial": {"job": job, "params": params, "data": data}}))
    (trial,) = look(read_sweep(path), ClusterProfile(kind="local"), runs).trials
    assert trial.digests is not None
    return trial


def run(folder: Path, runs: Path, profile: ClusterProfile, act: Callable[[TrialFolder], object] | None) -> TrialFolder:
    """To its result; once the first checkpoint is there, act."""
    trial = trial_of(folder, runs)
    place, acted = TrialFolder.of(runs, trial.trial_id), act is None
    with Dispatcher(profile, runs) as dispatcher:
        dispatcher.want(trial)

        def is_over() -> bool:
            nonlocal acted
            dispatcher.check()
            if not acted and (place.checkpoint / "last.pth").exists():
                acted = True
                assert act is not None
                act(place)
            return place.is_over

        until(is_over, timeout_s=1200)
    assert acted and place.failure() is None, place.failure()
    return place


def test_the_glue_is_twenty_lines() -> None:
    code = compile((HERE / "glue.py").read_text(), "glue.py", "exec")
    lines = [line.strip() for line in (HERE / "glue.py").read_text().split('"""', 2)[2].splitlines()]
    assert code is not None and len([line for line in lines if line and not line.startswith("#")]) <= GLUE_LINES


@pytest.mark.slow
def test_interrupted_its_predictions_are_the_undisturbed_ones(
    slurm_cluster: DevCluster, gcl: Path, tmp_path: Path
) -> None:
    def kill(place: TrialFolder) -> None:
        (program,) = psutil.Process(int(place.starts()[-1]["pid"])).children()
        os.kill(program.pid, signal.SIGKILL)

    def job_of(place: TrialFolder) -> str:
        record = place.job()
        assert record is not None and record.job_id is not None
        return record.job_id

    acts: dict[str, Callable[[TrialFolder], object] | None] = {
        "undisturbed": None,
        "killed": kill,
        "preempted": lambda place: slurm_cluster.run("scancel", "--signal=USR2", job_of(place)),
        "requeued": lambda place: slurm_cluster.run("scontrol", "requeue", job_of(place)),
    }
    places = {name: run(gcl, tmp_path / name, slurm_cluster.profile(memory_gb=7), act) for name, act in acts.items()}
    rows = {name: place.result() for name, place in places.items()}
    assert {name: row.starts for name, row in rows.items()} == {
        "undisturbed": 1, "killed": 2, "preempted": 2, "requeued": 2
    }  # fmt: skip
    texts = {name: (place.path / "testexp_retrieved.csv").read_bytes() for name, place in places.items()}
    assert len(set(texts.values())) == 1 and next(iter(texts.values()))
    (theirs,) = [row for row in places["undisturbed"].rows()[0] if row["step"] == STEPS]
    ours = rows["undisturbed"].metrics
    assert ours == {name: theirs[name] for name in ours}, "its own evaluation, which is MSLS', and ours"
    assert all(row.metrics == ours for row in rows.values())
