"""What submitit is told, and how much a machine bears: pure functions."""

from __future__ import annotations

import pytest

from vprdist.errors import LaunchError
from vprdist.launch.capacity import Capacity, capacity, local_capacity
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.spec.profile import ClusterProfile, read_profile


def test_the_worked_example_reaches_submitit_as_a_batch_script() -> None:
    from submitit.slurm.slurm import _make_sbatch_string

    parameters = submission_parameters(read_profile("example-gpu"), "abcd", "token")
    lines = _make_sbatch_string(command="run", folder="/tmp/x", **parameters).splitlines()
    for line in (
        "#SBATCH --job-name=vprdist-abcd",
        "#SBATCH --comment=token",
        "#SBATCH --partition=gpu",
        "#SBATCH --exclude=gpu17",
        "#SBATCH --mem=122880MB",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@120",
        "module load cuda/12.4",
    ):
        assert line in lines


def test_a_local_job_has_its_gpus_and_one_node() -> None:
    parameters = submission_parameters(ClusterProfile(kind="local", ranks=2), "abcd", "token", (2, 3))
    assert parameters["visible_gpus"] == [2, 3]
    assert parameters["tasks_per_node"] == 2
    with pytest.raises(LaunchError, match="one node"):
        submission_parameters(ClusterProfile(kind="local", nodes=2), "abcd", "token")


@pytest.mark.parametrize(
    ("profile", "machine", "expected"),
    [
        ({}, (2, 16.0, ()), Capacity(2, 1)),
        ({}, (16, 16.0, ()), Capacity(6, 2)),
        ({}, (2, 1.0, ()), Capacity(1, 2)),
        ({"ranks": 2}, (2, 16.0, ()), Capacity(1, 1)),
        ({"max_concurrent": 3}, (2, 16.0, ()), Capacity(3, 1)),
        ({"cpus_per_task": 4}, (16, 64.0, ()), Capacity(4, 4)),
        ({}, (16, 64.0, (0, 1, 2, 3)), Capacity(4, 4, 1, (0, 1, 2, 3))),
        ({"ranks": 2, "max_concurrent": 9}, (16, 64.0, (4, 5, 6, 7)), Capacity(2, 4, 2, (4, 5, 6, 7))),
        ({"ranks": 2}, (16, 64.0, (0,)), Capacity(8, 1)),
    ],
)
def test_local_capacity(
    profile: dict[str, int], machine: tuple[int, float, tuple[int, ...]], expected: Capacity
) -> None:
    assert local_capacity(ClusterProfile(kind="local", **profile), *machine) == expected


def test_a_list_has_many_jobs_in_flight_and_a_searcher_few_unless_the_profile_says_otherwise() -> None:
    slurm = ClusterProfile(kind="slurm")
    assert (capacity(slurm).concurrent, capacity(slurm, proposes=True).concurrent) == (64, 8)
    said = ClusterProfile(kind="slurm", max_concurrent=30)
    assert (capacity(said).concurrent, capacity(said, proposes=True).concurrent) == (30, 30)


def test_a_job_inherits_nothing_of_ray_and_its_own_threads() -> None:
    environment = job_environment({"RAY_ADDRESS": "x", "TUNE_Y": "1", "OMP_NUM_THREADS": "1", "HOME": "/h"}, 4)
    assert environment["HOME"] == "/h"
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "4"
    assert not {"RAY_ADDRESS", "TUNE_Y"} & set(environment)
    assert "OMP_NUM_THREADS" not in job_environment({"OMP_NUM_THREADS": "1"}, None)
