"""Everything a sweep needs, looked at before anything is submitted: data, cache, weights; and the trials' digests.

A job reads shared storage only. Whatever is wrong is said here, once, while nothing has been started. `prepare` makes
what is missing; `look` is the same without leave to make.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from vprdist.console import Bar, Tell
from vprdist.data.pack.use import check_pack, check_packed_files, pack_words
from vprdist.errors import leading_there
from vprdist.prepare.channels import check_channels
from vprdist.prepare.checks import (
    check_data,
    check_demo_cities,
    check_demo_classes,
    check_installed,
    check_pictures,
    check_placebo,
    check_stem,
)
from vprdist.prepare.folders import checked_folder, demo_folder, orders_for, with_data
from vprdist.prepare.left_out import find_broken, mark_whole, was_opened
from vprdist.prepare.making import Making, check_caches, make_caches, make_cities
from vprdist.prepare.own_code import try_own_code
from vprdist.prepare.resolve import Resolver, absolute
from vprdist.prepare.start import check_start
from vprdist.prepare.sums_room import check_sums_room, num_kinds
from vprdist.prepare.trackers import check_trackers
from vprdist.semantics import segmenting
from vprdist.spec.base import Spec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep import SweepSpec, with_line_of
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.driving import Check, wanted_by_all

AnySpec = TypeVar("AnySpec", bound=Spec)
ONLY_DATA = {name: field.default for name, field in TrialSpec.model_fields.items() if name not in ("data", "evaluate")}

DRAWN = ("loss", "batches", "batch_pairs", "place_pictures", "mining", "chunk_queries")
"""What of `train` says which partners batches draw, and how many."""


@dataclass(frozen=True)
class Prepared:
    """The trials of a sweep, one for each of its points and seeds, and the means to resolve more.

    Attributes:
        trials: resolved; those that wait for something that is not made yet have no digests, and where that is the
            built-in city, the root `demo`.
        notes: what is left for the sweep to look at, and what would be made.
        facts: what a person should know of the data: cities that are not measured, pictures that take no part.
        unsegmented: those of the notes that tell of caches to be segmented.
        num_queries: queries that count, the fewest of any trial; None: the data are not there yet.
    """

    trials: tuple[TrialSpec, ...]
    resolver: Resolver
    runs: Path
    profile: ClusterProfile
    notes: tuple[str, ...] = ()
    unsegmented: tuple[str, ...] = ()
    num_queries: int | None = None
    facts: tuple[str, ...] = ()

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be fallen back to, in words."""
        return self.resolver.fallbacks

    def resolve(self, trial: TrialSpec) -> TrialSpec:
        """One more trial, of the cities and backbones that were looked at, with an id.

        Raises:
            UserError: its values do not go together.
        """
        if trial.measures_itself:
            return self.resolver.resolve(trial)
        check_stem(trial)
        trial = with_data(trial, self.runs)  # a city is read once a path
        check_placebo(trial)
        check_start(trial)
        return self.resolver.resolve(segmenting.with_cache(trial, self.runs, self.profile))


def prepare(
    sweep: SweepSpec, profile: ClusterProfile, runs: Path, tell: Tell, bar: Bar, check: Check = wanted_by_all
) -> Prepared:
    """Resolve every trial of a sweep; make the demo city and the caches that are not there yet.

    Args:
        check: called again and again while caches are made; what it raises ends that.

    Raises:
        UserError: whatever is missing or wrong, before anything was started.
    """
    return _prepare(sweep, profile, runs, Making(tell, bar, check))


