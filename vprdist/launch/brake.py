"""The brake: where the first jobs of a sweep all die before their rank 0 starts, no more are submitted."""

from __future__ import annotations

from typing import NamedTuple

from vprdist.errors import LaunchError
from vprdist.launch.cluster import Sight
from vprdist.launch.why_dead import never_started
from vprdist.spec.profile import ClusterProfile
from vprdist.store.first_job import FirstJobFolder
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

FEW = 2
"""Jobs on their way while none has ever started, where no first job has passed."""
MANY = 3
"""Deaths before a start, after which nothing is left to hope for, wherever they were."""


class Death(NamedTuple):
    """A job of this driver that ended before its rank 0 started."""

    folder: TrialFolder
    record: JobRecord
    sight: Sight


class Brake:
    """What became of the jobs that this driver submitted, until the first of them starts.

    One start releases it for good: from then on a death is the node's or the trial's. Deaths that are the cluster's
    doing, or a person's, say nothing. Deaths on one node alone may be that node's:
    the next job goes elsewhere, as long as there is another node.

    Args:
        place: whether such jobs have started from this run folder before.
    """

    def __init__(self, profile: ClusterProfile, place: FirstJobFolder) -> None:
        self.profile, self.place = profile, place
        self.released = profile.kind == "local"
        self.can_avoid = profile.exclude_after > 0
        self.deaths: list[Death] = []
        self._tokens: set[str] = set()

    @property
    def nodes(self) -> set[str]:
        """Where jobs died before their start, while none has started: the next one is better made elsewhere."""
        return self._nodes if self.can_avoid and not self.released else set()

    @property
    def _nodes(self) -> set[str]:
        return {death.sight.node for death in self.deaths} - {""}

    def submitted(self, record: JobRecord) -> None:
        """A job of this driver is on its way."""
        self._tokens.add(record.token)

    def is_mine(self, record: JobRecord | None) -> bool:
        """Whether this driver submitted it; what an earlier one submitted may have had another profile."""
        return record is not None and record.token in self._tokens

    def started(self, record: JobRecord) -> bool:
        """A rank 0 has started; whether that is the first one known."""
        first = not self.released and self.is_mine(record)
        self.released = self.released or first
        return first

    def takes(self, folder: TrialFolder, record: JobRecord, sight: Sight) -> bool:
        """A job ended before its start, looked at twice; whether the brake has it, and no node is blamed yet."""
        if self.released or not self.is_mine(record) or sight.cause != "job":
            return False
        if record.job_key in (death.record.job_key for death in self.deaths):  # of several trials, one job
            return True
        self.deaths.append(Death(folder, record, sight))
        return True

    def room(self, on_their_way: int) -> int | None:
        """How many more jobs may be submitted; None: as many as there is room for.

        Args:
            on_their_way: jobs of this driver that have not started and have not died.
        """
        if self.released:
            return None
        if self.is_on:
            return 0
        return None if self.place.passed else max(0, min(FEW, MANY - len(self.deaths)) - on_their_way)

    @property
    def is_on(self) -> bool:
        """Whether enough have died: on two nodes, or three where nobody can say that it was one node."""
        if self.released:
            return False
        if len(self._nodes) > 1 and (len(self.deaths) >= MANY or not self.place.passed):
            return True
        return len(self.deaths) >= MANY and (not self.can_avoid or any(not death.sight.node for death in self.deaths))

    def error(self) -> LaunchError:
        """The message of a sweep that stops."""
        last = self.deaths[-1]
        nodes = ", ".join(sorted(self._nodes)) or "nodes unknown"
        fault = (
            f"the first {len(self.deaths)} jobs, on {nodes}, died before vprdist started in them; no job has started"
        )
        remedy = "Nothing more is submitted, and no trial counts it. Mend it, and start the same command again."
        where = f"job {last.record.name} {last.record.job_id or ''}".strip()
        return never_started(self.profile, where, fault, last.folder, last.record, remedy)
