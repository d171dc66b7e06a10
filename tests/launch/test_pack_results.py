"""Real trials in one job, one after another and side by side, give what jobs of their own give, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy import PROFILE

from tests.training.making import losses, make_trial
from tests.waiting import until
from tests.worlds import write_city
from vprdist.launch.dispatcher import Dispatcher
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.checkpoint import load_checkpoint

RATES = (0.001, 0.002, 0.003)
ALONE = PROFILE.model_copy(update={"max_concurrent": 1, "cpus_per_task": 1})


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[TrialSpec]:
    root = tmp_path_factory.mktemp("world") / "tree"
    write_city(root, "ada", num_query=12, num_database=20, seed=1)
    write_city(root, "bob", num_query=8, num_database=16, seed=2)
    recipe = {"image_size": (32, 40), "steps": 4, "chunk_queries": 10, "optimizer": "adamw", "batch_norm": "frozen"}
    return [make_trial(root, lr=rate, **recipe) for rate in RATES]


def run(trials: list[TrialSpec], runs: Path, profile: ClusterProfile) -> list[TrialFolder]:
    wanted = [TrialFolder.of(runs, trial.trial_id) for trial in trials]
    with Dispatcher(profile, runs) as dispatcher:
        for trial in trials:
            dispatcher.want(trial)
        until(lambda: dispatcher.check() or all(folder.is_over for folder in wanted), 600)
    assert [folder.failure() for folder in wanted] == [None] * len(trials)
    return wanted


@pytest.fixture(scope="module")
def alone(trials: list[TrialSpec], tmp_path_factory: pytest.TempPathFactory) -> list[TrialFolder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
        return run(trials, tmp_path_factory.mktemp("alone"), ALONE)


@pytest.mark.slow
@pytest.mark.parametrize("beside", [1, 3], ids=["one after another", "side by side"])
def test_results_are_those_of_jobs_of_their_own_to_the_bit(
    trials: list[TrialSpec], alone: list[TrialFolder], tmp_path: Path, beside: int
) -> None:
    profile = ALONE.model_copy(update={"trials_per_job": 3, "side_by_side": beside})
    packed = run(trials, tmp_path, profile)
    assert len({folder.job().job_id for folder in packed if folder.job() is not None}) == 1  # type: ignore[union-attr]
    for one, other in zip(alone, packed, strict=True):
        a, b = one.result(), other.result()
        assert (a.metrics, a.final_loss, a.untrained) == (b.metrics, b.final_loss, b.untrained)
        assert losses(one.path) == losses(other.path)
        first, second = (load_checkpoint(f.path / "checkpoint", f.trial_id) for f in (one, other))
        assert first is not None and second is not None
        assert first["network"].keys() == second["network"].keys()
        assert all(torch.equal(first["network"][name], second["network"][name]) for name in first["network"])
