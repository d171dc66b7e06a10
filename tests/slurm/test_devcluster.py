"""The real SLURM on this machine that everything else is tried on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.slurm.conftest import DEVCLUSTER, DevCluster
from tests.waiting import until


def pids(cluster: DevCluster) -> list[str]:
    return [line for line in cluster.control("status").splitlines() if " pid " in line]


def submit(cluster: DevCluster, script: str, *options: str) -> str:
    return cluster.run("sbatch", "--parsable", "--mem=100", "--output=/dev/null", *options, f"--wrap={script}").strip()


def test_root_writes_nothing_into_a_folder_of_others(tmp_path: Path) -> None:
    """Links under names that everybody knows would lead it to any file of the machine."""
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    tmp_path.chmod(0o777)
    done = subprocess.run([DEVCLUSTER, "up", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"others may write to {tmp_path}" in done.stderr
    assert not (tmp_path / "precious").exists()


def test_up_is_idempotent_and_starts_what_died(slurm_cluster: DevCluster) -> None:
    before = pids(slurm_cluster)
    assert len(before) == 5  # munged, slurmctld, three nodes
    slurm_cluster.up()
    assert pids(slurm_cluster) == before
    slurm_cluster.fail("gpu02")
    assert len(pids(slurm_cluster)) == 4
    slurm_cluster.up()
    after = pids(slurm_cluster)
    assert [line for line in after if line in before] == [line for line in before if "gpu02" not in line]
    assert "idle gpu[01-03]" in slurm_cluster.run("sinfo")


def test_up_starts_a_dead_controller_where_it_was_and_leaves_the_rest_alone(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    out, conf = tmp_path / "out", slurm_cluster.folder / "etc" / "slurm.conf"
    job = submit(slurm_cluster, f"touch {out}; while [ -e {out} ]; do sleep 0.1; done")
    until(out.exists)
    # The controller writes its jobs down some seconds later: one not in it yet is forgotten, and one that is in it from
    # before its start waits again. A word said of it while it runs tells which writing is meant.
    slurm_cluster.run("scontrol", "update", f"JobId={job}", "Comment=it runs")
    saved = slurm_cluster.folder / "state" / "job_state"
    until(lambda: saved.exists() and b"it runs" in saved.read_bytes())
    before, settings = pids(slurm_cluster), conf.read_text()
    (controller,) = (int(line.split()[-1]) for line in before if line.startswith("slurmctld"))
    os.kill(controller, signal.SIGKILL)
    until(lambda: len(pids(slurm_cluster)) == 4)
    slurm_cluster.control("up", "--nodes=7")  # what it was made with holds while something of it runs
    assert conf.read_text() == settings
    assert [line for line in pids(slurm_cluster) if "slurmctld" not in line] == [
        line for line in before if "slurmctld" not in line
    ]
    assert slurm_cluster.run("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip() == "RUNNING"
    out.unlink()
    until(lambda: "COMPLETED" in slurm_cluster.run("scontrol", "show", "job", job), 60)


@pytest.mark.parametrize("setting", ["SlurmctldPort", "Port"])
def test_a_port_that_somebody_takes_meanwhile_costs_another_try(slurm_cluster: DevCluster, setting: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="vprdist-slurm-", dir="/tmp"))
    conf, taken = folder / "etc" / "slurm.conf", []

    def take() -> None:
        """Listen where a daemon is about to, once its configuration is written and before it comes to it."""
        deadline, found = time.monotonic() + 20, None
        while found is None and time.monotonic() < deadline:  # no pause: the daemon comes soon
            found = re.search(rf"\b{setting}=(\d+)", conf.read_text() if conf.exists() else "")
        assert found is not None
        taken.append(socket.create_server(("0.0.0.0", int(found[1]))))

    thread = threading.Thread(target=take)
    thread.start()
    try:
        up = [str(DEVCLUSTER), "up", str(folder), "--nodes=1"]
        done = subprocess.run(up, capture_output=True, text=True, check=False)
        thread.join()
        port = taken[0].getsockname()[1]
        assert done.returncode == 0, done.stderr
        assert f"{setting}={port}" not in conf.read_text(), "it runs somewhere else"
        assert "took a port" in done.stderr, "it did meet the other"
    finally:
        subprocess.run([DEVCLUSTER, "down", folder, "--now"], check=True, capture_output=True)
        subprocess.run(["rm", "-rf", folder], check=True)
        for server in taken:
            server.close()


def test_nodes_have_names_of_their_own_and_find_each_other(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    submit(slurm_cluster, f"(hostname; getent hosts gpu01 gpu03) > {out}.tmp; mv {out}.tmp {out}", "-w", "gpu02")
    until(out.exists)
    assert out.read_text().split() == ["gpu02", "127.0.77.1", "gpu01", "127.0.77.3", "gpu03"]


def test_jobs_that_share_a_node_get_different_gpus(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("a", "b")]
    side_by_side = f"until [ -e {outs[0]} ] && [ -e {outs[1]} ]; do sleep 0.1; done"
    for out in outs:
        script = f"echo $CUDA_VISIBLE_DEVICES > {out}.tmp; mv {out}.tmp {out}; {side_by_side}"
        submit(slurm_cluster, script, "-w", "gpu01", "--gpus-per-node=2")
    until(lambda: all(out.exists() for out in outs))
    assert sorted(",".join(out.read_text().strip() for out in outs).split(",")) == ["0", "1", "2", "3"]


def test_a_more_important_job_preempts_and_the_other_comes_back(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    out = tmp_path / "starts"
    submit(slurm_cluster, f"echo $SLURM_RESTART_COUNT. >> {out}; sleep 30", "-p", "low", "-w", "gpu01", "--requeue")
    until(out.exists)
    slurm_cluster.occupy("gpu01", 1)
    until(lambda: out.read_text().split() == [".", "1."], 60)


def test_accounting_answers_and_knows_accounts(slurm_accounting: DevCluster) -> None:
    job = submit(slurm_accounting, "true", "--account=vpr")
    until(lambda: "COMPLETED" in slurm_accounting.run("sacct", "-n", "-X", "-j", job, "--format=State"))
    environment = {**os.environ, **slurm_accounting.environment}
    command = ["sbatch", "--account=nobody", "--wrap=true"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert refused.returncode != 0
    assert "Invalid account" in refused.stderr


def test_down_leaves_nothing_and_without_slurm_there_is_one_message(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    folder = Path(f"/tmp/vprdist-down-{os.getpid()}")
    subprocess.run([DEVCLUSTER, "up", folder, "--nodes=1"], check=True, capture_output=True)
    other = DevCluster(folder, ())
    out = tmp_path / "out"
    submit(other, f"touch {out}; sleep 600")
    until(out.exists)
    assert "is stopped" in other.control("down")
    until(lambda: users_of(folder) == [], 5)  # whatever was killed is gone in a moment
    assert "is stopped" in other.control("down")
    subprocess.run(["rm", "-rf", folder], check=True)

    (tmp_path / "bin").mkdir()
    nothing = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    command = [sys.executable, DEVCLUSTER, "up", tmp_path / "none"]
    # unshare is the one program that /usr/sbin, which is always looked into, does not have
    done = subprocess.run(command, env=nothing, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "apt-get install -y --no-install-recommends slurm-wlm munge" in done.stderr
    assert "Traceback" not in done.stderr


def users_of(folder: Path) -> list[str]:
    """Processes whose environment names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "environ").read_bytes():
                found.append((entry / "comm").read_text().strip())
        except OSError:
            continue
    return found