def look(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> Prepared:
    """As `prepare`, for `plan`: nothing is written or made, and no picture is opened.

    Raises:
        UserError: whatever is missing or wrong.
    """
    return _prepare(sweep, profile, runs, None)


def unready(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> str | None:
    """What takes too long to be made before a driver is submitted: a cache to be segmented; None: nothing does.

    Raises:
        UserError: as `look`.
    """
    if all(trial.input.segmenter is None for trial in sweep.trials):
        return None
    return next(iter(look(sweep, profile, runs).unsegmented), None)


def _prepare(sweep: SweepSpec, profile: ClusterProfile, runs: Path, making: Making | None) -> Prepared:
    """Every step in its order. What is not there stays away where nothing may be made, and so do its checks."""
    resolver = Resolver()
    # What a user's own program does not read is not looked at.
    asked = tuple(trial if trial.job is None else trial.undigested for trial in sweep.trials)
    for place, trial in enumerate(asked):
        with with_line_of(sweep, place):
            check_stem(trial)
            check_demo_cities(trial)
            check_demo_classes(trial)
            resolver.check_checkpoint(trial)
            if sweep.search.subsets is not None and not trial.train.steps:
                resolver.check_fixed(trial)
    check_installed(asked)
    check_trackers(sweep.track, "track")
    try_own_code(asked, lambda place: with_line_of(sweep, place))
    absent = make_cities(asked, runs, making)
    with leading_there("trial.data"):
        if making is not None:
            own = [absolute(trial) for trial in asked if _has_data(trial)]
            find_broken(own, checked_folder(runs), making.bar)
        trials = [trial if demo_folder(trial, runs) in absent else with_data(trial, runs) for trial in asked]
    ready = [trial for trial in trials if _has_data(trial)]
    num_queries, opened, facts = _look_at_data(ready, runs, making)
    facts += _look_at_packs(ready, making)
    for place, trial in enumerate(trials):
        if _has_data(trial):
            check_placebo(trial, _placebos(sweep))
            with with_line_of(sweep, place):
                check_start(trial)
    with leading_there("trial.input.segmenter"):
        trials = [segmenting.with_cache(trial, runs, profile) if _has_data(trial) else trial for trial in trials]
    orders = orders_for(sweep, [trial for trial in trials if _has_data(trial)], profile, runs, absent)
    pending = make_caches(orders, profile, making)
    resolved = tuple(
        _resolved(resolver, sweep, place, trial)
        if trial.measures_itself or (_has_data(trial) and trial.input.cache not in pending)
        else trial
        for place, trial in enumerate(trials)
    )
    known = [trial for trial in resolved if trial.digests is not None]
    check_channels(known, profile, num_kinds(sweep) if sweep.search.probes.how == "pooled" else 0)
    if making is not None:
        check_caches(resolved, runs, making)
    unsegmented = tuple(chain.from_iterable(pending.values()))
    notes = tuple(dict.fromkeys((*absent.values(), *opened, *unsegmented)))
    made = Prepared(resolved, resolver, runs, profile, notes, unsegmented, num_queries, facts)
    if len(known) == len(resolved):
        check_sums_room(sweep, made.resolve, runs)
    return made


def _resolved(resolver: Resolver, sweep: SweepSpec, place: int, trial: TrialSpec) -> TrialSpec:
    with with_line_of(sweep, place):
        return resolver.resolve(trial)


def _look_at_data(
    trials: Iterable[TrialSpec], runs: Path, making: Making | None
) -> tuple[int | None, list[str], tuple[str, ...]]:
    """Check what trials read. Pictures are opened where marks may be left that they were: that takes long.

    Returns:
        Queries that count, the fewest of any trial, None of no trial; what is left for the sweep to look at; and what
        a person should know.
    """
    asked, notes, facts = [], [], list[str]()
    for trial in _unique(_only_data(trial) for trial in trials):
        count, found = check_data(trial)
        asked.append(count)
        facts += found
        if making is not None:
            for note in (*mark_whole(trial, checked_folder(runs)), *check_pictures(trial, runs, making.bar)):
                making.tell(note)
        elif was_opened(trial, checked_folder(runs)):
            notes.append(f"the pictures of {trial.data.root} are there; the sweep opens each of them once")
        else:
            other = "it leaves out what cannot be read, which makes other trials than these"
            notes.append(f"the sweep opens each picture of {trial.data.root} once: {other}")
    return min(asked, default=None), notes, tuple(dict.fromkeys(facts))


def _look_at_packs(trials: Iterable[TrialSpec], making: Making | None) -> tuple[str, ...]:
    """Check the packs that trials read; what they read from files all the same, for a person to know."""
    words = list[str]()
    looked = set[str]()
    for trial in trials:
        if (data := trial.data.model_dump_json()) not in looked:
            check_pack(trial.data, trial.cities)
            if making is not None:
                check_packed_files(trial.data, trial.cities)
        looked.add(data)
        words += pack_words(trial)
    return tuple(dict.fromkeys(words))


def _has_data(trial: TrialSpec) -> bool:
    """Whether the folder of its data is there; `with_data` has named it. A program that measures itself has none."""
    return trial.data.root != "demo" and not trial.measures_itself


def _only_data(trial: TrialSpec) -> TrialSpec:
    """What its data are looked at for: their places, the questions, whether it learns, and what its batches draw."""
    trains = trial.job is None and trial.train.steps > 0  # what a program trains on is its own affair
    drawn = {name: getattr(trial.train, name) for name in DRAWN} | {"steps": int(trains)}
    return trial.model_copy(update={**ONLY_DATA, "train": TrainSpec().model_copy(update=drawn)})


def _placebos(sweep: SweepSpec) -> tuple[str, ...]:
    """Those of every arm: a greedy search asks for them when its first trials are long over."""
    return () if sweep.search.subsets is None else sweep.search.subsets.placebos


def _unique(items: Iterable[AnySpec]) -> list[AnySpec]:
    """Each item once, in order; specs are compared by value and need not be hashable."""
    seen: dict[str, AnySpec] = {}
    for item in items:
        seen.setdefault(item.model_dump_json(), item)
    return list(seen.values())
