"""Everything a sweep needs, looked at before anything is submitted: data, cache, weights; and the trials' digests.

A job reads shared storage only. Whatever is wrong is said here, once, while nothing has been started.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vprdist.data.digest import city_digest_cached, dataset_digest
from vprdist.data.msls import check_images, check_whole, read_city_cached
from vprdist.data.pairs import has_positive_pair
from vprdist.data.tasks import build_tasks
from vprdist.errors import CacheError, DataError, LaunchError, SweepFileError, WeightsError
from vprdist.files import digest_json, write_text
from vprdist.launch.params import submission_parameters
from vprdist.spec.base import Spec
from vprdist.spec.demo import DemoSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import DataSpec, Digests, TrialSpec
from vprdist.spec.vocabulary import BACKBONE_UNITS, trained_units

AnySpec = TypeVar("AnySpec", bound=Spec)
Tell = Callable[[str], None]
ONLY_DATA = {name: field.default for name, field in TrialSpec.model_fields.items() if name not in ("data", "evaluate")}
Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Opens a progress bar with a title; inside, it is told (done, total)."""


@dataclass(frozen=True)
class Prepared:
    """The resolved trials of a sweep, one for each of its points and seeds, and what was fallen back to."""

    trials: tuple[TrialSpec, ...]
    fallbacks: tuple[str, ...]


def check_runs_folder(runs: Path) -> None:
    """The run folder can be written to.

    Raises:
        LaunchError: it cannot.
    """
    try:
        runs.mkdir(parents=True, exist_ok=True)
        probe = runs / ".writable"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)  # another driver may start at the same moment
    except OSError as error:
        raise LaunchError(
            runs, "the run folder must be writable", error.strerror, "Choose another: --runs FOLDER."
        ) from None


def prepare(sweep: SweepSpec, runs: Path, tell: Tell, bar: Bar) -> Prepared:
    """Resolve every trial of a sweep.

    Raises:
        UserError: whatever is missing or wrong, before anything was started.
    """
    for trial in sweep.trials:
        _check_stem(trial)
    if importlib.util.find_spec("faiss") is None:
        remedy = "pip install 'vprdist[cpu]', or 'vprdist[gpu]' on a machine with NVIDIA GPUs."
        raise LaunchError("faiss", "evaluation needs FAISS", None, remedy)
    trials = _with_demo_city(list(sweep.trials), runs, tell, bar)
    for trial in _unique(t.model_copy(update=ONLY_DATA) for t in trials):
        _check_data(trial, runs / "data" / "checked", bar)
    weights: dict[str, tuple[str, str | None]] = {}
    caches: dict[tuple[str, DataSpec], str] = {}
    resolved = []
    for trial in trials:
        backbone = trial.network.backbone
        if trial.network.weights != "none" and backbone not in weights:
            weights[backbone] = _find_weights(backbone)
        cities = (*trial.data.train, *trial.data.validate_cities)
        digests = Digests(
            dataset=dataset_digest(Path(trial.data.root), cities),
            cache=_cache_digest(trial, caches),
            weights="none" if trial.network.weights == "none" else weights[backbone][0],
        )
        resolved.append(trial.resolved(digests))
    return Prepared(tuple(resolved), tuple(note for _, note in weights.values() if note))


def _unique(items: Iterable[AnySpec]) -> list[AnySpec]:
    """Each item once, in order; specs are compared by value and need not be hashable."""
    seen: dict[str, AnySpec] = {}
    for item in items:
        seen.setdefault(item.model_dump_json(), item)
    return list(seen.values())


def _with_demo_city(trials: list[TrialSpec], runs: Path, tell: Tell, bar: Bar) -> list[TrialSpec]:
    """Where the root is `demo`: make the built-in city once, import its semantics, and fill in the paths."""
    out = []
    ready: dict[str, tuple[Path, Path]] = {}
    for trial in trials:
        if trial.data.root != "demo":
            out.append(_absolute(trial))
            continue
        spec = trial.data.demo or DemoSpec()
        mark = digest_json(spec.model_dump(mode="json"), 8)
        if mark not in ready:
            ready[mark] = demo_city(spec, runs / "data" / f"demo-{mark}", tell, bar)
        root, cache = ready[mark]
        data = trial.data.model_copy(
            update={
                "root": str(root),
                "demo": None,
                "train": trial.data.train or spec.train,
                "validate_cities": trial.data.validate_cities or spec.validate_cities,
            }
        )
        own = trial.input.cache or (str(cache) if trial.input.needs_cache else None)
        out.append(
            _absolute(trial.model_copy(update={"data": data, "input": trial.input.model_copy(update={"cache": own})}))
        )
    return out


