"""Everything a sweep needs, looked at before anything is submitted: data, cache, weights; and the trials' digests.

A job reads shared storage only. Whatever is wrong is said here, once, while nothing has been started.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vprdist.console import Bar, Tell
from vprdist.errors import LaunchError, SweepFileError
from vprdist.files import digest_json
from vprdist.prepare.checks import check_data, check_placebo, check_stem
from vprdist.prepare.resolve import Resolver, absolute
from vprdist.semantics import segmenting
from vprdist.semantics.order import CacheOrder
from vprdist.spec.base import Spec
from vprdist.spec.demo import DemoSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.trial import TrainSpec, TrialSpec
from vprdist.store.driving import Check, wanted_by_all

AnySpec = TypeVar("AnySpec", bound=Spec)
ONLY_DATA = {name: field.default for name, field in TrialSpec.model_fields.items() if name not in ("data", "evaluate")}


@dataclass(frozen=True)
class Prepared:
    """The resolved trials of a sweep, one for each of its points and seeds, and the means to resolve more."""

    trials: tuple[TrialSpec, ...]
    resolver: Resolver
    runs: Path
    profile: ClusterProfile

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be fallen back to, in words."""
        return self.resolver.fallbacks

    def resolve(self, trial: TrialSpec) -> TrialSpec:
        """One more trial, of the cities and backbones that were looked at, with an id.

        Raises:
            UserError: its values do not go together.
        """
        check_stem(trial)
        trial = _with_data(trial, self.runs)  # a city is read once a path
        check_placebo(trial)
        return self.resolver.resolve(segmenting.with_cache(trial, self.runs, self.profile))


@dataclass(frozen=True)
class Looked:
    """Trials, resolved where nothing had to be made for it; fallbacks; what a person should know."""

    trials: tuple[TrialSpec, ...]
    fallbacks: tuple[str, ...]
    notes: tuple[str, ...]
    num_queries: int | None
    """Queries that count, the fewest of any trial; None: the data are not there yet."""
    resolver: Resolver


def prepare(
    sweep: SweepSpec, profile: ClusterProfile, runs: Path, tell: Tell, bar: Bar, check: Check = wanted_by_all
) -> Prepared:
    """Resolve every trial of a sweep; make the demo city and the caches that are not there yet.

    Args:
        check: called again and again while caches are made; what it raises ends that.

    Raises:
        UserError: whatever is missing or wrong, before anything was started.
    """
    resolver = Resolver()
    for trial in sweep.trials:
        check_stem(trial)
        resolver.check_checkpoint(trial)
    if importlib.util.find_spec("faiss") is None:
        remedy = "pip install 'vprdist[cpu]', or 'vprdist[gpu]' on a machine with NVIDIA GPUs."
        raise LaunchError("faiss", "evaluation needs FAISS", None, remedy)
    if any(trial.run.tensorboard for trial in sweep.trials) and importlib.util.find_spec("tensorboard") is None:
        remedy = "pip install 'vprdist[tensorboard]', or leave it out."
        raise LaunchError("trial.run.tensorboard", "TensorBoard is not installed", None, remedy)
    trials = _with_demo_city(sweep.trials, runs, tell, bar)
    for trial in _unique(_only_data(t) for t in trials):
        check_data(trial, runs / "data" / "checked", bar)
    for trial in trials:
        check_placebo(trial, _placebos(sweep))
    trials = [segmenting.with_cache(trial, runs, profile) for trial in trials]
    for order in segmenting.orders_of((*trials, *_more_caches(sweep, profile, runs)), profile):
        segmenting.make(order, profile, tell, bar, check=check)
    resolved = tuple(resolver.resolve(trial) for trial in trials)
    return Prepared(resolved, resolver, runs, profile)


