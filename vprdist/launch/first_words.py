"""What each rank of a first job does on its node: it says what is there.

Torch is loaded where there are GPUs, by one rank a node: whether it can use them nobody else can tell.
"""

from __future__ import annotations

import os
import platform
import shutil
import warnings
from pathlib import Path

from vprdist import __version__
from vprdist.source import running_source
from vprdist.store.first_job import FirstJobFolder, Words
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder


def say_what_is_here(place: TrialFolder, record: JobRecord, rank: int, host: str) -> None:
    """Write this rank's words into the run folder, and print them for the log."""
    source = running_source()
    gpus = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    words = Words(
        rank=rank, host=host, python=platform.python_version(), version=__version__,
        source=source.digest if source else None,
        gpus=gpus, no_gpu=_why_no_gpu() if gpus and os.environ.get("SLURM_LOCALID", "0") == "0" else None,
        scratch_gb=_free_gb(record.scratch),
    )  # fmt: skip
    FirstJobFolder(place.path.parents[1], place.trial_id).say(record, words)
    print(words.model_dump_json(), flush=True)


def _why_no_gpu() -> str | None:
    """Why torch cannot use a GPU here; None: it can."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is made for the CPU alone"
    said = [str(each.message).splitlines()[0] for each in caught]  # a driver that is too old is told so
    return said[0] if said else "it finds no driver of theirs"


def _free_gb(scratch: str | None) -> float | None:
    """Free space where `scratch` is to be made; None where there is none, or a variable of it is not set here."""
    if scratch is None or "$" in os.path.expandvars(scratch):
        return None
    path = Path(os.path.expandvars(scratch))
    here = next((folder for folder in (path, *path.parents[:-1]) if folder.exists()), None)
    return None if here is None else round(shutil.disk_usage(here).free / 1e9, 1)
