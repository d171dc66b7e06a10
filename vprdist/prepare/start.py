"""Whether an aggregator that starts from features of training pictures can have as many as it has clusters."""

from __future__ import annotations

from vprdist.data.layouts import layout_of, read_city_cached
from vprdist.errors import SweepFileError
from vprdist.spec.start import most_features
from vprdist.spec.trial import TrialSpec


def check_start(trial: TrialSpec) -> None:
    """There may be enough features: how many places a picture has is known when the network is built, and how many of
    them differ when they are seen.

    Raises:
        SweepFileError: there cannot be.
    """
    pool = trial.network.aggregator
    if not pool.starts_from_data or pool.is_own or trial.network.checkpoint is not None:
        return
    layout = layout_of(trial.data)
    sides = [side for name in trial.data.train for side in read_city_cached(layout, name).sides]
    most, clusters = most_features(sum(int((~side.pano).sum()) for side in sides)), pool.parameters["clusters"]
    if clusters > most:
        fault = f"clusters of the training pictures' features must not be more than these, {most} at most"
        raise SweepFileError("trial.network.aggregator.clusters", fault, clusters, "Lower it, or train on more.")
