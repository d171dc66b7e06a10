"""What each rank of a first job does on its node: it says what is there. Torch is not loaded: this takes a second."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from vprdist import __version__
from vprdist.source import running_source
from vprdist.store.first_job import FirstJobFolder, Words
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder


def say_what_is_here(place: TrialFolder, record: JobRecord, rank: int, host: str) -> None:
    """Write this rank's words into the run folder, and print them for the log."""
    source = running_source()
    words = Words(
        rank=rank, host=host, python=platform.python_version(), version=__version__,
        source=source.digest if source else None,
        gpus=tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))),
        scratch_gb=_free_gb(record.scratch),
    )  # fmt: skip
    FirstJobFolder(place.path.parents[1], place.trial_id).say(record, words)
    print(words.model_dump_json(), flush=True)


def _free_gb(scratch: str | None) -> float | None:
    """Free space where `scratch` is to be made; None where the profile names none, or none of its folders is there."""
    if scratch is None:
        return None
    path = Path(os.path.expandvars(scratch))
    here = next((folder for folder in (path, *path.parents[:-1]) if folder.exists()), None)
    return None if here is None else round(shutil.disk_usage(here).free / 1e9, 1)
