"""One real walk through every layout that can hold it: the same pictures, the same positives, equal recalls."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist.data.convert import Target, convert
from vprdist.data.layouts import City, Side, open_layout
from vprdist.data.tasks import city_task
from vprdist.evaluation.descriptors import Descriptors
from vprdist.evaluation.ranking import rank
from vprdist.spec.doors import LayoutName
from vprdist.spec.evaluate import EvaluateSpec

CITY, RADIUS_M = "lip6b", 25.0


def as_table(city: City, out: Path) -> None:
    """Layout csv: absolute paths, metres to the last digit."""
    with (out / "places.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["key", "path", "side", "city", "easting", "northing", "heading", "sequence", "frame"])
        for side in city.sides:
            for row in range(len(side)):
                place = [repr(float(value)) for value in side.positions[row]]
                known = [side.ca[row], side.sequence_key[row], side.frame_number[row]]
                writer.writerow([side.keys[row], side.image_path(row).resolve(), side.side, CITY, *place, *known])


def as_traversals(city: City, out: Path) -> None:
    """Layout frames: links in the order of rows, and a file that names the pairs which lie near each other."""
    names = [[f"{row:04d}{path.suffix}" for row, path in enumerate(side.paths)] for side in city.sides]
    for side, named, folder in zip(city.sides, names, ("query", "database"), strict=True):
        (out / CITY / folder).mkdir(parents=True)
        for path, name in zip(side.paths, named, strict=True):
            (out / CITY / folder / name).symlink_to(path.resolve())
    with (out / CITY / "truth.csv").open("w") as stream:
        stream.write("query,reference\n")
        for query, place in enumerate(city.query.positions):
            for row in np.flatnonzero(np.hypot(*(city.database.positions - place).T) <= RADIUS_M):
                stream.write(f"{names[0][query]},{names[1][row]}\n")


def pixels(side: Side) -> np.ndarray:
    """(N, 192) small grey pictures at unit length."""
    rows = [np.asarray(Image.open(path).convert("L").resize((16, 12)), np.float32).ravel() for path in side.paths]
    values = np.stack(rows) - np.mean(rows, axis=1, keepdims=True)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def metrics(city: City, **evaluate: object) -> dict[str, float]:
    values = np.concatenate([pixels(side) for side in city.sides])
    ends, names = np.cumsum([0, *map(len, city.sides)]), [(city.name, side.side) for side in city.sides]
    places = {name: np.arange(ends[number], ends[number + 1]) for number, name in enumerate(names)}
    task = city_task(city, EvaluateSpec(**evaluate), RADIUS_M)
    return rank([task], Descriptors(values, places), "city").metrics


@pytest.fixture(scope="module")
def walks(shared_data, tmp_path_factory) -> dict[str, City]:
    out, root = tmp_path_factory.mktemp("walks"), shared_data / "lip6"
    source = open_layout(root)
    city = source.read(CITY)
    for name in ("csv", "frames"):
        (out / name).mkdir()
    as_table(city, out / "csv")
    as_traversals(city, out / "frames")
    convert(source, [CITY], Target(out / "utm", "utm"), lambda count: None)
    back = open_layout(out / "utm", LayoutName.of("utm"))
    convert(back, [CITY], Target(out / "msls", "msls"), lambda count: None)
    opened = {
        "utm": open_layout(out / "utm", LayoutName.of("utm")),
        "msls, from utm": open_layout(out / "msls"),
        "csv": open_layout(out / "csv", LayoutName.of("csv")),
        "frames": open_layout(out / "frames" / CITY, LayoutName.of("frames", truth="truth.csv")),
    }
    sets = {"walk": {"folder": "utm", "layout": "utm"}}
    mixed = open_layout(out, LayoutName.of("mixed", sets=sets)).read(f"walk.{CITY}")
    return {"msls": city, "mixed": mixed, **{name: layout.read(CITY) for name, layout in opened.items()}}


@pytest.mark.parametrize("name", ["utm", "msls, from utm", "csv", "frames", "mixed"])
def test_recalls_are_equal(walks, name):
    expected = metrics(walks["msls"], queries="every", database="every")
    found = metrics(walks[name], queries="every", database="every")
    assert 0.1 < expected["recall@1"] < 0.9
    assert {k: found[k] for k in found if k.startswith("recall")} == {
        k: expected[k] for k in expected if k.startswith("recall")
    }
    assert found == pytest.approx(expected, abs=1e-12), "means of mAP are taken in another order of queries"
