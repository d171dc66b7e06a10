"""Which nodes to avoid: jobs of different trials died there, and none has finished there since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vprdist.files import append_json_line, read_json_lines

MEMORY_S = 24 * 3600.0
"""A node's past is forgotten after a day: somebody may have mended it."""


class NodeHealth:
    """`runs/nodes.jsonl`: one line for a death, and for a result on a node that had one. Shared by all drivers.

    A trial that died on two nodes is itself at fault, and says nothing of either. A node is avoided when
    `exclude_after` different trials died there, and nowhere else, with no result from it in between.
    """

    def __init__(self, runs: Path, exclude_after: int) -> None:
        self.path = runs / "nodes.jsonl"
        self.exclude_after = exclude_after
        self._rows: list[dict[str, Any]] = []
        self._offset = 0

    def died(self, node: str, trial_id: str, reason: str, now: float) -> None:
        """A job of that trial died on that node."""
        if node:
            row = {"node": node, "trial": trial_id, "ended": "died", "reason": reason, "time": now}
            append_json_line(self.path, row)

    def finished(self, node: str, trial_id: str, now: float) -> None:
        """A trial has its result from that node; said only of nodes with deaths."""
        self._read()
        if any(row["node"] == node for row in self._rows):
            append_json_line(self.path, {"node": node, "trial": trial_id, "ended": "result", "time": now})

    def avoided(self, now: float) -> dict[str, str]:
        """Nodes to exclude now, and why."""
        if not self.exclude_after:
            return {}
        places = self._places(now)
        dead: dict[str, dict[str, str]] = {}
        for row in self._recent(now):
            if row["ended"] != "died":
                dead.pop(row["node"], None)
            elif len(places[row["trial"]]) == 1:
                dead.setdefault(row["node"], {})[row["trial"]] = row["reason"]
        return {
            node: f"{len(trials)} trials died there, the last because {list(trials.values())[-1]}"
            for node, trials in dead.items()
            if len(trials) >= self.exclude_after
        }

    def deathbeds(self, trial_id: str, now: float) -> set[str]:
        """Where this trial died lately: another attempt is better made elsewhere."""
        return self._places(now).get(trial_id, set()) if self.exclude_after else set()

    def _places(self, now: float) -> dict[str, set[str]]:
        self._read()
        places: dict[str, set[str]] = {}
        for row in self._recent(now):
            if row["ended"] == "died":
                places.setdefault(row["trial"], set()).add(row["node"])
        return places

    def _recent(self, now: float) -> list[dict[str, Any]]:
        return [row for row in self._rows if now - float(row["time"]) <= MEMORY_S]

    def _read(self) -> None:
        rows, self._offset = read_json_lines(self.path, self._offset)
        self._rows += rows
