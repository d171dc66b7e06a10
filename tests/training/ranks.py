"""Run a trial in this process as one rank: `python -m tests.training.ranks RANK WORLD FOLDER…`.

The trials of several folders are run one after the other. Without a folder, lines of standard input name them, each a
JSON list, and `done` answers each.

With ASK_RANK_TO_STOP that rank, and no other, is asked to leave in its first evaluation; it then exits with 75. With
GLOO_ON_GPU all ranks exchange by gloo, which lets two of them share a GPU."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch.distributed as dist

from vprdist.distributed.world import World
from vprdist.errors import Stopped
from vprdist.machine import answers, keep_stdout_for_answers
from vprdist.spec.trial import TrialSpec
from vprdist.training.run import run_trial


def asked_later() -> Callable[[], bool]:
    """False at the first question, which comes when the ranks have met; true from the second on, of an evaluation."""
    questions = itertools.count()
    return lambda: next(questions) > 0


def _by_gloo(init: Callable[..., None], backend: str, **options: object) -> None:
    init("gloo", **options)


if __name__ == "__main__":
    rank, world, *folders = sys.argv[1:]
    if "GLOO_ON_GPU" in os.environ:
        dist.init_process_group = partial(_by_gloo, dist.init_process_group)
    here = World(rank=int(rank), world_size=int(world), local_rank=int(rank), num_threads=1)
    if os.environ.get("ASK_RANK_TO_STOP") == rank:
        here = replace(here, should_stop=asked_later())
    if not folders:
        keep_stdout_for_answers()
    try:
        for some in [folders] if folders else map(json.loads, sys.stdin):
            for folder in map(Path, some):
                trial = TrialSpec.model_validate_json((folder / "trial.json").read_text())
                run_trial(trial, folder, replace(here, rendezvous=folder / "rendezvous.json"))
            if not folders:
                print("done", file=answers(), flush=True)
    except Stopped:
        sys.exit(75)
