"""The written tree: bytes, CSVs, interruption, refusals, the sheet."""

from __future__ import annotations

import csv
import datetime
import hashlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist.demo import make, sheet
from vprdist.errors import DataError
from vprdist.spec.demo import DemoSpec

TINY = DemoSpec(height=32, width=48, supersample=1, train=("alder",), validate_cities=("elm",), streets=1, places=4,
                query_visits=2, pano_share=0.2)  # fmt: skip
SIDES = [(city, side) for city in ("alder", "elm") for side in ("query", "database")]


def tree(folder: Path) -> dict[str, str]:
    """Path -> digest of every file."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def table(folder: Path, city: str, side: str, name: str) -> list[dict[str, str]]:
    with (folder / "train_val" / city / side / f"{name}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "city"
    make(TINY, folder, processes=1)
    return folder


def test_two_processes_write_the_same_bytes_and_another_seed_others(tiny: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make(TINY, tmp_path / "two", processes=2, progress=lambda done, total: seen.append((done, total)))
    assert tree(tmp_path / "two") == tree(tiny)
    assert seen[0] == (0, TINY.num_pictures)
    assert seen[-1] == (TINY.num_pictures, TINY.num_pictures)
    other = TINY.model_copy(update={"seed": 1, "train": ()})
    make(other, tmp_path / "other", processes=1)
    mine, theirs = tree(tiny), tree(tmp_path / "other")
    shared = [name for name in mine if name in theirs and name.endswith((".jpg", ".npz"))]
    assert len(shared) == 16
    assert all(mine[name] != theirs[name] for name in shared)


def test_killed_midway_it_goes_on_and_keeps_what_is_finished(tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom vprdist.demo import make\n"
        "from vprdist.spec.demo import DemoSpec\n"
        "if __name__ == '__main__':\n"
        "    spec = DemoSpec.model_validate_json(sys.argv[1])\n"
        "    slow = lambda done, total: (print(done, flush=True), time.sleep(0.3))\n"
        "    make(spec, Path(sys.argv[2]), processes=2, progress=slow)\n"
    )
    folder = tmp_path / "city"
    command = [sys.executable, str(script), TINY.model_dump_json(by_alias=True), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) > 0:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # its output ends with the last of its workers: they notice and leave
    assert not (folder / "demo.json").exists()
    finished = {np_path.stem: np_path for np_path in (folder / ".work").glob("*.npy")}
    assert finished
    pictures = {p: p.stat().st_mtime_ns for p in folder.rglob("*.jpg")}
    (folder / "train_val" / ".half.jpg.1234.tmp").write_bytes(b"cut off")
    make(TINY, folder, processes=1)
    assert tree(folder) == tree(tiny)
    kept = [p for p, when in pictures.items() if p.stat().st_mtime_ns == when]
    assert len(kept) >= 4  # at least the finished chunk's


def test_a_complete_folder_is_left_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in tiny.rglob("*")}
    monkeypatch.setattr("vprdist.demo.write._make", None)
    make(TINY, tiny)
    assert {p: p.stat().st_mtime_ns for p in tiny.rglob("*")} == before


def test_csvs_follow_msls(tiny: Path) -> None:
    headers = {
        "raw": ",key,lon,lat,ca,captured_at,pano",
        "postprocessed": ",key,easting,northing,unique_cluster,control_panel,night,view_direction",
        "seq_info": ",key,sequence_key,frame_number",
        "subtask_index": ",all,s2w,w2s,o2n,n2o,d2n,n2d",
    }
    for city, side in SIDES:
        base = tiny / "train_val" / city / side
        tables = {name: table(tiny, city, side, name) for name in headers}
        for name, header in headers.items():
            assert (base / f"{name}.csv").read_text().splitlines()[0] == header
            assert [row[""] for row in tables[name]] == [str(n) for n in range(len(tables["raw"]))]
        keys = [row["key"] for row in tables["raw"]]
        assert keys == [r["key"] for r in tables["postprocessed"]] == [r["key"] for r in tables["seq_info"]]
        assert sorted(keys) == sorted(p.stem for p in (base / "images").glob("*.jpg"))
        assert sorted(keys) == sorted(p.stem for p in (tiny / "labels" / city / side).glob("*.png"))
        for row, post in zip(tables["raw"], tables["postprocessed"], strict=True):
            assert 0 <= float(row["ca"]) < 360
            assert 100_000 < float(post["easting"]) < 900_000
            datetime.date.fromisoformat(row["captured_at"])


def test_subtasks_agree_with_dates_and_night(tiny: Path) -> None:
    for city, side in SIDES:
        rows = zip(*(table(tiny, city, side, name) for name in ("raw", "postprocessed", "subtask_index")), strict=True)
        for raw, post, flags in rows:
            date, query = datetime.date.fromisoformat(raw["captured_at"]), side == "query"
            assert flags["all"] == "True"
            assert (flags["s2w" if query else "w2s"] == "True") == (date.month in (6, 7))
            assert (flags["w2s" if query else "s2w"] == "True") == (date.month in (1, 2, 3))
            assert (flags["o2n" if query else "n2o"] == "True") == (date.year <= 2013)
            assert (flags["n2o" if query else "o2n"] == "True") == (date.year >= 2015)
            assert (flags["n2d" if query else "d2n"] == "True") == (post["night"] == "True")


def test_heading_is_the_way_the_camera_goes(tiny: Path) -> None:
    """Along a drive, positions move where ca points."""
    for city, side in SIDES:
        raw, post, seq = (table(tiny, city, side, name) for name in ("raw", "postprocessed", "seq_info"))
        for a in range(len(raw) - 1):
            if seq[a]["sequence_key"] != seq[a + 1]["sequence_key"]:
                continue
            east = float(post[a + 1]["easting"]) - float(post[a]["easting"])
            north = float(post[a + 1]["northing"]) - float(post[a]["northing"])
            way = math.degrees(math.atan2(east, north))
            assert abs((way - float(raw[a]["ca"]) + 180) % 360 - 180) < 45


def test_positives_strays_and_panoramas(tiny: Path) -> None:
    num_positives: list[int] = []
    for city in ("alder", "elm"):
        database = [(float(r["easting"]), float(r["northing"])) for r in table(tiny, city, "database", "postprocessed")]
        for row in table(tiny, city, "query", "postprocessed"):
            here = (float(row["easting"]), float(row["northing"]))
            found = sum(math.dist(here, there) <= 25 for there in database)
            stray = row["key"].endswith("-0004")
            assert (found == 0) == stray
            num_positives.append(found)
    assert 2 <= np.median([n for n in num_positives if n]) <= 6
    panos = [r["pano"] for city, side in SIDES for r in table(tiny, city, side, "raw")]
    assert 0 < panos.count("True") < len(panos) / 2


def test_activations_stand_beside_exact_labels(tiny: Path) -> None:
    agree = []
    for city, side in SIDES:
        with np.load(tiny / "semantics" / f"{city}_{side}.npz") as archive:
            keys, found = archive["keys"], archive["activations"]
        assert [str(k) for k in keys] == [r["key"] for r in table(tiny, city, side, "raw")]
        assert found.shape == (len(keys), 19, 16, 24)
        assert found.dtype == np.uint8
        total = found.astype(int).sum(1)
        assert total.min() >= 245
        assert total.max() <= 265
        for key, soft in zip(keys, found, strict=True):
            label = np.asarray(Image.open(tiny / "labels" / city / side / f"{key}.png"))
            assert label.shape == (32, 48)
            assert label.max() < 19
            wide = soft.argmax(0).repeat(2, 0).repeat(2, 1)
            agree.append((wide == label).mean())
    assert np.mean(agree) > 0.75


def test_all_classes_occur(tmp_path: Path) -> None:
    spec = DemoSpec(train=(), supersample=1, height=72, width=96, streets=2, places=9, query_visits=2, strays=0)
    make(spec, tmp_path / "city")
    counts = np.zeros(19, int)
    for path in (tmp_path / "city" / "labels").rglob("*.png"):
        counts += np.bincount(np.asarray(Image.open(path)).ravel(), minlength=19)
    assert (counts > 20).all(), counts


def test_refuses_folders_that_are_not_its_own(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds another demo city already: \['seed'\]"):
        make(TINY.model_copy(update={"seed": 9}), tiny)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match=r"thesis\.tex"):
        make(TINY, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == ["thesis.tex"]
    with pytest.raises(DataError, match="folder"):
        make(TINY, tmp_path / "thesis.tex")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "demo.json").write_text("{")
    with pytest.raises(DataError, match="JSON"):
        make(TINY, broken)


def test_sheet_shows_places_by_visits(tiny: Path, tmp_path: Path) -> None:
    sheet(tiny, tmp_path / "sheet.png", city="alder", places=2, visits=2)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 2 * 3 * 48
        assert len(image.convert("RGB").getcolors(2**24) or []) > 100
    with pytest.raises(DataError, match="Did you mean 'alder'"):
        sheet(tiny, tmp_path / "sheet.png", city="aldr")
    with pytest.raises(DataError, match="complete"):
        sheet(tmp_path, tmp_path / "sheet.png")