def look(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> Looked:
    """As `prepare`, for `plan`: nothing is written or made, and no picture is opened.

    Raises:
        UserError: whatever is missing or wrong.
    """
    resolver, trials, notes, asked = Resolver(), [], [], []
    for trial in sweep.trials:
        check_stem(trial)
        resolver.check_checkpoint(trial)
        spec = trial.data.demo or DemoSpec()
        folder = _demo_folder(spec, runs)
        if trial.data.root != "demo":
            trials.append(absolute(trial))
        elif (folder / "demo.json").exists() and (folder / "cache" / "manifest.json").exists():
            trials.append(_in_demo_city(trial, spec, folder))
        else:
            notes.append(f"the demo city ({spec.num_pictures} pictures) would be made in {folder} first")
            trials.append(trial)
    ready = [trial for trial in trials if trial.data.root != "demo"]
    for trial in _unique(_only_data(t) for t in ready):
        asked.append(check_data(trial, None, None))
        if ready:
            notes.append(f"the pictures of {trial.data.root} are there; the sweep opens each of them once")
    for trial in ready:
        check_placebo(trial, _placebos(sweep))
    trials = [trial if trial.data.root == "demo" else segmenting.with_cache(trial, runs, profile) for trial in trials]
    pending = set()
    here = [trial for trial in trials if trial.data.root != "demo"]
    for order in segmenting.orders_of((*here, *_more_caches(sweep, profile, runs)), profile):
        outlook = segmenting.look_at(order)
        if not outlook.built:
            pending.add(order.out)
            left = outlook.images - outlook.done
            notes.append(f"{left} of {outlook.images} pictures would be segmented first, into {order.out}")
    resolved = tuple(
        trial if trial.data.root == "demo" or trial.input.cache in pending else resolver.resolve(trial)
        for trial in trials
    )
    return Looked(resolved, resolver.fallbacks, tuple(dict.fromkeys(notes)), min(asked, default=None), resolver)


def cache_orders(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> list[CacheOrder]:
    """Every cache that the sweep's trials need and could make, whether it is there or not; no picture is opened.

    Raises:
        UserError: a segmenter's weights are not there, or two segmenters are to fill one folder.
    """
    if all(trial.input.segmenter is None for trial in sweep.trials):
        return []
    trials = [segmenting.with_cache(_with_data(trial, runs), runs, profile) for trial in sweep.trials]
    return segmenting.orders_of((*trials, *_more_caches(sweep, profile, runs)), profile)


def unready(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> str | None:
    """What takes too long to be made before a driver is submitted: a cache to be segmented; None: nothing does."""
    if all(trial.input.segmenter is None for trial in sweep.trials):
        return None
    looked = look(sweep, profile, runs)
    return next((note for note in looked.notes if "would be segmented" in note), None)


def demo_city(spec: DemoSpec, folder: Path, tell: Tell, bar: Bar) -> None:
    """The demo city's MSLS tree and its cache, made where they are not there yet."""
    from vprdist.demo import make
    from vprdist.semantics.importing import import_cache

    cache = folder / "cache"
    if not (folder / "demo.json").exists():
        tell(f"making the built-in demo city in {folder}")
    with bar("rendering the demo city") as advance:
        make(spec, folder, progress=advance)
    with bar("importing its semantics") as advance:
        import_cache(folder / "semantics", folder, cache, segmenter="demo city's truth", progress=advance)


def _with_demo_city(trials: Sequence[TrialSpec], runs: Path, tell: Tell, bar: Bar) -> list[TrialSpec]:
    """The trials with the folders of their data; where the root is `demo`, the built-in city is made once."""
    specs = {
        _demo_folder(spec, runs): spec for spec in (t.data.demo or DemoSpec() for t in trials if t.data.root == "demo")
    }
    for folder, spec in specs.items():
        demo_city(spec, folder, tell, bar)
    return [_with_data(trial, runs) for trial in trials]


def _demo_folder(spec: DemoSpec, runs: Path) -> Path:
    return runs / "data" / f"demo-{digest_json(spec.model_dump(mode='json'), 8)}"


def _in_demo_city(trial: TrialSpec, spec: DemoSpec, folder: Path) -> TrialSpec:
    """The trial with the paths and cities of the demo city in that folder."""
    data = trial.data.model_copy(
        update={
            "root": str(folder),
            "demo": None,
            "train": trial.data.train or spec.train,
            "validate_cities": trial.data.validate_cities or spec.validate_cities,
        }
    )
    own = trial.input.needs_cache and trial.input.segmenter is None
    cache = trial.input.cache or (str(folder / "cache") if own else None)
    return absolute(trial.model_copy(update={"data": data, "input": trial.input.model_copy(update={"cache": cache})}))


def _with_data(trial: TrialSpec, runs: Path) -> TrialSpec:
    """The trial with the folder of its data, whether it is there or not."""
    if trial.data.root == "demo":
        spec = trial.data.demo or DemoSpec()
        trial = _in_demo_city(trial, spec, _demo_folder(spec, runs))
    return absolute(trial)


def _only_data(trial: TrialSpec) -> TrialSpec:
    """What its data are looked at for: their places, the questions, and which kinds of pairs its loss draws."""
    return trial.model_copy(update={**ONLY_DATA, "train": TrainSpec(loss=trial.train.loss)})


def _placebos(sweep: SweepSpec) -> tuple[str, ...]:
    """The placebos of every arm: a greedy search asks for them when its first trials are long over."""
    return () if sweep.search.subsets is None else sweep.search.subsets.placebos


def _unique(items: Iterable[AnySpec]) -> list[AnySpec]:
    """Each item once, in order; specs are compared by value and need not be hashable."""
    seen: dict[str, AnySpec] = {}
    for item in items:
        seen.setdefault(item.model_dump_json(), item)
    return list(seen.values())


def _more_caches(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> list[TrialSpec]:
    """Trials of a space that need caches of their own: every combination of its values for data and input.

    The sweep's own trials try each value alone, where a segmenter may meet a mode that needs none.
    """
    axes = {axis: domain for axis, domain in sweep.search.space.items() if axis.split(".")[0] in ("data", "input")}
    more = []
    for values in itertools.product(*(domain.samples for domain in axes.values())) if axes else ():
        try:
            trial = trial_at(sweep, {**sweep.points[0], **dict(zip(axes, values, strict=True))})
        except SweepFileError:
            continue  # they do not go together: no trial either
        more.append(segmenting.with_cache(_with_data(trial, runs), runs, profile))
    return [trial for trial in more if Path(trial.data.root).exists()]
