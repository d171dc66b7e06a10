"""Small made-up worlds for tests: MSLS trees with chosen positions, and pictures of noise."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vprdist.data.layouts.msls import read_city

SUBTASKS = ("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d")


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["", *header])
        writer.writerows([index, *row] for index, row in enumerate(rows))


def write_side(
    folder: Path,
    keys: Sequence[str],
    positions: Sequence[tuple[float, float]],
    *,
    angles: Sequence[float] | None = None,
    panos: Sequence[bool] | None = None,
    subtasks: Mapping[str, Sequence[bool]] | None = None,
    size: tuple[int, int] = (40, 32),
    seed: int = 0,
    images: bool = True,
) -> None:
    """One side of a city; pictures are noise of `size` (width, height), or none."""
    count = len(keys)
    angles, panos, subtasks = angles or [90.0] * count, panos or [False] * count, subtasks or {}
    flags = {name: subtasks.get(name, [name == "all"] * count) for name in SUBTASKS}
    write_rows(
        folder / "raw.csv",
        ("key", "lon", "lat", "ca", "captured_at", "pano"),
        [(k, 2.0, 48.0, a, "2020-01-01", p) for k, a, p in zip(keys, angles, panos, strict=True)],
    )
    write_rows(
        folder / "postprocessed.csv",
        ("key", "easting", "northing", "unique_cluster", "control_panel", "night", "view_direction"),
        [(k, e, n, 0, False, False, "Forward") for k, (e, n) in zip(keys, positions, strict=True)],
    )
    sequence = [(k, f"{folder.name}_seq", i) for i, k in enumerate(keys)]
    write_rows(folder / "seq_info.csv", ("key", "sequence_key", "frame_number"), sequence)
    write_rows(folder / "subtask_index.csv", SUBTASKS, [[flags[n][i] for n in SUBTASKS] for i in range(count)])
    (folder / "images").mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for key in keys if images else ():
        pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{key}.jpg", quality=90)


def write_city(
    root: Path, city: str, *, num_query: int, num_database: int, seed: int, spacing_m: float = 10.0,
    size: tuple[int, int] = (40, 32),
) -> None:  # fmt: skip
    """A city along one street: database images every `spacing_m`, queries beside some of them."""
    rng = np.random.default_rng(seed)
    folder = root / "train_val" / city
    street = [(500_000.0 + spacing_m * i, 5_000_000.0) for i in range(num_database)]
    places = rng.integers(0, num_database, num_query)
    query = [(street[p][0] + float(rng.normal(0, 2)), street[p][1] + 1.0) for p in places]
    write_side(folder / "database", [f"{city}_d{i:03d}" for i in range(num_database)], street, seed=seed, size=size)
    write_side(folder / "query", [f"{city}_q{i:03d}" for i in range(num_query)], query, seed=seed + 100, size=size)


def write_small_tree(root: Path, picture_size: tuple[int, int] = (40, 32)) -> Path:
    """An MSLS tree of two small cities, `ada` to train and `bob` to validate, with random pictures (width, height)."""
    write_city(root, "ada", num_query=12, num_database=20, seed=1, size=picture_size)
    write_city(root, "bob", num_query=8, num_database=16, seed=2, size=picture_size)
    return root


def zero_a_third(path: Path) -> None:
    """What a broken disk or an interrupted copy leaves: a third of the bytes are 0, size and time as they were."""
    before, data = path.stat(), bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    with path.open("r+b") as stream:
        stream.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def spread_queries(root: Path, city: str) -> None:
    """Make each query of a city a sequence of its own, and so a cluster of its own."""
    path = root / "train_val" / city / "query" / "seq_info.csv"
    with path.open(newline="") as stream:
        keys = [row["key"] for row in csv.DictReader(stream)]
    write_rows(path, ("key", "sequence_key", "frame_number"), [(key, key, 0) for key in keys])


def write_activations(root: Path, cities: Sequence[str], folder: Path, seed: int = 0) -> None:
    """Activations of every picture as .npz files, (19, 16, 20) of few levels, for `import_cache`."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for city in cities:
        for side in read_city(root, city).sides:
            values = rng.integers(0, 14, (len(side), 19, 16, 20), np.uint8)
            np.savez(folder / f"{city}_{side.side}.npz", keys=side.keys, activations=values)


def write_deeplab(path: Path, seed: int = 0) -> None:
    """A DeepLabV3+ checkpoint of seeded weights, in the public form; its masks mean nothing, and differ by picture."""
    import torch

    from vprdist.semantics.segmenters.deeplabv3plus import DeepLabV3Plus

    torch.manual_seed(seed)
    network = DeepLabV3Plus(16)
    torch.nn.init.normal_(network.classifier.classifier[-1].weight, std=1.0)
    torch.save({"model_state": network.state_dict()}, path)
