"""MLflow: a server by MLFLOW_TRACKING_URI, or a database in the sweep's folder.

MLflow names runs itself: ours are found by a tag. Its databases keep one metric of the same name, step, time and value
once, so that a row that is sent again, since nobody knows whether it arrived, does not stand there twice; stores of
files (MLFLOW_ALLOW_FILE_STORE) would keep it twice. NaN stays NaN; infinity becomes the largest float64.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vprdist.spec.secret import hidden
from vprdist.trackers.base import Place, Point, Run, RunFacts, Standing, State, flat

FORBIDDEN = re.compile(r"[^\w\-. :/]")
LONGEST_PARAM, LONGEST_TAG, MOST = 6000, 5000, 90
"""Characters of a parameter and of a tag, entities of one request, as MLflow's REST interface allows them."""
MOST_METRICS = 900
RUN_TAG = "vprdist.run"
STATUS: Mapping[State, str] = {
    "running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED",
    "stopped early": "FINISHED",
}  # fmt: skip
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_DISABLE_TELEMETRY": "true",
}  # fmt: skip
"""Set where the environment says nothing: a server that is silent is asked again by us, later."""


class Mlflow:
    """An experiment.

    Args:
        experiment: its name; None: that of the environment, or vprdist.
    """

    def __init__(self, place: Place, experiment: str | None = None) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        uri, self._artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            place.folder.mkdir(parents=True, exist_ok=True)
            uri, self._artifacts = f"sqlite:///{place.folder}/mlflow.db", (place.folder / "artifacts").as_uri()
        self.where = hidden(uri, os.environ)
        self.look = f"mlflow ui --backend-store-uri {self.where}" if self._artifacts else f"open {self.where}"
        self._client = MlflowClient(tracking_uri=uri)
        self._experiment = self._experiment_id(experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "vprdist")

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=self._artifacts))

    def open(self, facts: RunFacts, points: int, kept: Mapping[str, Any]) -> Run:
        """The run that has our tag, or a new one."""
        found = self._client.search_runs([self._experiment], f"tags.`{RUN_TAG}` = '{facts.run_id}'", max_results=1)
        tags = {RUN_TAG: facts.run_id, "vprdist.kind": facts.kind, "vprdist.group": facts.group[:LONGEST_TAG]}
        tags |= {f"vprdist.{name}": text[:LONGEST_TAG] for name, text in facts.labels.items()}
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._client.create_run(self._experiment, tags=tags, run_name=facts.name[:LONGEST_TAG])
        self._log_params(run, facts)
        return _Run(self._client, run.info.run_id, points if found else 0)

    def _log_params(self, run: Any, facts: RunFacts) -> None:
        """A parameter of MLflow never changes: those that are there stay."""
        from mlflow.entities import Param

        every = {_name(name): str(value)[:LONGEST_PARAM] for name, value in flat(facts.config).items() if name}
        new = [Param(name, text) for name, text in every.items() if name not in run.data.params]
        for at in range(0, len(new), MOST):
            self._client.log_batch(run.info.run_id, params=new[at : at + MOST])


class _Run:
    def __init__(self, client: Any, run_id: str, sent: int) -> None:
        self._client, self._run_id, self.sent = client, run_id, sent

    def log(self, points: Sequence[Point]) -> None:
        self._metrics([(name, number, p.time, p.step) for p in points for name, number in p.numbers.items()])

    def kept(self) -> Mapping[str, Any]:
        return {}

    def finish(self, standing: Standing) -> Mapping[str, Any]:
        at = standing.ended_at or 0.0
        self._metrics([(name, number, at, standing.step) for name, number in standing.results.items()])
        for name, text in {"state": standing.state, **standing.notes}.items():
            self._client.set_tag(self._run_id, f"vprdist.{_name(name)}", text[:LONGEST_TAG])
        for path in standing.files:
            self._client.log_artifact(self._run_id, str(path))
        if standing.is_over:
            ended = None if standing.ended_at is None else _ms(standing.ended_at)
            self._client.set_terminated(self._run_id, STATUS[standing.state], end_time=ended)
        return {}

    def _metrics(self, every: Sequence[tuple[str, float, float, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(_name(name), number, _ms(at), step) for name, number, at, step in every]
        for at in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[at : at + MOST_METRICS])


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _name(name: str) -> str:
    """A name as MLflow takes it: `recall@1` is `recall_at_1` there."""
    return FORBIDDEN.sub("_", name.replace("@", "_at_"))[:250]
