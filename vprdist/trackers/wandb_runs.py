"""Weights & Biases: its server where one is logged in, else files in the sweep's folder for `wandb sync`.

On a server a run is resumed by its id, and says how many of our points it has. A file holds a whole run: it is written
when the run is over, or nobody follows it any more, and replaces the one before. So nothing is kept twice either way.

There is no state for a cancelled run that a client could set: it is `failed` there, and `vprdist/state` says which. A
run that nobody follows any more and that is not over is `preempted`, and goes on when it is followed again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vprdist.files import write_text
from vprdist.trackers.base import Place, Point, Run, RunFacts, Standing

INIT_S = 60.0
"""Seconds that a server may take to answer to a new run; it is asked again later."""
ENTRIES = "wandb"
"""The folder that the package makes for its runs, and looks for."""


class Wandb:
    """A project.

    Args:
        project: its name; None: that of the environment, or vprdist.
        entity: the team or user; None: that of the environment, or the user's own.
    """

    def __init__(self, place: Place, project: str | None = None, entity: str | None = None) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._project, self._entity = project or os.environ.get("WANDB_PROJECT") or "vprdist", entity
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        self._online = mode not in ("offline", "dryrun", "disabled")
        self._folder = place.folder
        # Those of a process that was killed. An online run's files are of no use: what its server lacks is sent anew.
        shutil.rmtree(self._folder / "open", ignore_errors=True)
        settings = wandb.setup().settings
        self.where = str(settings.base_url) if self._online else str(self._folder)
        self.look = f"open {self.where}" if self._online else f"wandb sync {self._folder}/offline-run-*"

    def open(self, facts: RunFacts, points: int, kept: Mapping[str, Any]) -> Run:
        """The run of that id, new or resumed. Nothing of this machine is sent with it but the run."""
        import wandb

        folder = self._folder / "open" / facts.run_id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        settings = wandb.Settings(
            mode="online" if self._online else "offline",
            init_timeout=INIT_S, silent=True, console="off", disable_git=True, save_code=False,
            disable_job_creation=True, x_disable_meta=True, x_disable_stats=True, x_save_requirements=False,
        )  # fmt: skip
        run = wandb.init(
            project=self._project, entity=self._entity, id=facts.run_id, name=facts.name, group=facts.group,
            job_type=facts.kind, tags=[facts.labels["sweep"][:64]], dir=folder, settings=settings,
            config={**facts.config, "vprdist": dict(facts.labels)}, allow_val_change=True,
            resume="allow" if self._online else None, reinit="create_new",
        )  # fmt: skip
        run.define_metric("*", step_metric="step")
        return _Run(run, folder, None if self._online else self._folder)


class _Run:
    """Points have their number as W&B's own step, which a server never takes twice; charts are over `step`.

    Args:
        kept_in: where the file of a run goes that is sent later; None: it has a server.
    """

    def __init__(self, run: Any, folder: Path, kept_in: Path | None) -> None:
        self._run, self._folder, self._kept_in = run, folder, kept_in
        self.sent = int(run.step) if run.resumed else 0

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            row = {**point.numbers, "step": point.step, "_timestamp": point.time}
            self._run.log(row, step=point.number, commit=True)

    def kept(self) -> None:
        """A server takes points in its own time, and a file is no file before it is closed."""

    def finish(self, standing: Standing) -> Mapping[str, Any]:
        import wandb

        said = {"vprdist/state": standing.state, **{f"vprdist/{name}": text for name, text in standing.notes.items()}}
        self._run.summary.update({**standing.results, **said})
        if standing.files:
            page = wandb.Artifact(f"leaderboard-{self._run.id}", "leaderboard")
            for path in standing.files:
                page.add_file(str(path))
            self._run.log_artifact(page)
        if not standing.is_over:
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if standing.state in ("finished", "stopped early") else 1)
        if self._kept_in is not None:
            _keep(self._folder / ENTRIES, self._kept_in, self._run.id)
        shutil.rmtree(self._folder, ignore_errors=True)
        return {}


def _keep(made: Path, folder: Path, run_id: str) -> None:
    """The folder of a run in the place of the one before. Logs of the package stay behind: they name who ran it."""
    for earlier in folder.glob(f"offline-run-*-{run_id}"):
        shutil.rmtree(earlier)
    for new in made.glob("offline-run-*"):
        shutil.rmtree(new / "logs", ignore_errors=True)
        new.rename(folder / new.name)
    write_text(folder / "README", "Runs of Weights & Biases, to be sent: wandb sync offline-run-*\n")
