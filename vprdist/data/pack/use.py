"""Whether a trial may read a pack, and what of its pictures it reads from files all the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vprdist.data.layouts import City, layout_of, read_city_cached, whole_digest_cached
from vprdist.data.pack.format import MANIFEST
from vprdist.data.pack.plan import decoder
from vprdist.data.pack.reader import Pack, open_pack
from vprdist.data.pictures import picture_stamps
from vprdist.errors import DataError, leading_there
from vprdist.files import content_number
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import TrialSpec

NUM_READ = 64
"""So many pictures of a city are compared by their bytes, at most, where files were written or moved since."""


def check_pack(data: DataSpec, cities: Sequence[str]) -> None:
    """The pack, if there is one, was made of these cities as they are now, and its shards of them are there and whole.

    Raises:
        DataError: it is not.
    """
    if data.pack is None:
        return
    with leading_there("trial.data.pack"):
        pack, layout = open_pack(data.pack), layout_of(data)
        pack.covers({name: whole_digest_cached(layout, name) for name in cities})
        for name in cities:
            for side in read_city_cached(layout, name).sides:
                pack.places(side)


def check_packed_files(data: DataSpec, cities: Sequence[str]) -> None:
    """The files of packed pictures hold what they held. Those that nobody wrote to or moved are not opened; of others
    some are read, evenly spread.

    Raises:
        DataError: a picture is another one now, at the same size.
    """
    if data.pack is None:
        return
    pack, layout = open_pack(data.pack), layout_of(data)
    for name in cities:
        with leading_there("trial.data.pack"):
            _check_files(pack, read_city_cached(layout, name))


def _check_files(pack: Pack, city: City) -> None:
    for side in city.sides:
        places, shards = pack.places(side), pack.shards(side.city, side.side)
        if not shards:
            continue
        stamps, contents = (np.concatenate([each.numbers(name) for each in shards]) for name in ("stamp", "content"))
        held = np.flatnonzero(places >= 0)
        written = held[picture_stamps(side.paths)[held] != stamps[places[held]]]
        looked = np.unique(np.linspace(0, len(written) - 1, min(len(written), NUM_READ)).astype(np.int64))
        for row in written[looked].tolist():
            if content_number(side.image_path(row)) != contents[places[row]]:
                fault = f"a picture of {city.name} was changed since it was packed into {pack.path}"
                remedy = "Run `vprdist data pack` again, with the same folders."
                raise DataError(side.image_path(row), fault, None, remedy)


def pack_words(
    trial: TrialSpec, cities: Sequence[str] | None = None, sizes: Sequence[tuple[int, int]] | None = None
) -> tuple[str, ...]:
    """What of a trial's pictures is read from files though it names a pack; to be said, and recorded.

    Args:
        cities, sizes: what is read; None: all that the trial reads.

    Raises:
        DataError: as `check_pack`.
    """
    if trial.data.pack is None:
        return ()
    pack, layout = open_pack(trial.data.pack), layout_of(trial.data)
    sizes = sizes_of(trial) if sizes is None else sizes
    unserved = [size for size in sizes if not pack.serves(size, trial.computation)]
    words = [f"pictures of {h}x{w} are read from files: {_named(pack)} holds {pack.manifest.kind}" for h, w in unserved]
    if len(unserved) == len(sizes):
        return tuple(words)
    for name in trial.cities if cities is None else cities:
        if name not in pack.manifest.cities:
            words.append(f"pictures of {name} are read from files: {_named(pack)} does not hold this city")
            continue
        for side in read_city_cached(layout, name).sides:
            if count := int(np.count_nonzero(pack.places(side) < 0)):
                lacks = f"{count} of {len(side)} {side.side} images of {name} are read from files"
                words.append(f"{lacks}: {_named(pack)} was made without them")
    if pack.manifest.image_size is not None and pack.manifest.decoder != decoder():
        words.append(f"{_named(pack)} was decoded by {pack.manifest.decoder}, files by {decoder()}: a bit may differ")
    return tuple(words)


def settled_pack(trial: TrialSpec, cities: Sequence[str]) -> tuple[TrialSpec, tuple[str, ...]]:
    """A trial that is asked for more than it was made for, perhaps of other cities, or after its pack was deleted.

    Returns:
        The trial, without a pack that is gone or holds none of these cities; and what there is to be said.

    Raises:
        DataError: as `check_pack`.
    """
    if trial.data.pack is None:
        return trial, ()
    alone = trial.model_copy(update={"data": trial.data.model_copy(update={"pack": None})})
    if not (Path(trial.data.pack) / MANIFEST).exists():
        return alone, (f"pictures are read from files: the pack {trial.data.pack} is not there any more",)
    if not open_pack(trial.data.pack).manifest.cities.keys() & set(cities):
        return alone, ()
    check_pack(trial.data, cities)
    return trial, pack_words(trial, cities, (trial.evaluate.image_size or trial.train.image_size,))


def _named(pack: Pack) -> str:
    return f"the pack {Path(pack.path).name}"


def sizes_of(trial: TrialSpec) -> tuple[tuple[int, int], ...]:
    """The sizes that a trial's pictures are brought to."""
    shown = trial.evaluate.image_size or trial.train.image_size
    return tuple(dict.fromkeys((trial.train.image_size, shown) if trial.train.steps else (shown,)))
