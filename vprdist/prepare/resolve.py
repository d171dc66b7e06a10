"""From a trial to its id: paths made absolute, and the digests of its data, labels, cache and weights filled in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vprdist.console import Console
from vprdist.data.label_choice import labels_digest
from vprdist.data.layouts import dataset_digest, layout_of, read_city_cached, whole_digest_cached
from vprdist.errors import CacheError, LaunchError, RuleError, SweepFileError, WeightsError, leading_there
from vprdist.files import at_home
from vprdist.launch.warm import run_module
from vprdist.prepare.remembered import is_built_in, remember, remembered
from vprdist.spec.class_table import WORDS, ClassTable, table_of
from vprdist.spec.computation import COMPUTATION
from vprdist.spec.trial import Digests, TrialSpec

if TYPE_CHECKING:
    from vprdist.semantics.cache import Cache

LOOKER = "vprdist.network.weights"
CacheKey = tuple[str, str, str, tuple[str, ...]]
"""A cache, its class table, and the data, as JSON, and the cities that it must hold."""


class Start(NamedTuple):
    """Where a network starts: the digest of its initial weights, "none" of random ones; why it has not ImageNet's."""

    digest: str
    backbone: str
    missing: WeightsError | None = None


class Resolver:
    """Fills in the digests of trials; each city, cache, backbone and checkpoint is looked at once."""

    def __init__(self) -> None:
        self._starts: dict[str, Start] = {}
        self._caches: dict[CacheKey, str] = {}

    def resolve(self, trial: TrialSpec) -> TrialSpec:
        """A trial with an id. Its data were checked, and its paths are absolute.

        Raises:
            UserError: no cache where the mode needs one, or it does not cover the cities; refused weights.
        """
        if trial.measures_itself:  # nothing of vprdist's computes its numbers
            return _with_code(trial, Digests(dataset="none", cache=None, weights="none"))
        cities = (*trial.data.train, *trial.data.validate_cities)
        dataset = dataset_digest(trial.data, cities)
        cache, weights = _cache_digest(trial, self._caches), self._weights_digest(trial)
        labels = labels_digest(trial.data) if trial.job is None else None
        return _with_code(
            trial, Digests(dataset=dataset, cache=cache, weights=weights, labels=labels, computation=COMPUTATION)
        )

    def check_checkpoint(self, trial: TrialSpec) -> None:
        """The checkpoint that the trial starts from, if any, is there and its network's.

        Raises:
            WeightsError: it is not.
        """
        if trial.network.checkpoint is not None:
            with leading_there("trial.network.weights"):
                self._weights_digest(absolute(trial))

    def check_fixed(self, trial: TrialSpec) -> None:
        """The very network of which something is asked is there: no random one stands in its place.

        Args:
            trial: nothing is trained in it.

        Raises:
            WeightsError: its ImageNet weights cannot be had here.
        """
        start = self._start(absolute(trial))
        if start.missing is not None:
            error = start.missing
            fault = (
                f"{error.fault}, and a random network is not the one that is asked which classes it uses "
                "(train.steps: 0)"
            )
            raise WeightsError(f"trial.network.weights: {error.where}", fault, error.value, error.remedy)

    def _weights_digest(self, trial: TrialSpec) -> str:
        return "none" if trial.job is not None else self._start(trial).digest

    def _start(self, trial: TrialSpec) -> Start:
        network = trial.network
        if network.weights == "none":
            return Start("none", network.backbone.title)
        parts = {"backbone", "weights"} | (set() if network.checkpoint is None else {"attention", "aggregator"})
        key = network.model_dump_json(include=parts)
        if network.aggregator.fact("asks"):  # the checkpoint of a network that is made to fit what it is shown
            key += json.dumps(_shown(trial))
        if key not in self._starts:
            self._starts[key] = _find_weights(trial)
        return self._starts[key]

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be fallen back to so far, in words."""
        return tuple(
            f"{start.backbone} starts from RANDOM weights, its trials are other trials: {start.missing}"
            for start in self._starts.values()
            if start.missing is not None
        )


def _with_code(trial: TrialSpec, digests: Digests) -> TrialSpec:
    try:
        return trial.resolved(digests)
    except RuleError as error:  # a file of a program is gone
        raise SweepFileError(f"trial.job.{error.field}", error.fault, error.value, error.remedy) from None


def absolute(trial: TrialSpec) -> TrialSpec:
    """Paths as a job on another machine, with another working folder, must see them."""
    pack = trial.data.pack and str(at_home(trial.data.pack).resolve())
    data = trial.data.model_copy(update={"root": str(at_home(trial.data.root).resolve()), "pack": pack})
    cache = trial.input.cache and str(at_home(trial.input.cache).resolve())
    segmenter = trial.input.segmenter and trial.input.segmenter.absolute()
    where = trial.input.model_copy(update={"cache": cache, "segmenter": segmenter})
    network = trial.network
    if network.checkpoint is not None:
        network = network.model_copy(update={"weights": str(at_home(network.checkpoint).resolve())})
    return trial.model_copy(update={"data": data, "input": where, "network": network})


def _cache_digest(trial: TrialSpec, known: dict[CacheKey, str]) -> str | None:
    from vprdist.semantics.cache import open_cache

    if not trial.needs_cache:
        return None
    if trial.input.cache is None:
        raise CacheError(
            "trial.input.cache",
            f"{trial.who_needs_cache} needs a cache of semantic activations",
            None,
            f"Name a segmenter (trial.input.segmenter), or import one: vprdist cache import SOURCE --data "
            f"{trial.data.root} --out FOLDER.",
        )
    key = (trial.input.cache, str(trial.input.class_table), trial.data.model_dump_json(), trial.cached_cities)
    if key not in known:
        layout = layout_of(trial.data)
        digests = {city: whole_digest_cached(layout, city) for city in trial.cached_cities}
        sides = [side for name in trial.cached_cities for side in read_city_cached(layout, name).sides]
        with leading_there("trial.input.cache"):
            cache = open_cache(Path(trial.input.cache))
            _check_classes(trial.input.table, cache)
            cache.covers(digests)
            counts: dict[tuple[str, str], int] = {(side.city, side.side): side.count for side in cache.manifest.sides}
            for side in sides:
                if counts[side.city, side.side] != side.num_whole:  # it was made without some pictures
                    cache.holds(side.city, side.side, side.keys.tolist())
        # The digest of what makes the result alone: a city added to the cache later changes no trial.
        known[key] = cache.manifest.digest_of(trial.measured_cities)
    return known[key]


def _check_classes(table: ClassTable, cache: Cache) -> None:
    """The cache is of the trial's class table.

    Raises:
        CacheError: it is not.
    """
    if differs := table.differs(cache.classes):
        known = table_of(cache.classes)
        named = known.name if known.name in WORDS else cache.path
        fault = f"the cache must be of the trial's class table, {table.words}; the first difference"
        raise CacheError(cache.path, fault, differs, f"Set trial.input.class_table: {named}.")


def _shown(trial: TrialSpec) -> list[Any]:
    """The size of pictures that a network is built for, and whether a mask weighs its features."""
    return [list(trial.picture_size), trial.input.at_features]


def _find_weights(trial: TrialSpec) -> Start:
    """In a process of its own, see network/weights.py; or as it answered before.

    Raises:
        WeightsError: no such backbone here, or the checkpoint is missing or another network's.
    """
    network = trial.network
    question = {"network": network.model_dump(mode="json"), "shown": _shown(trial)}
    if is_built_in(trial) and (known := remembered(LOOKER, question)) is not None:
        return Start(str(known), network.backbone.title)
    if network.backbone.name == "timm" and network.weights == "imagenet":
        told = f"looking for the published weights of timm's {network.backbone.title}; they are fetched if not here"
        Console(stderr=True, soft_wrap=True).print(told)  # it may take long; standard output is the command's own
    done = run_module(LOOKER, (), json.dumps(question))
    if done.returncode:
        raise LaunchError(f"{sys.executable} -m {LOOKER}", "looking for weights failed", done.stderr.strip()[-400:])
    answer = json.loads(done.stdout.splitlines()[-1])
    if "refused" in answer:
        raise WeightsError.from_json(answer["refused"])
    if "missing" in answer:
        return Start("none", network.backbone.title, WeightsError.from_json(answer["missing"]))
    if is_built_in(trial):
        remember(LOOKER, question, answer["digest"], [answer["path"]])
    return Start(str(answer["digest"]), network.backbone.title)
