"""Whether what a job reads is what its trial was hashed with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vprdist.data.layouts import dataset_digest
from vprdist.data.pack.use import check_pack
from vprdist.errors import CacheError, DataError, LaunchError, UserError
from vprdist.network.weights import weights_digest, weights_file
from vprdist.semantics.cache.format import read_manifest
from vprdist.semantics.cache.unchanged import check_shards
from vprdist.spec.computation import COMPUTATION, EARLIER
from vprdist.spec.trial import TrialSpec

CHANGED = "Run the sweep again: what changed makes other trials."


def check_inputs(trial: TrialSpec) -> None:
    """This code gives the numbers of the trial's computation, and data and cache are what it was hashed with.

    Raises:
        LaunchError: it does not.
        DataError, CacheError: they have changed since it was submitted.
    """
    check_computation(trial)
    assert trial.digests is not None
    cities = (*trial.data.train, *trial.data.validate_cities)
    found = dataset_digest(trial.data, cities)
    if found != trial.digests.dataset:
        fault = f"the cities {', '.join(cities)} must have the digest of the submission, {trial.digests.dataset}"
        raise DataError(trial.data.root, fault, found, CHANGED)
    check_pack(trial.data, trial.cities)
    check_cache(trial)


def check_computation(trial: TrialSpec) -> None:
    """This code gives the numbers of the trial's computation.

    Raises:
        LaunchError: it does not.
    """
    if (wanted := trial.computation) not in (*EARLIER, COMPUTATION):
        raise LaunchError(
            f"trial {trial.trial_id}",
            f"a trial of computation {wanted} cannot be computed by this code, which is of computation {COMPUTATION}",
            None,
            "Run the sweep again: it makes trials of this code's computation. Or run the code that made the trial.",
        )


def check_cache(trial: TrialSpec) -> None:
    """The cache still holds the activations that the trial was hashed with. Asked whenever it is about to be opened:
    somebody may fill its folder anew while the trial runs.

    Raises:
        CacheError: it does not.
    """
    assert trial.digests is not None
    if trial.input.cache is None:
        return
    held = read_manifest(Path(trial.input.cache)).digest_of(trial.measured_cities)
    if held != trial.digests.cache:
        fault = f"the cache must have the digest of the submission, {trial.digests.cache}"
        raise CacheError(trial.input.cache, fault, held, CHANGED)


def check_shards_of(trial: TrialSpec, runs: Path, progress: Callable[[int, int], None]) -> None:
    """The bytes of the cache's shards are those that the run folder's trials read; see `cache.unchanged`.

    Raises:
        CacheError: they are not.
    """
    if trial.needs_cache and trial.input.cache is not None:
        check_shards(Path(trial.input.cache), trial.cached_cities, runs, progress)


def initial_weights(trial: TrialSpec) -> tuple[Path | None, tuple[str, ...]]:
    """The file of the initial weights, checked against the trial's digest, and what was fallen back to.

    Raises:
        UserError: the file is not the one that the trial was hashed with.
    """
    assert trial.digests is not None
    wanted = trial.digests.weights
    if wanted == "none":
        fell = trial.network.weights != "none"
        note = f"no pretrained weights for {trial.network.backbone.title}: started from random ones"
        return None, (note,) if fell else ()
    path = weights_file(trial.network)
    if (found := weights_digest(trial.network, path)) != wanted:
        remedy = f"Put the same file there again. Or keep this one: {CHANGED[0].lower()}{CHANGED[1:]}"
        raise UserError(path, f"the initial weights must have the digest {wanted}", found, remedy)
    return path, ()
