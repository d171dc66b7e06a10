"""trackio: its database, in TRACKIO_DIR or in the sweep's folder.

Points are put into trackio's own storage under names of their own, of which it takes each once. It sends a database on
by itself (`trackio sync`): neither TRACKIO_SPACE_ID nor TRACKIO_SERVER_URL is read here. NaN and infinities stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vprdist.files import digest_json
from vprdist.trackers.base import Place, Point, Run, RunFacts, Standing


class Trackio:
    """A project.

    Args:
        project: its name; None: that of the environment, or vprdist.
    """

    def __init__(self, place: Place, project: str | None = None) -> None:
        self.where = os.environ.setdefault("TRACKIO_DIR", str(place.folder))  # read when it is imported
        self._project = project or os.environ.get("TRACKIO_PROJECT") or "vprdist"
        self.look = f"TRACKIO_DIR={self.where} trackio show --project {self._project}"

    def open(self, facts: RunFacts, points: int, kept: Mapping[str, Any]) -> Run:
        """The run of that id; trackio makes it with its first row."""
        return _Run(self._project, facts, points)


class _Run:
    def __init__(self, project: str, facts: RunFacts, points: int) -> None:
        self._project, self._facts, self.sent = project, facts, points

    def log(self, points: Sequence[Point]) -> None:
        self._put([(f"point {p.number}", p.numbers, p.step, p.time) for p in points], {})

    def kept(self) -> Mapping[str, Any]:
        return {}

    def finish(self, standing: Standing) -> Mapping[str, Any]:
        texts = {
            path.name: _markdown(path.read_text(encoding="utf-8")) for path in standing.files if path.suffix == ".md"
        }
        row = {"result/steps": float(standing.step), **standing.results, **texts}
        said = {"state": standing.state, **standing.notes}
        name = f"standing {digest_json([repr(row), said])}"  # a later one is a further row: rows never change
        self._put([(name, row, standing.step, standing.ended_at or 0.0)], said)
        return {}

    def _put(self, rows: Sequence[tuple[str, Mapping[str, Any], int, float]], said: Mapping[str, str]) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        facts = self._facts
        config = {**facts.config, "vprdist": {**facts.labels, **said}, "_Group": facts.group}
        SQLiteStorage.bulk_log(
            project=self._project,
            run=facts.name,
            run_id=facts.run_id,
            metrics_list=[dict(numbers) for _, numbers, _, _ in rows],
            steps=[step for _, _, step, _ in rows],
            timestamps=[datetime.fromtimestamp(at, UTC).isoformat() for _, _, _, at in rows],
            log_ids=[f"{facts.run_id} {name}" for name, _, _, _ in rows],
            config=config,
        )


def _markdown(text: str) -> dict[str, str]:
    from trackio import Markdown

    return {"_type": Markdown.TYPE, "_value": text}
