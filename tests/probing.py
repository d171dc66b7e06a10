"""A trial that is trained, small, and under arms; and orders of probes of its network."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.training.making import make_cache, make_trial, run_here
from tests.worlds import write_city
from vprdist.launch.folder import TrialFolder
from vprdist.spec.arms import ArmsSpec
from vprdist.spec.probes import Probe, ProbeOrder
from vprdist.spec.trial import TrialSpec

PLAYERS = (("building", "wall"), ("pole",), ("vegetation", "terrain"))
KINDS = ("none", "random", "image", "classes")
EVERY: tuple[Probe, ...] = tuple((subset, kind) for kind in KINDS for subset in range(1, 8))
"""28 probes: a part of 16, and one of 12."""


def finished_trial(folder: Path) -> Path:
    """A folder that holds a data set (`tree`), a cache, and the folder of a trial, which is over and is returned."""
    root = folder / "tree"
    write_city(root, "ada", num_query=12, num_database=20, seed=1)
    write_city(root, "bob", num_query=8, num_database=16, seed=2)
    plain = make_trial(root, make_cache(root, folder), "masked", steps=2)
    arms = ArmsSpec(players=PLAYERS, placebos=("random", "image", "classes"))
    shown = plain.input.model_copy(update={"classes": arms.class_names, "mask_reduce": "sum"})
    quick = plain.evaluate.model_copy(update={"before_training": False})
    changes = {"input": shown, "train": plain.train.model_copy(update={"arms": arms}), "evaluate": quick}
    trial = TrialSpec.model_validate(plain.model_copy(update=changes))
    place = TrialFolder.of(folder / "runs", trial.trial_id)
    place.write_trial(trial)
    run_here(trial, place.path)
    return place.path


def copied(trial: Path, runs: Path) -> Path:
    """The same trial in another run folder, without probes."""
    place = runs / "trials" / trial.name
    shutil.copytree(trial, place, ignore=shutil.ignore_patterns("probes"))
    return place


def order_of(trial: Path, probes: tuple[Probe, ...] = EVERY) -> ProbeOrder:
    return ProbeOrder(trial=str(trial), players=PLAYERS, probes=probes)


def files(order: ProbeOrder) -> dict[str, tuple[bytes, int]]:
    """What lies in the folder of an order: its bytes, and when it was written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in order.folder.iterdir()}


def values(order: ProbeOrder) -> dict[str, bytes]:
    """The bytes of each part."""
    return {path.name: path.read_bytes() for path in order.folder.glob("*.parquet")}
