"""A cache built by a job array on a real SLURM: the bytes of one builder, whatever happens meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import warm
from tests.end_to_end.test_caches import build_words, files_of, vprdist
from tests.slurm.conftest import DevCluster, hold
from tests.waiting import until
from vprdist.cli import main
from vprdist.files import write_text
from vprdist.prepare.folders import cache_orders
from vprdist.semantics.cache import verify
from vprdist.semantics.segmenting import array_of
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep
from vprdist.store.manifest import Manifest

SWEEP = """
name: masks
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input: {{mode: masked, segmenter: {{name: deeplabv3plus, weights: {weights}}}}}
cluster: {profile}
"""


def write_profile(cluster: DevCluster, path: Path) -> Path:
    profile = cluster.profile(memory_gb=3)
    path.write_text(yaml.safe_dump({**profile.model_dump(mode="json", exclude_defaults=True), "kind": "slurm"}))
    return path


@pytest.mark.slow
def test_an_array_makes_the_bytes_of_one_builder_though_its_driver_dies_and_a_task_is_preempted(
    slurm_cluster: DevCluster, small_tree: Path, deeplab_weights: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert vprdist(*build_words(small_tree, here, deeplab_weights, "--cities", "ada")).returncode == 0
    profile = write_profile(slurm_cluster, tmp_path / "site.yaml")
    words = build_words(small_tree, there, deeplab_weights, "--cities", "ada", "--cluster", profile, "--tasks", 2)
    driver = warm.Popen([sys.executable, "-m", "vprdist", *words], stdout=subprocess.PIPE, text=True)
    # Not earlier: a USR2 that meets a Python which still starts ends it, and that costs one more array.
    until(lambda: list(there.glob("shards/*.arrow")) or driver.poll() is not None, 240)
    assert driver.poll() is None, driver.communicate()[0]
    driver.kill()
    driver.wait()
    nodes = slurm_cluster.run("squeue", "--noheader", "--states=R", "--format=%N").split()
    slurm_cluster.occupy(nodes[0], 1)
    done = vprdist(*words)
    assert done.returncode == 0, done.stderr + done.stdout
    arrays = slurm_cluster.run("squeue", "--noheader", "--states=all", "--format=%F %j").splitlines()
    assert len({line for line in arrays if "vprdist-cache" in line}) == 1, "one array was submitted, not two"
    until(lambda: not list(there.glob("shards/*.json")))  # the last task cleans up when all is there to be used
    shards = {name: data for name, data in files_of(there).items() if not name.startswith("build/")}
    assert shards == files_of(here)
    verify(there)


def test_weights_that_are_no_deeplab_end_before_any_job(
    slurm_cluster: DevCluster, small_tree: Path, tmp_path: Path
) -> None:
    profile = write_profile(slurm_cluster, tmp_path / "site.yaml")
    (tmp_path / "bad.pth").write_bytes(b"no checkpoint")
    words = build_words(small_tree, tmp_path / "cache", tmp_path / "bad.pth", "--cluster", profile)
    done = vprdist(*words)
    assert done.returncode == 2
    assert "bad.pth" in done.stderr
    assert "vprdist-cache" not in slurm_cluster.run("squeue", "--noheader", "--states=PD,R", "--format=%j")
    assert not (tmp_path / "cache").exists()


def test_an_array_that_makes_a_sweeps_cache_is_cancelled_with_the_sweep(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(slurm_cluster, tmp_path / "site.yaml")
    (tmp_path / "net.pth").write_bytes(b"weights")
    file, runs = tmp_path / "masks.yaml", tmp_path / "runs"
    file.write_text(SWEEP.format(root=tmp_path / "tree", weights=tmp_path / "net.pth", profile=profile))
    sweep = read_sweep(file)
    Manifest(runs / "sweeps" / "masks", sweep, ()).write()
    (order,) = cache_orders(sweep, read_profile(sweep.cluster), runs)
    array = array_of(order)
    write_text(array.order, order.model_dump_json())
    hold(slurm_cluster, f"--job-name={array.job}", f"--comment={array.token}", "--array=0-3")
    assert main(["cancel", "masks", "--yes", "--runs", str(runs)]) == 0
    assert f"array {array.job}: cancelled" in capsys.readouterr().out
    assert not slurm_cluster.run("squeue", "--noheader", "--states=PD,R").strip()
