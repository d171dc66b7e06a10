"""A tiny MSLS tree, and activations of it in both layouts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist.spec.vocabulary import CLASSES, SUBTASKS

SIZE = (7, 9)
COUNTS = {("amman", "query"): 11, ("amman", "database"): 23, ("cph", "query"): 5, ("cph", "database"): 8}
SHARD_IMAGES = 4
COMPRESSIONS = ("none", "lz4", "zstd")


def write_side(root: Path, city: str, side: str, keys: Sequence[str]) -> None:
    """One side of an MSLS city; the pictures are a few bytes that nobody opens."""
    folder = root / "train_val" / city / side
    (folder / "images").mkdir(parents=True)
    tables = {
        "raw": ("key,lon,lat,ca,captured_at,pano", lambda i, k: (k, 2.0, 48.0, 90.0, "2020-01-01", False)),
        "postprocessed": (
            "key,easting,northing,unique_cluster,control_panel,night,view_direction",
            lambda i, k: (k, 10.0 * i, 0.0, 0, False, False, "Forward"),
        ),
        "seq_info": ("key,sequence_key,frame_number", lambda i, k: (k, "s", i)),
        "subtask_index": (",".join(SUBTASKS), lambda i, k: (True,) + (False,) * 6),
    }
    for name, (header, row) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["", *header.split(",")])
            writer.writerows([index, *row(index, key)] for index, key in enumerate(keys))
    for key in keys:
        (folder / "images" / f"{key}.jpg").write_bytes(b"jpg " + key.encode())


class World:
    """The tree, the .npz folder, and the arrays that went into it: `truth[city, side][key]` is (19, h, w)."""

    def __init__(
        self, folder: Path, seed: int = 0, size: tuple[int, int] = SIZE, classes: Sequence[str] = CLASSES
    ) -> None:
        self.root, self.source, self.out = folder / "msls", folder / "source", folder / "cache"
        self.source.mkdir()
        self.truth: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        random = np.random.default_rng(seed)
        for (city, side), count in COUNTS.items():
            keys = [f"{city}-{side[0]}{'x' * (i % 3)}{i}" for i in random.permutation(count)]
            write_side(self.root, city, side, keys)
            # Few levels make ties, many classes at 255 make sums that need clipping.
            levels = np.array([0, 0, 1, 3, 128, 255], np.uint8)
            values = levels[random.integers(0, len(levels), (count, len(classes), *size))]
            self.truth[city, side] = dict(zip(keys, values, strict=True))
            self.write_npz(city, side, self.truth[city, side], random)

    def write_npz(self, city: str, side: str, values: dict[str, np.ndarray], random: np.random.Generator) -> None:
        """In another order than the CSVs', with a key more."""
        more = {**values, "stranger": np.zeros_like(next(iter(values.values())))}
        keys = [list(more)[i] for i in random.permutation(len(more))]
        activations = np.stack([more[key] for key in keys])
        np.savez(self.source / f"{city}_{side}.npz", keys=np.array(keys), activations=activations)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    def make(name: str, **more: object) -> World:
        folder = tmp_path / name
        folder.mkdir()
        return World(folder, **more)

    return make


def write_pngs(folder: Path, activations_CHW: np.ndarray) -> None:
    """One image in the paper's layout."""
    folder.mkdir(parents=True)
    for name, plane in zip(CLASSES, activations_CHW, strict=True):
        Image.fromarray(plane).save(folder / f"{name.replace(' ', '_')}.png")
