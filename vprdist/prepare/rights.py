"""The rights to what a sweep's driver and jobs load: asked for by `sweep` before it starts, and by `plan`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vprdist.private import Guard, Trust
from vprdist.spec.elsewhere import code_of
from vprdist.spec.own_code import own_files
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.manifest import sweep_file, sweep_folder
from vprdist.store.trial_folder import TrialFolder


def check_rights(sweep: SweepSpec, runs: Path, trust: Trust) -> Guard:
    """Nobody whom we do not trust may write to the run folder, the sweep's file in it, and the user's own classes.

    Nothing is made: a run folder that is not there is looked at as far as there is a way to it.

    Returns:
        The guard, for the trials once their folders are known (`check_trials`).

    Raises:
        LaunchError: somebody may.
    """
    guard = Guard(trust, runs)
    guard.check_way(runs)
    if runs.exists():
        guard.check(sweep_file(sweep_folder(runs, sweep.name)))
    guard.check(*own_files(_own_classes(sweep)))
    guard.check(*dict.fromkeys(path for trial in sweep.trials for path in code_of(trial.network.backbone)))
    return guard


def check_trials(guard: Guard, trials: Iterable[TrialSpec], runs: Path) -> None:
    """Nor to what jobs of these trials load.

    Raises:
        LaunchError: somebody may.
    """
    for trial in trials:
        if trial.job is not None:
            guard.check(*trial.job.paths)
        if trial.digests is not None and runs.exists():  # a plan makes no demo city, and so has no digest of it
            guard.check(*TrialFolder.of(runs, trial.trial_id).loaded)


def trust_note(profile: ClusterProfile) -> str | None:
    """Whom root of a container trusts without being told to."""
    if profile.host_user is None:
        return None
    return f"in this container root stands for user {profile.host_user}, whose folder it was started in"


def _own_classes(sweep: SweepSpec) -> set[str]:
    """The names of all classes of a user's own that the driver or a job loads."""
    names = {each.name for trial in sweep.trials for each in trial.own_code.values()}
    segmenters = [trial.input.segmenter for trial in sweep.trials]
    names |= {each.name for each in segmenters if each is not None and each.is_own}
    searcher = sweep.search.searcher
    return names | ({searcher.name} if searcher is not None and searcher.is_own else set())
