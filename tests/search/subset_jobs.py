"""Trials whose recall is a known game of their classes. Every job imports this: it is apart from what drives them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from toy import toy_result

from vprdist.distributed.world import World
from vprdist.errors import DataError
from vprdist.files import append_json_line, write_json
from vprdist.spec.trial import TrialSpec

WORTH = {"building": 0.3, "pole": 0.1, "sky": -0.1}


def recall(trial: TrialSpec) -> float:
    """The worth of the classes, and a little luck of the seed."""
    luck = np.random.default_rng(trial.seed).normal(0, 0.003)
    return 0.4 + sum(WORTH[name] for name in trial.input.class_names) + luck


def run_game(trial: TrialSpec, folder: Path, world: World) -> None:
    """A moment of work. Where `broken` lies beside the trials, those of sky alone fail."""
    time.sleep(0.05)
    if (folder.parents[1] / "broken").exists() and trial.input.class_names == ("sky",):
        raise DataError("toy.csv", "the sky has a value", None, "Mend it.")
    append_json_line(folder / "metrics.jsonl", {"kind": "evaluate", "step": 1, "recall@1": recall(trial)})
    row = toy_result(trial).model_copy(update={"metrics": {"recall@1": recall(trial)}})
    write_json(folder / "result.json", row.model_dump(mode="json", by_alias=True))
