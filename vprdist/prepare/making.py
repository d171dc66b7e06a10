"""What is made before anything is submitted: the built-in city, and caches. Without leave to make, it is only told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.console import Bar, Tell, late
from vprdist.prepare.folders import CACHE, demo_cities
from vprdist.semantics import segmenting
from vprdist.semantics.cache.format import MANIFEST
from vprdist.semantics.cache.unchanged import check_shards
from vprdist.semantics.order import CacheOrder
from vprdist.spec.demo import DemoSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.driving import Check, wanted_by_all


@dataclass(frozen=True)
class Making:
    """Leave to make what is missing.

    Attributes:
        tell: says one line to the person.
        bar: shows how far it is.
        check: called again and again while caches are made; what it raises ends that.
    """

    tell: Tell
    bar: Bar
    check: Check = wanted_by_all


def make_cities(trials: Iterable[TrialSpec], runs: Path, making: Making | None) -> dict[Path, str]:
    """Make the built-in cities that trials ask for, where they are not there.

    Returns:
        By folder those that are still not there, and what would be made: none where `making` is given.

    Raises:
        DataError: the folder of one holds something else, or a city of another version of vprdist.
    """
    absent = {}
    for folder, spec in demo_cities(trials, runs).items():
        if making is not None:
            make_demo_city(spec, folder, making.tell, making.bar)
        elif not _is_there(spec, folder):
            absent[folder] = f"the demo city ({spec.num_pictures} pictures) would be made in {folder} first"
    return absent


def make_demo_city(spec: DemoSpec, folder: Path, tell: Tell, bar: Bar) -> None:
    """The demo city's MSLS tree and its cache, made where they are not there yet."""
    from vprdist.demo import is_made, make
    from vprdist.semantics.importing import import_cache

    if not is_made(spec, folder):
        tell(f"making the built-in demo city in {folder}")
    with bar("rendering the demo city") as advance:
        make(spec, folder, progress=advance)
    with bar("importing its semantics") as advance:
        import_cache(folder / "semantics", folder, folder / CACHE, segmenter="demo city's truth", progress=advance)


def _is_there(spec: DemoSpec, folder: Path) -> bool:
    if not folder.exists():  # most often, and the city's own module takes its time to load
        return False
    from vprdist.demo import is_made

    return is_made(spec, folder) and (folder / CACHE / MANIFEST).exists()


def make_caches(
    orders: Sequence[CacheOrder], profile: ClusterProfile, making: Making | None
) -> dict[str, tuple[str, ...]]:
    """Segment what is missing of caches.

    Returns:
        By folder those that are still not complete, and what would be done: none where `making` is given.

    Raises:
        UserError: a cache cannot be made as it is asked for; see `segmenting.make`.
    """
    pending = {}
    for order in orders:
        if making is not None:
            segmenting.make(order, profile, making.tell, making.bar, check=making.check)
            continue
        outlook = segmenting.look_at(order)
        segmenting.check_keeps(order, outlook)
        if not outlook.built:
            left = outlook.images - outlook.done
            line = f"{left} of {outlook.images} pictures would be segmented first, into {order.out}"
            pending[order.out] = (line, *(f"would fall back: {note}" for note in outlook.notes))
    return pending


def check_caches(trials: Iterable[TrialSpec], runs: Path, making: Making) -> None:
    """The caches of resolved trials hold what was written; see `cache.unchanged`.

    Raises:
        CacheError: a shard was changed.
    """
    wanted: dict[str, set[str]] = {}
    for trial in trials:
        if trial.input.cache is not None and trial.needs_cache:
            wanted.setdefault(trial.input.cache, set()).update(trial.cached_cities)
    for cache, cities in wanted.items():
        with late(making.bar, "checking the cache") as advance:
            note = check_shards(Path(cache), cities, runs, advance)
        if note is not None:
            making.tell(note)