def demo_city(spec: DemoSpec, folder: Path, tell: Tell, bar: Bar) -> tuple[Path, Path]:
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
    return folder, cache


def _absolute(trial: TrialSpec) -> TrialSpec:
    """Paths as a job on another machine, with another working folder, must see them."""
    data = trial.data.model_copy(update={"root": str(Path(trial.data.root).expanduser().resolve())})
    cache = trial.input.cache and str(Path(trial.input.cache).expanduser().resolve())
    return trial.model_copy(update={"data": data, "input": trial.input.model_copy(update={"cache": cache})})


def _check_data(trial: TrialSpec, checked: Path, bar: Bar) -> None:
    """Every city can be read, every picture is there and whole, and there is something to learn and to ask."""
    data, root = trial.data, Path(trial.data.root)
    for name, cities in (("train", data.train), ("validate", data.validate_cities)):
        if not cities:
            raise SweepFileError(
                f"trial.data.{name}", "at least one city is needed", [], f"Name cities of {data.root}."
            )
    for name in (*data.train, *data.validate_cities):
        city = read_city_cached(root, name)
        for side in city.sides:
            check_images(side)
        if city.split != "train_val":
            raise DataError(
                root / city.split / name, "training and validation need ground truth", None, "Choose others."
            )
    _check_pictures(root, (*data.train, *data.validate_cities), checked, bar)
    for name in data.train:
        if not has_positive_pair(read_city_cached(root, name), data):
            rule = f"some query overlaps a database image by half, within {2 * data.fov_radius_m:g} m"
            remedy = "Check easting and northing in postprocessed.csv, and ca in raw.csv."
            raise DataError(root / "train_val" / name, rule, "zero positives", remedy)
    build_tasks([read_city_cached(root, name) for name in data.validate_cities], trial)


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
    world = profile.nodes * profile.ranks
    for trial in trials:
        submission_parameters(profile, "check", "check")
        if trial.train.batch_pairs % world:
            rule = f"the {world} ranks of the profile divide it"
            raise SweepFileError("trial.train.batch_pairs", rule, trial.train.batch_pairs, "Change one of the two.")


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


def _cache_digest(trial: TrialSpec, known: dict[tuple[str, DataSpec], str]) -> str | None:
    from vprdist.semantics.cache import open_cache

    if not trial.input.needs_cache:
        return None
    if trial.input.cache is None:
        raise CacheError(
            "trial.input.cache",
            f"mode {trial.input.mode} needs a cache of semantic activations",
            None,
            f"Import one (vprdist cache import SOURCE --data {trial.data.root} --out FOLDER) and name it.",
        )
    key = (trial.input.cache, trial.data)
    if key not in known:
        cache = open_cache(Path(trial.input.cache))
        cities = (*trial.data.train, *trial.data.validate_cities)
        cache.covers({city: city_digest_cached(Path(trial.data.root), city) for city in cities})
        # The digest of these cities alone: a city added to the cache later changes no trial.
        known[key] = cache.manifest.digest_of(cities)
    return known[key]


def _find_weights(backbone: str) -> tuple[str, str | None]:
    """(digest or "none", a note when they could not be had). In a process of its own: see network/weights.py."""
    command = [sys.executable, "-m", "vprdist.network.weights", backbone]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(" ".join(command), "looking for weights must end well", done.stderr.strip()[-400:])
    answer = json.loads(done.stdout.splitlines()[-1])
    if "refused" in answer:
        raise WeightsError(f"trial.network.backbone: {backbone}", answer["refused"])
    if "error" in answer:
        return (
            "none",
            f"{backbone} starts from RANDOM weights, its trials are other trials: {answer['error']}",
        )
    return str(answer["digest"]), None
