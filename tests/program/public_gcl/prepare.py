"""The demo city as GCL's own training wants MSLS: cities of its names, with its labels and lists of pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np

from vprdist.data.similarity import graded_similarity
from vprdist.demo.write import make
from vprdist.spec.demo import DemoSpec

TRAIN, VALIDATE = ("amman",), ("cph", "sf")
SPEC = DemoSpec(
    height=32, width=40, train=TRAIN, validate=VALIDATE, streets=4, places=14, query_visits=2, pano_share=0.0,
    supersample=1,
)  # fmt: skip


def prepare(root: Path) -> None:
    """Make the cities, `<city>_gt.h5` (fov: the graded similarity) and `query.json`, `database.json`."""
    make(SPEC, root, processes=1)
    for city in (*TRAIN, *VALIDATE):
        places = {side: _places(root, city, side) for side in ("query", "database")}
        fov = graded_similarity(*places["query"], *places["database"], 50.0, 90.0).toarray()
        with h5py.File(root / "train_val" / f"{city}_gt.h5", "w") as file:
            file["fov"], file["sim"] = fov.astype("float32"), fov >= 0.5


def _places(root: Path, city: str, side: str) -> tuple[np.ndarray, np.ndarray]:
    folder = root / "train_val" / city / side
    raw, kept = (list(csv.DictReader((folder / name).open())) for name in ("raw.csv", "postprocessed.csv"))
    metres = [[float(row["easting"]), float(row["northing"])] for row in kept]
    angles = [float(row["ca"]) for row in raw]
    paths = [f"train_val/{city}/{side}/images/{row['key']}.jpg" for row in kept]
    where = [[*place, angle] for place, angle in zip(metres, angles, strict=True)]
    (folder.parent / f"{side}.json").write_text(json.dumps({"im_prefix": f"{root}/", "im_paths": paths, "loc": where}))
    return np.array(metres), np.array(angles)
