"""submitit's executors: their jobs start through our own door (`enter`), and a job id is one."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, FailedSubmissionError, JobPaths

from vprdist.launch.forked import fork_controller
from vprdist.launch.sbatch import job_id_in
from vprdist.launch.warm_server import is_child


class SlurmExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
    """submitit takes the first `job NUMBER` that it finds for the id.

    Args:
        command: what a job runs, a shell's.
    """

    def __init__(self, folder: Path, *numbers: Any, command: str, **options: Any) -> None:
        super().__init__(folder, *numbers, **options)
        self.command = command

    @property
    def _submitit_command_str(self) -> str:
        return self.command

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        said = string if isinstance(string, str) else string.decode(errors="replace")
        if (job_id := job_id_in(said)) is None:
            raise FailedSubmissionError(f"sbatch does not say which job it took: {said.strip()[-200:]!r}")
        return job_id

    def _internal_process_submissions(self, delayed_submissions: list[DelayedSubmission]) -> list[submitit.Job[Any]]:
        """As submitit does it, but an array's executor is of this class too."""
        count = len(delayed_submissions)
        if count == 1:
            return list(super()._internal_process_submissions(delayed_submissions))
        place, pickles = JobPaths.get_first_id_independent_folder(self.folder), []
        place.mkdir(parents=True, exist_ok=True)
        for call in delayed_submissions:
            call.set_timeout(self.parameters.get("time", 5), self.max_num_timeout)
            pickles.append(place / f"{uuid.uuid4().hex}.pkl")
            call.dump(pickles[-1])
        executor = type(self)(self.folder, self.max_num_timeout, command=self.command)
        executor.parameters = {**self.parameters, "map_count": count}
        array = executor._submit_command(self._submitit_command_str)
        tasks = list(range(array.num_tasks))
        jobs = [submitit.SlurmJob(self.folder, f"{array.job_id}_{index}", tasks) for index in range(count)]
        for job, pickle in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(pickle, "submitted_pickle")
        return jobs


class LocalExecutor(submitit.LocalExecutor):  # type: ignore[misc]
    """Jobs on this machine that start with a command of ours."""

    def __init__(self, folder: Path, *, command: str) -> None:
        super().__init__(folder)
        self.command = command

    @property
    def _submitit_command_str(self) -> str:
        return self.command

    def _submit_command(self, command: str) -> submitit.LocalJob[Any]:
        """As submitit does it; where this process has loaded what a job needs, the job is forked from it. Lines of
        `setup` may want another Python."""
        if not is_child() or self.parameters.get("setup"):
            return super()._submit_command(command)
        pid = fork_controller(self.folder, command, self.parameters)
        return submitit.LocalJob(self.folder, str(pid), list(range(self.parameters.get("tasks_per_node", 1))))
