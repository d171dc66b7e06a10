"""Everything a sweep needs, looked at before anything is submitted: data, cache, weights; and the trials' digests.

A job reads shared storage only. Whatever is wrong is said here, once, while nothing has been started.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vprdist import caches
from vprdist.console import Bar, Tell
from vprdist.data.digest import city_digest_cached, dataset_digest
from vprdist.data.kinds import POSITIVE, SHARES_OF, check_kinds, city_kinds
from vprdist.data.labels import labels_digest
from vprdist.data.msls import check_images, check_whole, read_city_cached
from vprdist.data.tasks import build_tasks
from vprdist.errors import CacheError, DataError, LaunchError, SweepFileError, WeightsError
from vprdist.files import digest_json, write_text
from vprdist.launch.params import submission_parameters
from vprdist.spec.base import Spec
from vprdist.spec.demo import DemoSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.trial import DataSpec, Digests, TrainSpec, TrialSpec
from vprdist.spec.vocabulary import BACKBONE_UNITS, trained_units

AnySpec = TypeVar("AnySpec", bound=Spec)
ONLY_DATA = {name: field.default for name, field in TrialSpec.model_fields.items() if name not in ("data", "evaluate")}
PROBE_BYTES = 2**20
CacheKey = tuple[str, DataSpec, tuple[str, ...]]
"""A cache and the cities that it must hold: those of the data, and those to predict."""


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
        _check_stem(trial)
        if trial.data.root == "demo":
            spec = trial.data.demo or DemoSpec()
            trial = _in_demo_city(trial, spec, _demo_folder(spec, self.runs))
        return self.resolver.resolve(caches.with_cache(_absolute(trial), self.runs, self.profile))


def check_runs_folder(runs: Path) -> None:
    """The run folder can be written to.

    Raises:
        LaunchError: it cannot.
    """
    probe = runs / f".writable-{os.getpid()}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(PROBE_BYTES))  # a full disk lets files be made, but not be written
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        remedy = "Make room there, or choose another: --runs FOLDER."
        raise LaunchError(runs, "the run folder must be writable", error.strerror, remedy) from None


def prepare(sweep: SweepSpec, profile: ClusterProfile, runs: Path, tell: Tell, bar: Bar) -> Prepared:
    """Resolve every trial of a sweep; make the demo city and the caches that are not there yet.

    Raises:
        UserError: whatever is missing or wrong, before anything was started.
    """
    resolver = Resolver()
    for trial in sweep.trials:
        _check_stem(trial)
        resolver.check_checkpoint(trial)
    if importlib.util.find_spec("faiss") is None:
        remedy = "pip install 'vprdist[cpu]', or 'vprdist[gpu]' on a machine with NVIDIA GPUs."
        raise LaunchError("faiss", "evaluation needs FAISS", None, remedy)
    if any(trial.run.tensorboard for trial in sweep.trials) and importlib.util.find_spec("tensorboard") is None:
        remedy = "pip install 'vprdist[tensorboard]', or leave it out."
        raise LaunchError("trial.run.tensorboard", "TensorBoard must be installed", None, remedy)
    trials = _with_demo_city(list(sweep.trials), runs, tell, bar)
    for trial in _unique(_only_data(t) for t in trials):
        _check_data(trial, runs / "data" / "checked", bar)
    trials = [caches.with_cache(trial, runs, profile) for trial in trials]
    for order in caches.orders_of((*trials, *_more_caches(sweep, profile, runs)), profile):
        caches.make(order, profile, tell, bar)
    resolved = tuple(resolver.resolve(trial) for trial in trials)
    return Prepared(resolved, resolver, runs, profile)


class Resolver:
    """Fills in the digests of trials; each city, cache, backbone and checkpoint is looked at once."""

    def __init__(self) -> None:
        self._weights: dict[tuple[str, str], tuple[str, str | None]] = {}
        self._caches: dict[CacheKey, str] = {}

    def resolve(self, trial: TrialSpec) -> TrialSpec:
        """A trial with an id. Its data were checked, and its paths are absolute.

        Raises:
            UserError: no cache where the mode needs one, or it does not cover the cities; refused weights.
        """
        cities = (*trial.data.train, *trial.data.validate_cities)
        dataset = dataset_digest(Path(trial.data.root), cities)
        cache, weights = _cache_digest(trial, self._caches), self._weights_digest(trial)
        digests = Digests(dataset=dataset, cache=cache, weights=weights, labels=labels_digest(trial.data))
        return trial.resolved(digests)

    def check_checkpoint(self, trial: TrialSpec) -> None:
        """The checkpoint that the trial starts from, if any, is there and its network's.

        Raises:
            WeightsError: it is not.
        """
        if trial.network.checkpoint is not None:
            self._weights_digest(_absolute(trial))

    def _weights_digest(self, trial: TrialSpec) -> str:
        backbone, weights = trial.network.backbone, trial.network.weights
        if weights == "none":
            return "none"
        if (backbone, weights) not in self._weights:
            self._weights[backbone, weights] = _find_weights(backbone, weights)
        return self._weights[backbone, weights][0]

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be fallen back to so far, in words."""
        return tuple(note for _, note in self._weights.values() if note)


