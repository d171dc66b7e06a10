"""`runs/clusters/<digest>`: the first job of a profile in a run folder: its journal, its ranks' words, and the pass.

The digest names what matters to a job: profile, Python and version. What passed once is not asked again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from vprdist.errors import UserError
from vprdist.files import write_text
from vprdist.spec.base import Spec
from vprdist.store.journal import JobRecord
from vprdist.store.reading import read_spec
from vprdist.store.trial_folder import TrialFolder


class Words(Spec):
    """What one rank of a first job found on its node."""

    rank: int
    host: str
    python: str = Field(description="its version")
    version: str = Field(description="of vprdist")
    source: str | None = Field(description="digest of vprdist's files")
    gpus: tuple[str, ...] = Field(default=(), description="what CUDA_VISIBLE_DEVICES shows")
    no_gpu: str | None = Field(default=None, description="why torch cannot use the GPUs of this node")
    scratch_gb: float | None = Field(default=None, description="free space of the profile's `scratch`")


class FirstJobFolder:
    """Where a first job's journal, logs and outcome lie; the journal is that of a trial's folder."""

    def __init__(self, root: Path, digest: str) -> None:
        self.folder = TrialFolder(root / "clusters" / digest)
        self._passed_file = self.folder.path / "passed.json"

    @property
    def passed(self) -> bool:
        """Whether a job of this profile has come to its start from here."""
        return self._passed_file.exists()

    def write_passed(self, hosts: Sequence[str]) -> None:
        """Remember that nodes run such jobs."""
        write_text(self._passed_file, json.dumps({"at": time.time(), "hosts": sorted(set(hosts))}) + "\n")

    def say(self, record: JobRecord, words: Words) -> None:
        """Called by each rank: this node sees the folder, and can write to it."""
        write_text(_words_file(self.folder, record, words.rank), words.model_dump_json() + "\n")

    def said(self, record: JobRecord, num_ranks: int) -> list[Words]:
        """The words of those ranks that have come so far, in their order."""
        return [words for rank in range(num_ranks) if (words := _read(_words_file(self.folder, record, rank)))]


def unfinished_first_jobs(root: Path) -> list[tuple[TrialFolder, JobRecord]]:
    """The first jobs of a run folder that are journalled, and of which nobody has said yet what came of them."""
    found = []
    for path in sorted((root / "clusters").glob("*")):
        place = FirstJobFolder(root, path.name)
        with contextlib.suppress(UserError):  # a journal that cannot be read names no job
            record = place.folder.job()
            if record is not None and record.state != "cancelled" and not place.passed:
                found.append((place.folder, record))
    return found


def _words_file(folder: TrialFolder, record: JobRecord, rank: int) -> Path:
    return folder.attempt_log(record) / f"rank-{rank}.json"


def _read(path: Path) -> Words | None:
    try:
        return read_spec(path, Words, "the words of a rank", "")
    except (FileNotFoundError, UserError):  # not there yet, or of another version: no word
        return None
