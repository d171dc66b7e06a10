"""What is checked before anything is submitted: the run folder, the profile, the first layer, the data.

What a file's values say by themselves, `spec` has refused already.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from vprdist.console import Bar, late
from vprdist.data.apart import check_apart
from vprdist.data.kinds import POSITIVE, check_kinds, city_kinds, num_places
from vprdist.data.label_choice import angle_facts, label_kind, taken_labels
from vprdist.data.layouts import layout_of, read_city_cached
from vprdist.data.layouts.less import left_out_words
from vprdist.data.pictures import turned_pictures
from vprdist.data.places import City
from vprdist.data.tasks import build_tasks, unasked
from vprdist.data.unchanged import check_unchanged, note_pictures
from vprdist.errors import DataError, LaunchError, SweepFileError, leading_there, nearest
from vprdist.files import at_home, write_text
from vprdist.launch.params import submission_parameters
from vprdist.prepare.folders import checked_folder
from vprdist.prepare.left_out import whole_mark
from vprdist.private import Guard, Trust
from vprdist.spec.data import DataSpec
from vprdist.spec.demo import DemoSpec
from vprdist.spec.elsewhere import places_of
from vprdist.spec.own_code import own_file
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec

PROBE_BYTES = 2**20
PACKAGES = {"metric": "pytorch_metric_learning"}
"""By extra, the package that tells whether it is installed."""


def check_runs_folder(runs: Path, trust: Trust) -> None:
    """The run folder can be written to, by nobody whom we do not trust.

    Raises:
        LaunchError: it cannot, or others can; then nothing was made.
    """
    guard = Guard(trust, runs)
    guard.check_way(runs)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        guard.check(runs)
        # A new file, whatever others put there; a full disk lets files be made, but not be written.
        with tempfile.TemporaryFile(prefix=".writable-", dir=runs) as probe:
            probe.write(bytes(PROBE_BYTES))
    except OSError as error:
        remedy = "Make room there, or choose another: --runs FOLDER."
        raise LaunchError(runs, "the run folder cannot be written", error.strerror, remedy) from None


def check_profile(profile: ClusterProfile, trials: Iterable[TrialSpec]) -> None:
    """The profile can launch these trials.

    Raises:
        LaunchError: its kind of cluster cannot do what it asks for.
        SweepFileError: a batch cannot be split over its ranks.
    """
    world = profile.num_ranks
    for trial in trials:
        submission_parameters(profile, "check", "check")
        if trial.job is None and (fault := trial.train.ranks_fault(world)):
            raise SweepFileError(f"trial.train.{fault.field}", fault.fault, fault.value, fault.remedy)


def check_stem(trial: TrialSpec) -> None:
    """New input channels that start at zero and are never trained would do nothing, silently.

    Raises:
        SweepFileError: the trial has such channels.
    """
    first = trial.network.units[0]
    frozen = first not in trial.network.trained
    if trial.input.adds_channels and trial.input.conv1_init == "inflate" and frozen:
        raise SweepFileError(
            "trial.network.unfreeze",
            f"conv1_init inflate starts the new channels of mode {trial.input.mode} at zero: {first} must be trained",
            trial.network.unfreeze_name,
            "Use 2-2 or all, or conv1_init: random.",
        )


def check_installed(trials: Iterable[TrialSpec]) -> None:
    """What jobs load is installed here; nodes share this environment.

    Raises:
        LaunchError: it is not.
    """
    trials = tuple(trials)
    if importlib.util.find_spec("faiss") is None and not all(trial.measures_itself for trial in trials):
        remedy = "pip install 'vprdist[cpu]', or 'vprdist[gpu]' on a machine with NVIDIA GPUs."
        raise LaunchError("faiss", "evaluation needs FAISS", None, remedy)
    if any(trial.run.tensorboard for trial in trials) and importlib.util.find_spec("tensorboard") is None:
        remedy = "pip install 'vprdist[tensorboard]', or leave it out."
        raise LaunchError("trial.run.tensorboard", "TensorBoard is not installed", None, remedy)
    for extra, name in {trial.train.loss.extra: trial.train.loss.name for trial in trials if trial.train.steps}.items():
        if extra and importlib.util.find_spec(PACKAGES[extra]) is None:
            fault = f"the loss {name} needs the package {PACKAGES[extra].replace('_', '-')}"
            raise LaunchError("trial.train.loss", fault, None, f"Install it: pip install 'vprdist[{extra}]'.")


def check_demo_cities(trial: TrialSpec) -> None:
    """The built-in data have the cities, which is known before they are made.

    Raises:
        SweepFileError: they have not.
    """
    if trial.data.root == "demo":
        known = (trial.data.demo or DemoSpec()).cities
        for name in trial.cities:
            if name not in known:
                remedy = f"{nearest(name, known)} Or set trial.data.root."
                raise SweepFileError(_key_of_city(trial, name), "the built-in data have no such city", name, remedy)


def check_demo_classes(trial: TrialSpec) -> None:
    """The built-in data have the cache of the trial's class table, which is known before they are made.

    Raises:
        SweepFileError: they have another's.
    """
    shown = trial.input
    is_theirs = trial.data.root == "demo" and shown.cache is None and shown.segmenter is None
    if is_theirs and trial.needs_cache and not shown.table.is_default:
        fault = "the class table must be cityscapes, whose 19 classes the built-in data are drawn with"
        remedy = "Delete the key, or name data or a cache of your own (trial.data.root, trial.input.cache)."
        raise SweepFileError("trial.input.class_table", fault, shown.table.words, remedy)


def check_data(trial: TrialSpec) -> tuple[int, tuple[str, ...]]:
    """Every city can be read, every picture is there, and there is something to learn and to ask; none is opened.

    Returns:
        How many queries make the result; and what a person should know of the cities.

    Raises:
        SweepFileError: no city to train or to validate.
        DataError: whatever is wrong with a city, or two cities that share pictures.
    """
    data = trial.data
    learns = trial.train.steps > 0 or trial.evaluate.whitening == "train"
    for name, cities, needed in (("train", data.train, learns), ("validate", data.validate_cities, True)):
        if needed and not cities:
            idle = "" if name == "validate" else " Or train nothing: trial.train.steps: 0, and no whitening of `train`."
            remedy = f"Name cities of {data.root}.{idle}"
            raise SweepFileError(f"trial.data.{name}", "no city is named, and one is needed", None, remedy)
    layout, facts = layout_of(data), list[str]()
    with leading_there("trial.data.root"):
        layout.names()
    for name in trial.cities:
        with leading_there(_key_of_city(trial, name)):
            city = read_city_cached(layout, name)
            layout.check(city)
            facts += left_out_words(city)
            if name in data.train:
                facts += angle_facts(city, data)
        for side in city.sides:
            is_measured = name in (*data.train, *data.validate_cities)
            if is_measured and side.easting is None and city.truth is None:
                fault = "training and validation need ground truth"
                remedy = (
                    "Write its positions there (MSLS: the CSVs, public for its test cities since April 2026; csv: "
                    "lat and lon, or easting and northing), or choose another city; `evaluate.predict` writes "
                    "predictions for this one."
                )
                raise DataError(side.where("easting"), fault, None, remedy)
    check_apart(data)
    if trial.train.steps:
        facts += _check_training(trial)
    counts = []
    for data_set, judged in trial.judgements.items():
        with leading_there(_key_of_question(trial, data_set)):
            tasks = build_tasks([read_city_cached(layout, name) for name in judged.data.validate_cities], judged)
        counts.append(sum(len(task.queries) for task in tasks))
        facts = [*unasked(tasks, judged), *facts]
    return counts[0], tuple(facts)


def _without_positives(city: City, data: DataSpec) -> DataError:
    """What is to be said of a training city where no query has a positive."""
    kind = label_kind(city, data)
    if kind == "truth":
        fault, told = "no query of a training city has a positive by the city's own truth", city.truth
        return DataError(city.folder, fault, told.told if told else None, "Choose another city, or a wider rule.")
    fault = f"no query overlaps a database image by half, within {2 * data.fov_radius_m:g} m"
    angles = "" if kind == "distance" else " and compass angles (ca)"
    return DataError(city.folder, fault, None, f"Check its positions (easting, northing){angles}.")


def _check_training(trial: TrialSpec) -> tuple[str, ...]:
    """There is something to learn: what batches draw is there in some training city.

    Returns:
        What a person should know of the labels.

    Raises:
        DataError, TrainingError, SweepFileError: there is not.
    """
    data, labels = trial.data, trial.train.loss.fact("labels")
    cities = [read_city_cached(layout_of(data), name) for name in data.train]
    kinds = [city_kinds(city, data, labels) for city in cities]
    for city, city_kind in zip(cities, kinds, strict=True):
        if POSITIVE not in city_kind.found:
            raise _without_positives(city, data)
    check_kinds(kinds, trial.train.draws)
    _check_places(trial)
    return taken_labels(cities, data)


def _check_places(trial: TrialSpec) -> None:
    """There are as many places of so many pictures as a batch has.

    Raises:
        SweepFileError: there are fewer.
    """
    train, layout = trial.train, layout_of(trial.data)
    if train.batches != "places" or not train.steps:
        return
    labels, missing = str(train.loss.fact("labels")), train.batch_pairs
    for name in trial.data.train:
        city = read_city_cached(layout, name)
        missing -= num_places(city, trial.data, labels, train.num_partners, missing)
        if not missing:
            return
    found = train.batch_pairs - missing
    fault = f"a batch of {train.batch_pairs} places of {train.place_pictures} pictures cannot be filled"
    have = f"{found} queries of the training cities have {train.num_partners} positives"
    remedy = "Set trial.train.batch_pairs or trial.train.place_pictures lower, or train on more cities."
    raise SweepFileError("trial.train.batch_pairs", fault, have, remedy)


def _key_of_question(trial: TrialSpec, data_set: str) -> str:
    """The key of a sweep file that says what a validation data set is asked."""
    own = trial.evaluate.of_set.get(data_set)
    if own is None:
        return "trial.evaluate.subtask"
    return f"trial.evaluate.of_set.{data_set}{'' if own.subtask is None else '.subtask'}"


def _key_of_city(trial: TrialSpec, name: str) -> str:
    """The key of a sweep file that names a city, with its place in the list."""
    lists = {
        "trial.data.train": trial.data.train, "trial.data.validate": trial.data.validate_cities,
        "trial.evaluate.predict": trial.evaluate.predict,
    }  # fmt: skip
    return next(f"{key}.{cities.index(name)}" for key, cities in lists.items() if name in cities)


def check_placebo(trial: TrialSpec, placebos: Collection[str] = ()) -> None:
    """Where a mask may be that of another picture of its side, every side has another one.

    Args:
        placebos: those that a search will ask for beside the trial's own.

    Raises:
        DataError: a side that the trial reads has one picture alone.
    """
    arms = trial.train.arms
    shown = {*placebos, trial.input.placebo, *(arms.placebos if arms else ())}
    if "image" not in shown or not (trial.input.uses_mask or trial.input.learns_mask):
        return
    for name in trial.cities:
        for side in read_city_cached(layout_of(trial.data), name).sides:
            if len(side) < 2:
                fault = "placebo `image` takes the mask of another picture of the side, which must have two at least"
                raise DataError(side.folder, fault, len(side), "Take `image` out of the placebos, or another city.")


def check_pictures(trial: TrialSpec, runs: Path, bar: Bar) -> tuple[str, ...]:
    """No picture is cut, and none was written over since the run folder first used it.

    Opening every one is slow on shared storage: once for each state of a city is enough, which is noted in the run
    folder; see also `data.unchanged`.

    Returns:
        What a person should know: pictures that are turned upright, of the cities that were opened now; what was not
        looked at, and what cannot be known.

    Raises:
        DataError: a picture is cut, or was changed.
    """
    turned = _check_whole(trial, checked_folder(runs), bar)
    changed = check_unchanged(trial.data, trial.cities, runs)
    with late(bar, "noting what pictures hold") as advance:
        known = note_pictures(trial.data, trial.cities, runs, advance)
    return (*turned, *(() if known is None else (known,)), *changed)


def _check_whole(trial: TrialSpec, checked: Path, bar: Bar) -> tuple[str, ...]:
    """What `turned_pictures` says of the cities that were opened now."""
    layout = layout_of(trial.data)
    marks = {name: whole_mark(checked, layout, name) for name in trial.cities}
    todo = [name for name in trial.cities if not marks[name].exists()]
    if not todo:
        return ()
    facts: list[str] = []
    with bar("checking the cities' pictures") as advance:
        for done, name in enumerate(todo, 1):
            layout.check(city := read_city_cached(layout, name), whole=True)
            facts += turned_pictures(city)
            write_text(marks[name], f"{layout.root} {name}: every picture is whole\n")
            advance(done, len(todo))
    return tuple(facts)


def paths_of(trials: Sequence[TrialSpec], runs: Path) -> list[Path]:
    """What jobs read and write, and compute nodes must see."""
    layouts = [layout_of(trial.data) for trial in trials if trial.data.root != "demo" and not trial.measures_itself]
    roots = {folder for layout in layouts for folder in layout.folders}
    caches = {Path(trial.input.cache) for trial in trials if trial.input.cache is not None}
    segmenters = [trial.input.segmenter for trial in trials if trial.input.segmenter is not None]
    weights = {path for path in (Path(spec.source) for spec in segmenters) if path.exists()}
    named = {each.name for trial in trials for each in trial.own_code.values()}
    own = {own_file(name) for name in named | {spec.name for spec in segmenters if spec.is_own}}
    checkpoints = {at_home(path) for trial in trials if (path := trial.network.checkpoint) is not None}
    elsewhere = {place for trial in trials for place in places_of(trial.network.backbone) if place.exists()}
    own |= {path for trial in trials if trial.job is not None for path in trial.job.paths}
    packs = {Path(trial.data.pack) for trial in trials if trial.data.pack is not None}
    return sorted({runs} | roots | packs | caches | weights | checkpoints | own | elsewhere)