def _only_data(trial: TrialSpec) -> TrialSpec:
    """What its data are looked at for: their places, the questions, and which kinds of pairs its loss draws."""
    return trial.model_copy(update={**ONLY_DATA, "train": TrainSpec(loss=trial.train.loss)})


def _unique(items: Iterable[AnySpec]) -> list[AnySpec]:
    """Each item once, in order; specs are compared by value and need not be hashable."""
    seen: dict[str, AnySpec] = {}
    for item in items:
        seen.setdefault(item.model_dump_json(), item)
    return list(seen.values())


def look(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> Looked:
    """As `prepare`, for `plan`: nothing is written or made, and no picture is opened.

    Raises:
        UserError: whatever is missing or wrong.
    """
    resolver, trials, notes, asked = Resolver(), [], [], []
    for trial in sweep.trials:
        _check_stem(trial)
        resolver.check_checkpoint(trial)
        spec = trial.data.demo or DemoSpec()
        folder = _demo_folder(spec, runs)
        if trial.data.root != "demo":
            trials.append(_absolute(trial))
        elif (folder / "demo.json").exists() and (folder / "cache" / "manifest.json").exists():
            trials.append(_in_demo_city(trial, spec, folder))
        else:
            notes.append(f"the demo city ({spec.num_pictures} pictures) would be made in {folder} first")
            trials.append(trial)
    ready = [trial for trial in trials if trial.data.root != "demo"]
    for trial in _unique(_only_data(t) for t in ready):
        asked.append(_check_data(trial, None, None))
        if ready:
            notes.append(f"the pictures of {trial.data.root} are there; the sweep opens each of them once")
    trials = [trial if trial.data.root == "demo" else caches.with_cache(trial, runs, profile) for trial in trials]
    pending = set()
    here = [trial for trial in trials if trial.data.root != "demo"]
    for order in caches.orders_of((*here, *_more_caches(sweep, profile, runs)), profile):
        outlook = caches.look_at(order)
        if not outlook.built:
            pending.add(order.out)
            left = outlook.images - outlook.done
            notes.append(f"{left} of {outlook.images} pictures would be segmented first, into {order.out}")
    resolved = tuple(
        trial if trial.data.root == "demo" or trial.input.cache in pending else resolver.resolve(trial)
        for trial in trials
    )
    return Looked(resolved, resolver.fallbacks, tuple(dict.fromkeys(notes)), min(asked, default=None))


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
        if trial.data.root == "demo":
            spec = trial.data.demo or DemoSpec()
            trial = _in_demo_city(trial, spec, _demo_folder(spec, runs))
        more.append(caches.with_cache(_absolute(trial), runs, profile))
    return [trial for trial in more if Path(trial.data.root).exists()]


def unready(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> str | None:
    """What takes too long to be made before a driver is submitted: a cache to be segmented; None: nothing does."""
    if all(trial.input.segmenter is None for trial in sweep.trials):
        return None
    looked = look(sweep, profile, runs)
    return next((note for note in looked.notes if "would be segmented" in note), None)


@dataclass(frozen=True)
class Looked:
    """Trials, resolved where nothing had to be made for it; fallbacks; what a person should know."""

    trials: tuple[TrialSpec, ...]
    fallbacks: tuple[str, ...]
    notes: tuple[str, ...]
    num_queries: int | None
    """Queries that count, the fewest of any trial; None: the data are not there yet."""


def _with_demo_city(trials: list[TrialSpec], runs: Path, tell: Tell, bar: Bar) -> list[TrialSpec]:
    """Where the root is `demo`: make the built-in city once, import its semantics, and fill in the paths."""
    out = []
    ready: set[Path] = set()
    for trial in trials:
        if trial.data.root != "demo":
            out.append(_absolute(trial))
            continue
        spec = trial.data.demo or DemoSpec()
        folder = _demo_folder(spec, runs)
        if folder not in ready:
            demo_city(spec, folder, tell, bar)
            ready.add(folder)
        out.append(_in_demo_city(trial, spec, folder))
    return out


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
    return _absolute(trial.model_copy(update={"data": data, "input": trial.input.model_copy(update={"cache": cache})}))


def demo_city(spec: DemoSpec, folder: Path, tell: Tell, bar: Bar) -> None:
    """The demo city's MSLS tree and its cache, made where they are not there yet."""
    from vprdist.data.demo import make
    from vprdist.semantics.importing import import_cache

    cache = folder / "cache"
    if not (folder / "demo.json").exists():
        tell(f"making the built-in demo city in {folder}")
    with bar("rendering the demo city") as advance:
        make(spec, folder, progress=advance)
    with bar("importing its semantics") as advance:
        import_cache(folder / "semantics", folder, cache, segmenter="demo city's truth", progress=advance)


def _absolute(trial: TrialSpec) -> TrialSpec:
    """Paths as a job on another machine, with another working folder, must see them."""
    data = trial.data.model_copy(update={"root": str(Path(trial.data.root).expanduser().resolve())})
    cache = trial.input.cache and str(Path(trial.input.cache).expanduser().resolve())
    segmenter = trial.input.segmenter and trial.input.segmenter.absolute()
    where = trial.input.model_copy(update={"cache": cache, "segmenter": segmenter})
    network = trial.network
    if network.checkpoint is not None:
        network = network.model_copy(update={"weights": str(Path(network.checkpoint).expanduser().resolve())})
    return trial.model_copy(update={"data": data, "input": where, "network": network})


def _check_data(trial: TrialSpec, checked: Path | None, bar: Bar | None) -> int:
    """Every city can be read, every picture is there and whole, and there is something to learn and to ask.

    Returns how many queries count. Without `checked` and `bar` no picture is opened.
    """
    data, root = trial.data, Path(trial.data.root)
    for name, cities in (("train", data.train), ("validate", data.validate_cities)):
        if not cities:
            raise SweepFileError(
                f"trial.data.{name}", "at least one city is needed", [], f"Name cities of {data.root}."
            )
    for name in trial.cities:
        city = read_city_cached(root, name)
        for side in city.sides:
            check_images(side)
            if name in data.train and side.ca is None:
                rule = "training needs the angles of ground truth"
                raise DataError(side.folder / "raw.csv", rule, None, "Choose another city.")
            if name in (*data.train, *data.validate_cities) and side.easting is None:
                rule = "training and validation need ground truth"
                remedy = "Choose another city; `evaluate.predict` writes predictions for this one."
                raise DataError(side.folder / "postprocessed.csv", rule, None, remedy)
    if checked is not None and bar is not None:
        _check_pictures(root, trial.cities, checked, bar)
    kinds = [city_kinds(read_city_cached(root, name), data, trial.train.loss) for name in data.train]
    for city_kind in kinds:
        if POSITIVE not in city_kind.found:
            rule = f"some query overlaps a database image by half, within {2 * data.fov_radius_m:g} m"
            remedy = "Check easting and northing in postprocessed.csv, and ca in raw.csv."
            raise DataError(root / "train_val" / city_kind.name, rule, "zero positives", remedy)
    check_kinds(kinds, SHARES_OF[trial.train.loss])
    tasks = build_tasks([read_city_cached(root, name) for name in data.validate_cities], trial)
    return sum(len(task.queries) for task in tasks)


def _check_pictures(root: Path, cities: Sequence[str], checked: Path, bar: Bar) -> None:
    """No picture is cut. Opening every one is slow on shared storage: once for each state of a city is enough."""
    marks = {name: checked / city_digest_cached(root, name) for name in cities}
    todo = [name for name in cities if not marks[name].exists()]
    if not todo:
        return
    with bar("checking the cities' pictures") as advance:
        for done, name in enumerate(todo, 1):
            for side in read_city_cached(root, name).sides:
                check_whole(side)
            write_text(marks[name], f"{root} {name}: every picture is whole\n")
            advance(done, len(todo))


def check_profile(profile: ClusterProfile, trials: Iterable[TrialSpec]) -> None:
    """The profile can launch these trials.

    Raises:
        LaunchError: its kind of cluster cannot do what it asks for.
        SweepFileError: a batch cannot be split over its ranks.
    """
    world = profile.num_ranks
    for trial in trials:
        submission_parameters(profile, "check", "check")
        if fault := trial.train.ranks_fault(world):
            raise SweepFileError(f"trial.train.{fault.field}", fault.rule, fault.value, fault.remedy)


def _check_stem(trial: TrialSpec) -> None:
    """New input channels that start at zero and are never trained would do nothing, silently."""
    first = BACKBONE_UNITS[trial.network.backbone][0]
    frozen = first not in trained_units(trial.network.backbone, trial.network.unfreeze)
    if trial.input.adds_channels and trial.input.conv1_init == "inflate" and frozen:
        raise SweepFileError(
            "trial.network.unfreeze",
            f"conv1_init inflate starts the new channels of mode {trial.input.mode} at zero: {first} must be trained",
            trial.network.unfreeze_name,
            "Use 2-2 or all, or conv1_init: random.",
        )


def _cache_digest(trial: TrialSpec, known: dict[CacheKey, str]) -> str | None:
    from vprdist.semantics.cache import open_cache

    if not trial.input.needs_cache:
        return None
    if trial.input.cache is None:
        raise CacheError(
            "trial.input.cache",
            f"mode {trial.input.mode} needs a cache of semantic activations",
            None,
            f"Name a segmenter (trial.input.segmenter), or import one: vprdist cache import SOURCE --data "
            f"{trial.data.root} --out FOLDER.",
        )
    key = (trial.input.cache, trial.data, trial.evaluate.predict)
    if key not in known:
        cache = open_cache(Path(trial.input.cache))
        cities = (*trial.data.train, *trial.data.validate_cities)
        cache.covers({city: city_digest_cached(Path(trial.data.root), city) for city in trial.cities})
        # The digest of what makes the result alone: a city added to the cache later changes no trial.
        known[key] = cache.manifest.digest_of(cities)
    return known[key]


def _find_weights(backbone: str, weights: str) -> tuple[str, str | None]:
    """(digest or "none", a note when they could not be had). In a process of its own: see network/weights.py.

    Raises:
        WeightsError: no such backbone here, or the checkpoint is missing or another network's.
    """
    command = [sys.executable, "-m", "vprdist.network.weights", backbone, weights]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(" ".join(command), "looking for weights must end well", done.stderr.strip()[-400:])
    answer = json.loads(done.stdout.splitlines()[-1])
    if "refused" in answer:
        raise WeightsError(**answer["refused"])
    if "error" in answer:
        return (
            "none",
            f"{backbone} starts from RANDOM weights, its trials are other trials: {answer['error']}",
        )
    return str(answer["digest"]), None
