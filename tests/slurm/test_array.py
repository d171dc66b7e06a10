"""Job arrays on a real SLURM: everything is made once, whatever happens to tasks and to whoever watches them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_array import FUNCTION, pieces

from tests.slurm.conftest import DevCluster
from tests.waiting import until
from vprdist.errors import LaunchError
from vprdist.files import read_json_lines, write_json
from vprdist.launch.array import run_array
from vprdist.launch.array_folder import Array
from vprdist.spec.profile import ClusterProfile
from vprdist.store.driving import Check, wanted_by_all

DRIVER = """
import sys
from pathlib import Path
from toy_array import FUNCTION, pieces
from vprdist.launch.array import run_array
from vprdist.launch.array_folder import Array
from vprdist.spec.profile import ClusterProfile
folder = Path(sys.argv[2])
run_array(ClusterProfile.model_validate_json(sys.argv[1]), Array("toy-array", folder), FUNCTION, (str(folder),), 3,
          root=folder, is_done=lambda: pieces(folder) == 9, tick=lambda: pieces(folder), tell=print)
"""


def run(
    folder: Path, profile: ClusterProfile, count: int, wanted: int, tick: Callable[[], None] = lambda: None,
    check: Check = wanted_by_all,
) -> list[str]:  # fmt: skip
    told: list[str] = []
    deadline = time.monotonic() + 120

    def watch() -> int:
        assert time.monotonic() < deadline, told
        tick()
        return pieces(folder)

    run_array(
        profile, Array("toy-array", folder), FUNCTION, (str(folder),), count,
        root=folder, is_done=lambda: pieces(folder) == wanted, tick=watch, tell=told.append, check=check,
    )  # fmt: skip
    return told


def made(folder: Path) -> Counter[str]:
    return Counter(str(row["piece"]) for row in read_json_lines(folder / "made.jsonl")[0])


def in_queue(cluster: DevCluster) -> str:
    """Also tasks that are still being ended: they may yet say something."""
    return cluster.run("squeue", "--noheader", "--states=PD,R,CG", "--name=vprdist-toy-array").strip()


def started(folder: Path) -> set[object]:
    """Indices of the tasks that have begun."""
    return {row["index"] for row in read_json_lines(folder / "starts.jsonl")[0]}


def test_tasks_share_the_work_and_each_has_a_gpu(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    write_json(tmp_path / "behaviour.json", {"pieces": 8, "dt": 0.5})
    told = run(tmp_path, slurm_cluster.profile(ranks=2, gpus_per_node=2, memory_gb=1), 4, 8)
    assert made(tmp_path) == Counter({f"piece-{i}": 1 for i in range(8)})
    until(lambda: started(tmp_path) == {0, 1, 2, 3})  # the last may begin when there is nothing left to do
    starts = read_json_lines(tmp_path / "starts.jsonl")[0]
    assert all(len(str(row["gpus"]).split(",")) == 1 for row in starts)
    assert len(told) == 1 and "4 task(s)" in told[0], told
    assert run(tmp_path, slurm_cluster.profile(), 4, 8) == [], "what is made starts nothing"


def test_dead_tasks_are_made_up_for(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    """One task of two dies; the other one passes its piece by while it is held, so that a second array is needed."""
    write_json(tmp_path / "behaviour.json", {"pieces": 2, "dt": 3.0, "die": [1]})
    done: list[str] = []

    def mend() -> None:
        if pieces(tmp_path) == 1 and not done:
            write_json(tmp_path / "behaviour.json", {"pieces": 2, "dt": 0.1})
            done.append("mended")

    told = run(tmp_path, slurm_cluster.profile(), 2, 2, mend)
    assert made(tmp_path) == Counter({"piece-0": 1, "piece-1": 1})
    assert sum("ended too early" in line for line in told) <= 1, told


def test_arrays_that_make_nothing_are_given_up_with_their_last_words(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    write_json(tmp_path / "behaviour.json", {"pieces": 1, "die": [0]})
    with pytest.raises(LaunchError, match="none of 2 arrays made everything"):
        run(tmp_path, slurm_cluster.profile(max_attempts=2), 1, 1)
    assert not in_queue(slurm_cluster)


def test_a_mistake_of_the_users_ends_the_array_with_one_message_unless_one_node_alone_finds_it(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    write_json(tmp_path / "behaviour.json", {"pieces": 4, "mistake": "everywhere"})
    with pytest.raises(LaunchError, match=r"toy\.jpg: every picture is whole.*Copy it again"):
        run(tmp_path, slurm_cluster.profile(cpus_per_task=16), 2, 4)  # one task a node
    until(lambda: not in_queue(slurm_cluster))
    write_json(tmp_path / "behaviour.json", {"pieces": 4, "dt": 0.1, "mistake": "first"})
    told = run(tmp_path, slurm_cluster.profile(), 1, 4)
    bad = (tmp_path / "first-node").read_text()
    assert any(line.startswith(f"found on node {bad} alone, so once more without it: toy.jpg") for line in told), told
    assert set(made(tmp_path).values()) == {1}, "without that node, it goes on"


def test_a_killed_watcher_finds_its_array_again_and_preempted_tasks_come_back(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    write_json(tmp_path / "behaviour.json", {"pieces": 9, "dt": 0.5, "hold": True})
    profile = slurm_cluster.profile(cpus_per_task=16)  # one task a node
    words = [sys.executable, "-u", "-c", DRIVER, profile.model_dump_json(), str(tmp_path)]
    first = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    until(lambda: started(tmp_path) == {0, 1, 2})
    first.kill()
    first.wait()
    slurm_cluster.occupy("gpu01", 1)
    second = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    assert "is in the queue already" in second.stdout.readline()
    (tmp_path / "go").touch()  # not before: a second one that starts slowly would find all made
    assert second.communicate(timeout=120)[0] == "", "nothing was submitted again"
    assert second.returncode == 0
    assert made(tmp_path) == Counter({f"piece-{i}": 1 for i in range(9)})


def test_a_refused_array_is_one_message(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    write_json(tmp_path / "behaviour.json", {"pieces": 1})
    with pytest.raises(LaunchError, match="invalid partition"):
        run(tmp_path, slurm_cluster.profile(partition="nowhere"), 2, 1)
    assert not in_queue(slurm_cluster)


def test_cancelled_work_is_not_submitted(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    """A person who cancels says so, and then waits for the lock: a driver that comes to it after him finds the word."""

    def check() -> None:
        raise LaunchError("sweep s", "it is wanted", "cancelled by me")

    with pytest.raises(LaunchError, match="cancelled by me"):
        run(tmp_path, slurm_cluster.profile(), 2, 2, check=check)
    assert not in_queue(slurm_cluster) and not list((tmp_path / "logs").glob("*.sh"))
