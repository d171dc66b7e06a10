"""The fault drill's short form, in the default run: `python -m tests.drills` plays all of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.faults import FAULTS
from tests.drills.stage import Stage, count
from tests.slurm.devclusters import DevCluster, NoSlurm, devcluster

SHORT = ("driver-killed-while-it-submits", "job-killed", "node-fails", "controller-killed")


@pytest.fixture
def stage(cluster: DevCluster, tmp_path: Path) -> Iterator[Stage]:
    """Four chains; no driver outlives the test."""
    made = Stage(cluster, tmp_path / "runs", count=4, steps=20, dt=0.2, haste=0.2)
    yield made
    made.signal(signal.SIGKILL)
    made.until(made.ended, "the driver to be dead")
    cluster.run("scancel", "--user=root")


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    """Its own: daemons are killed."""
    try:
        with devcluster("--nodes=2", "--gpus=0", "--cpus=16", "--grace=4") as made:
            yield made
    except NoSlurm as error:
        pytest.skip(str(error))


def test_no_result_is_lost_doubled_or_changed_by_misfortunes_of_every_part(stage: Stage) -> None:
    stage.start()
    for name in SHORT:
        FAULTS[name].strike(stage)
    stage.finish()
    found = count(stage)
    assert found.good, found
    assert found.starts > found.trials, "nothing was disturbed"
    assert -signal.SIGKILL in stage.exits
    the_count_sees_what_is_wrong(stage)


def the_count_sees_what_is_wrong(stage: Stage) -> None:
    """A count that is good whatever happens would be worth nothing."""
    folder = stage.folders[0]
    result, rows = folder.result_file.read_text(), folder.metrics_file.read_text()
    folder.result_file.write_text(result.replace(folder.result().environment["chain"], "0" * 64))
    assert count(stage).changed == 1
    folder.result_file.write_text(result)
    folder.metrics_file.write_text("".join(line for line in rows.splitlines(True) if '"step": 3,' not in line))
    assert count(stage).lost == 1
    folder.metrics_file.write_text(rows.replace('"start": 1', '"start": 9', 1))
    assert count(stage).doubled == 1
    folder.metrics_file.write_text(rows)
    assert count(stage).good
    twice = next(each for each in stage.folders if len({row["token"] for row in each.all_starts()}) > 1)
    journal = twice.job_file.read_text()
    twice.write_job(stage.job_of(twice).updated(attempt=1, lost=0))
    assert count(stage).doubled == 1
    twice.job_file.write_text(journal)
    folder.result_file.unlink()
    assert (count(stage).lost, count(stage).good) == (1, False)
