"""Which trials that are due are submitted together: in one job, or as the tasks of one job array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vprdist.launch.params import submission_parameters
from vprdist.launch.trial_watch import Next, Watch
from vprdist.spec.profile import ClusterProfile
from vprdist.store.batch_folder import ARRAY, PACK
from vprdist.store.journal import JobRecord, job_name, new_token

Due = tuple[Watch, Next]
Job = list[Due]
"""Trials that one job runs."""


def jobs_of(due: Sequence[Due], trials_per_job: int) -> list[Job]:
    """The jobs of trials that are due, in their order. One whose job died has a job of its own: whatever it died of
    meets no other then, and it has the job's memory for itself."""
    alone = [[each] for each in due if each[1] == "submit again"]
    others = [each for each in due if each[1] != "submit again"]
    packs = [others[begin : begin + trials_per_job] for begin in range(0, len(others), trials_per_job)]
    return [*packs, *alone]


def submissions_of(jobs: Sequence[Job], most_tasks: int) -> list[list[Job]]:
    """What each sbatch submits: an array of at most so many tasks, or a job; 1: no arrays."""
    return [list(jobs[begin : begin + max(1, most_tasks)]) for begin in range(0, len(jobs), max(1, most_tasks))]


def batch_parameters(
    profile: ClusterProfile, trial_id: str, token: str, tasks: int, gpus: Sequence[int] = ()
) -> dict[str, Any]:
    """What submitit is told of a submission of several trials.

    Args:
        trial_id: stands for the trials in the job's name.
        tasks: of the job array; 1: it is none.
    """
    parameters = submission_parameters(profile, trial_id, token, gpus)
    if tasks > 1:
        parameters["array_parallelism"] = profile.max_concurrent or profile.array_limit
    return parameters


def batch_name(token: str, tasks: int) -> str:
    """Stands for the trials in the name of their job, or array."""
    return (ARRAY if tasks > 1 else PACK) + token[:8]


def joined(profile: ClusterProfile, jobs: Sequence[Job], drafts: Mapping[str, JobRecord]) -> dict[str, JobRecord]:
    """The journals of trials that are submitted together, by trial id.

    Args:
        drafts: what each would be by itself.
    """
    token, first = new_token(), drafts[jobs[0][0][0].folder.trial_id]
    avoided = tuple(sorted({node for draft in drafts.values() for node in draft.avoided}))
    label = batch_name(token, len(jobs))
    excluding = profile.model_copy(update={"exclude": (*profile.exclude, *avoided)})
    parameters = batch_parameters(excluding, label, token, len(jobs), first.gpus)
    records = {}
    for task, job in enumerate(jobs):
        members = tuple(watch.folder.trial_id for watch, _ in job)
        share = min(profile.side_by_side, len(members))
        for trial_id in members:
            draft = drafts[trial_id]
            records[trial_id] = draft.updated(
                token=token, name=job_name(label, profile.job_name_prefix), parameters=parameters, members=members,
                task=task if len(jobs) > 1 else None, share=share, avoided=avoided, gpus=first.gpus,
                num_threads=draft.num_threads and max(1, draft.num_threads // share),
            )  # fmt: skip
    return records
