"""How a job array is found: by its name, and a folder of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from vprdist.files import digest_json, locked, read_json, write_json
from vprdist.launch.queue_rows import QueueName, QueueRow
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import job_name

LOCK = "lock"


@dataclass(frozen=True)
class Array:
    """The job array of an order, by which everybody finds it: its name, and a folder of its own on shared storage.

    The same order for another folder has an array of the same name: `token`, its comment on the cluster, tells them
    apart.
    """

    name: str
    folder: Path

    @property
    def job(self) -> str:
        """Its name on the cluster."""
        return self.queue_name.name

    @property
    def queue_name(self) -> QueueName:
        """What the queue is asked: as it was last submitted, which the profile may say otherwise by now."""
        try:
            noted = read_json(self._note)
            return QueueName(str(noted["name"]), noted["clusters"] and str(noted["clusters"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # there is none, or none that can be read
            return QueueName(job_name(self.name))

    def note(self, profile: ClusterProfile) -> None:
        """Before it is submitted: everybody finds it by this."""
        name = job_name(self.name, profile.job_name_prefix)
        write_json(self._note, {"name": name, "clusters": profile.clusters})

    @property
    def _note(self) -> Path:
        return self.folder / "queue.json"

    @property
    def token(self) -> str:
        """Names the folder."""
        return digest_json(str(self.folder.resolve()), 16)

    def owns(self, row: QueueRow) -> bool:
        """Whether a row of the queue is of this array."""
        return row.name == self.job and (row.token == self.token or self._has_script_of(row))

    def _has_script_of(self, row: QueueRow) -> bool:
        """Versions before had a token for each submission; submitit keeps the script of each beside its logs."""
        script = self.logs / f"{array_id(row)}_submission.sh"
        try:
            return f"#SBATCH --comment={row.token}" in script.read_text(errors="replace").splitlines()
        except OSError:
            return False

    @property
    def order(self) -> Path:
        """What its tasks read; there once somebody has handed the order to a cluster."""
        return self.folder / "order.json"

    @property
    def logs(self) -> Path:
        """What its tasks print, and the lock of whoever submits it."""
        return self.folder / "logs"

    def locked(self) -> AbstractContextManager[bool]:
        """Nobody submits it while the block runs."""
        return locked(self.logs / LOCK)


def array_id(row: QueueRow) -> str:
    """The job id that all tasks of an array share."""
    return row.job_id.split("_")[0]
