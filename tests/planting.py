"""Small demo cities whose truth is known, and what is claimed of their classes in every form of the mask.

Everything is made in this process by vprdist's own parts, from the sweep file to the report, without a driver and jobs:
a network that nobody trains, or one a seed that is trained under all arms, is described under every arm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.probing import silent
from vprdist.attribution.attribute import attribute
from vprdist.distributed.world import World
from vprdist.files import canonical_json
from vprdist.prepare.prepare import prepare
from vprdist.probes.make import order_of
from vprdist.probes.worker import work
from vprdist.search.subset_rule import network_point
from vprdist.spec.attribution import AttributionReport
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.result_file import read_result
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.run import run_trial

PLAYERS = {"building": ["building"], "pole": ["pole"], "green": ["vegetation"], "traffic": ["car", "person"]}
TRUTH = {"carry": {"building": 1.0, "pole": 0.5}, "mislead": ["vegetation"], "noise": ["car", "person"]}
"""What is planted: buildings and poles tell places apart, trees look as the next street's, traffic is drawn afresh."""
NULL = {"noise": ["building", "pole", "vegetation", "car", "person"]}
"""A world in which no player tells anything."""
SMALL = {
    "height": 64, "width": 96, "supersample": 1, "train": ["alder"], "validate": ["elm"], "streets": 8, "places": 8,
    "query_visits": 2, "strays": 0, "pano_share": 0.0,
}  # fmt: skip
"""64 database images, 128 queries in some 16 drives."""
FORMS = ("black", "mean", "picture_mean", "blur", "noise", "features")


def axes_of(form: str) -> dict[str, str]:
    """The values of a form's keys."""
    return {"mask_at": "features"} if form == "features" else {"mask_fill": form}


def sweep_of(
    folder: Path,
    form: str,
    demo: Mapping[str, Any],
    placebos: Sequence[str],
    how: str = "each",
    steps: int = 0,
    seeds: Sequence[int] = (0,),
) -> SweepSpec:
    """A sweep over the players in one form, by EfficientNet-Lite0 with ImageNet's weights.

    Args:
        steps: of training under all arms; 0: nobody trains it.
    """
    city = {**SMALL, **demo}
    content = {
        "name": form,
        "scale": "demo",
        "trial": {
            "data": {"root": "demo", "demo": city, "train": city["train"], "validate": city["validate"]},
            "input": {"mode": "masked", "mask_reduce": "sum", **axes_of(form)},
            "network": {"unfreeze": "0-2"},
            "train": {"steps": steps, "schedule": "cosine", "image_size": [city["height"], city["width"]]},
            "evaluate": {"before_training": False},
        },
        "search": {
            "searcher": "one_network",
            "subsets": {"groups": PLAYERS, "placebos": [p for p in placebos if form != "features" or p != "outline"],
                        "finalists": 0},
            **({"probes": {"how": how}} if how != "each" else {}),
        },
        "seeds": list(seeds),
        "cluster": "local",
    }  # fmt: skip
    file = folder / f"{form}.yaml"
    file.write_text(json.dumps(content))
    return read_sweep(file)


def networks_of(sweep: SweepSpec, trials: Sequence[TrialSpec]) -> Iterator[tuple[dict[str, Any], TrialSpec]]:
    """Each setting, and the trials of its networks."""
    by_point = {canonical_json({**p, "seed": trial.seed}): trial for p, trial in zip(sweep.points, trials, strict=True)}
    for setting in sweep.settings:
        for seed in sweep.seeds:
            yield setting, by_point[canonical_json(network_point(sweep, setting, seed))]


def attributed(sweep: SweepSpec, runs: Path) -> AttributionReport:
    """Run what a driver would, and say what it would: made once, it is there."""
    trials = prepare(sweep, read_profile("local"), runs, lambda text: None, silent).trials
    results = {}
    for setting, trial in networks_of(sweep, trials):
        place = TrialFolder.of(runs, trial.trial_id)
        if not place.result_file.exists():
            place.write_trial(trial)
            run_trial(trial, place.path, World(num_threads=1))
        work(order_of(sweep, setting, place), 0, 1, lambda made: None)
        results[trial.trial_id] = read_result(place.result_file)
    found = attribute(sweep, trials, {}, results, runs)
    assert found is not None
    return found
