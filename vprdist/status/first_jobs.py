"""First jobs that wait or run: trials of their profile have no job before they have passed."""

from __future__ import annotations

from vprdist.launch.queue_rows import GONE_STATES, QueueRow
from vprdist.status.facts import Queue, explain
from vprdist.store.journal import JobRecord


def row_of(record: JobRecord, queue: Queue) -> QueueRow | None:
    """Its row in the queue; None where it is not there, or nobody was asked."""
    rows = [row for row in (queue.rows or {}).get(record.name, []) if row.is_of(record)]
    return next((row for row in reversed(rows) if row.state not in GONE_STATES), None)


def words(row: QueueRow) -> str:
    """One line of status."""
    if row.state == "RUNNING":
        return f"first job {row.job_id} runs on {row.nodes}: trials follow when it has passed"
    why = f"waits ({explain(row.reason)})" if row.state == "PENDING" else f"is {row.state.lower()}"
    return f"first job {row.job_id} {why}: trials follow when it has passed"
