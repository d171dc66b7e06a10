"""A pack gives the pixels that its files give, to the bit, or says in one message why it does not."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.broken import BROKEN, break_pictures
from vprdist.cli import main
from vprdist.data.images import load_image, loader_of
from vprdist.data.layouts import Layout, open_layout
from vprdist.data.pack import PictureSource, open_pack
from vprdist.data.pack.format import MANIFEST, Manifest, read_manifest
from vprdist.data.pack.making import Wanted, make_pack
from vprdist.data.pack.use import check_pack, check_packed_files
from vprdist.data.places import Side
from vprdist.errors import DataError, UserError
from vprdist.files import locked
from vprdist.spec.computation import COMPUTATION, FIRST
from vprdist.spec.data import DataSpec

SIZE = (32, 40)
SMALL_SHARDS = 9000
"""Several files a side, of pictures of some 2 to 4 kilobytes."""


def packed(
    root: Path, out: Path, image_size: tuple[int, int] | None = None, *left_out: str, **more: object
) -> Manifest:
    layout = open_layout(root, leave_out=left_out)
    given = {"shard_bytes": SMALL_SHARDS, "processes": 1, **more}
    return make_pack(Wanted(layout, ("ada", "bob"), image_size, **given), out)  # type: ignore[arg-type]


def sides_of(layout: Layout) -> list[Side]:
    return [side for name in ("ada", "bob") for side in layout.read(name).sides]


def never(path: Path, height: int, width: int, data: object = None) -> np.ndarray:
    raise AssertionError(f"{path} is decoded")


def bytes_alone(path: Path, height: int, width: int, data: object = None) -> np.ndarray:
    assert data is not None, f"{path} is opened"
    return load_image(path, height, width, data)  # type: ignore[arg-type]


def assert_same(root: Path, out: Path, size: tuple[int, int], read: Callable[..., np.ndarray]) -> None:
    source = PictureSource(read, size, COMPUTATION, str(out))
    for side in sides_of(open_layout(root)):
        assert source.packed(side).all()
        for row in range(len(side)):
            assert np.array_equal(source.load(side, row), load_image(side.image_path(row), *size))


def odd_pictures(root: Path) -> None:
    """One picture on its side, as EXIF says, one that is a PNG for all its name, one grey of 16 bits, one with a
    palette."""
    folder = root / "train_val" / "ada" / "query" / "images"
    rng = np.random.default_rng(5)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8)).save(folder / "ada_q000.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 256, (33, 41, 3), np.uint8)).save(folder / "ada_q001.jpg", format="PNG")
    Image.fromarray(rng.integers(0, 2**16, (33, 41), np.uint16)).save(folder / "ada_q002.jpg", format="PNG")
    Image.fromarray(rng.integers(0, 256, (33, 41, 3), np.uint8)).quantize(7).save(folder / "ada_q003.jpg", format="PNG")


@pytest.mark.parametrize("processes", [1, 2])
def test_files_as_they_are_give_every_size(small_tree: Path, tmp_path: Path, processes: int) -> None:
    odd_pictures(small_tree)
    made = packed(small_tree, tmp_path / "pack", processes=processes)
    assert made.num_pictures == 56 and len(made.shards) > 8
    for size in (SIZE, (45, 33)):
        assert_same(small_tree, tmp_path / "pack", size, bytes_alone)


@pytest.mark.parametrize("processes", [1, 2])
def test_pixels_are_those_of_the_decoder_and_nothing_is_decoded(
    small_tree: Path, tmp_path: Path, processes: int
) -> None:
    odd_pictures(small_tree)
    packed(small_tree, tmp_path / "pack", (48, 36), processes=processes)
    assert_same(small_tree, tmp_path / "pack", (48, 36), never)
    other = PictureSource(load_image, SIZE, COMPUTATION, str(tmp_path / "pack"))
    assert other.pack is None, "pictures of another size come from files"
    earlier = PictureSource(loader_of(FIRST), (48, 36), FIRST, str(tmp_path / "pack"))
    assert earlier.pack is None, "and those of another decoder"


def test_the_first_computation_decodes_the_bytes_as_it_did(small_tree: Path, tmp_path: Path) -> None:
    packed(small_tree, tmp_path / "pack")
    read = loader_of(FIRST)
    source = PictureSource(read, (16, 20), FIRST, str(tmp_path / "pack"))
    side = open_layout(small_tree).read("ada").query
    for row in range(len(side)):
        assert np.array_equal(source.load(side, row), read(side.image_path(row), 16, 20))


def test_any_arrow_reader_finds_the_files(small_tree: Path, tmp_path: Path) -> None:
    made, found = packed(small_tree, tmp_path / "pack"), {}
    for shard in made.shards:
        table = pa.ipc.open_file(tmp_path / "pack" / "shards" / shard.file).read_all()
        for row in table.to_pylist():
            found[row["name"]] = row["bytes"]
            assert row["size"] == len(row["bytes"]) and row["key"] in row["name"]
            assert f"{row['city']}/{row['side']}" in row["name"]
    assert found == {str(path.relative_to(small_tree)): path.read_bytes() for path in small_tree.rglob("*.jpg")}


def test_it_goes_through_a_pickle_and_shards_are_small(small_tree: Path, tmp_path: Path) -> None:
    made = packed(small_tree, tmp_path / "pack")
    assert max(shard.bytes for shard in made.shards) < 2 * SMALL_SHARDS
    side = open_layout(small_tree).read("bob").database
    again = pickle.loads(pickle.dumps(PictureSource(load_image, SIZE, COMPUTATION, str(tmp_path / "pack"))))
    assert np.array_equal(again.load(side, 3), load_image(side.image_path(3), *SIZE))
    packed(small_tree, tmp_path / "one", shard_bytes=1)
    assert len(read_manifest(tmp_path / "one").shards) == 56, "one picture a file where none is smaller"


def test_what_is_left_out_now_or_then_is_found_by_its_key(small_tree: Path, tmp_path: Path) -> None:
    less = open_layout(small_tree, leave_out=("ada/query/ada_q003", "bob_d000"))
    packed(small_tree, tmp_path / "whole", SIZE)
    source = PictureSource(never, SIZE, COMPUTATION, str(tmp_path / "whole"))
    for side in sides_of(less):
        for row in range(len(side)):
            assert np.array_equal(source.load(side, row), load_image(side.image_path(row), *SIZE))
    packed(small_tree, tmp_path / "less", SIZE, "ada/query/ada_q003", "bob_d000")
    source = PictureSource(load_image, SIZE, COMPUTATION, str(tmp_path / "less"))
    for side in sides_of(open_layout(small_tree)):
        gone = [key for key, there in zip(side.keys, source.packed(side), strict=True) if not there]
        assert gone == {("ada", "query"): ["ada_q003"], ("bob", "database"): ["bob_d000"]}.get(
            (side.city, side.side), []
        )
        for row in range(len(side)):
            assert np.array_equal(source.load(side, row), load_image(side.image_path(row), *SIZE))
    data = DataSpec(root=str(small_tree), pack=str(tmp_path / "less"))
    check_pack(data, ("ada", "bob"))
    check_packed_files(data, ("ada", "bob"))


def test_broken_pictures_are_refused_or_left_out(small_tree: Path, tmp_path: Path) -> None:
    break_pictures(small_tree)
    with pytest.raises(DataError, match=r"ada_q003\.jpg: .*this one is empty"):
        packed(small_tree, tmp_path / "pack", SIZE)
    assert not (tmp_path / "pack").exists()
    made = packed(small_tree, tmp_path / "pack", SIZE, *BROKEN)
    assert made.num_pictures == 56 - len(BROKEN)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted((folder / "shards").iterdir())
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_a_second_run_makes_what_is_damaged_and_nothing_else(small_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    first = packed(small_tree, out)
    before = stamps(out)
    assert packed(small_tree, out) == first and stamps(out) == before
    cut, flipped, gone, strange = (out / "shards" / shard.file for shard in first.shards[:4])
    good = {path.name: path.read_bytes() for path in (cut, flipped, gone, strange)}
    cut.write_bytes(cut.read_bytes()[:-200])
    flipped.write_bytes(bytes(byte ^ (place == 3000) for place, byte in enumerate(flipped.read_bytes())))
    gone.unlink()
    strange.write_text("no shard")
    (out / "shards" / f".{cut.name}.0123abcd.tmp").write_text("what a killed process left")
    assert packed(small_tree, out) == first
    after = stamps(out)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == good.keys()
    assert all((out / "shards" / name).read_bytes() == data for name, data in good.items())


def test_a_picture_that_was_changed_since_makes_its_shard_anew(small_tree: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "pack", small_tree / "train_val/bob/query/images/bob_q001.jpg"
    first, before = packed(small_tree, out), stamps(out)
    data = DataSpec(root=str(small_tree), pack=str(out))
    check_packed_files(data, ("ada", "bob"))
    path.touch()
    check_packed_files(data, ("ada", "bob"))
    good = path.read_bytes()
    path.write_bytes(good[:-4] + bytes((good[-4] ^ 1,)) + good[-3:])
    with pytest.raises(
        DataError, match=r"bob_q001\.jpg: a picture of bob was changed since it was packed into .*again"
    ):
        check_packed_files(data, ("ada", "bob"))
    assert packed(small_tree, out).cities == first.cities
    assert sum(one != two for one, two in zip(before.items(), stamps(out).items(), strict=True)) == 1
    check_packed_files(data, ("ada", "bob"))


def test_cities_are_added_and_another_kind_is_refused(small_tree: Path, tmp_path: Path) -> None:
    layout, out = open_layout(small_tree), tmp_path / "pack"
    make_pack(Wanted(layout, ("bob",), SIZE, processes=1), out)
    before = stamps(out)
    made = make_pack(Wanted(layout, ("ada",), SIZE, processes=1), out)
    assert list(made.cities) == ["ada", "bob"] and before.items() <= stamps(out).items()
    assert_same(small_tree, out, SIZE, never)
    for size in (None, (40, 32)):
        with pytest.raises(
            DataError, match=r"the pack there must be of this kind, .*; found 'pixels of 32x40 .*another"
        ):
            make_pack(Wanted(layout, ("ada",), size, processes=1), out)
    with pytest.raises(DataError, match=r"a folder of its own, and this one holds something else; found 'train_val'"):
        make_pack(Wanted(layout, ("ada",), processes=1), small_tree)
    with locked(out / ".lock"), pytest.raises(DataError, match="somebody else packs into this folder already"):
        make_pack(Wanted(layout, ("ada",), SIZE, processes=1), out)


STALLING = """
import itertools, os, sys, time
from pathlib import Path
from vprdist.data.layouts import open_layout
from vprdist.data.pack import making

root, out, marks, processes = (Path(word) for word in sys.argv[1:])
done = itertools.count()

def stalling(picture, image_size, packed=making.packed):
    if next(done) == 8:
        (marks / str(os.getpid())).touch()
        time.sleep(3600)
    return packed(picture, image_size)

making.packed = stalling
if __name__ == "__main__":
    making.make_pack(making.Wanted(open_layout(root), ("ada", "bob"), (32, 40), 9000, int(processes.name)), out)
"""
"""Packs, and each of its processes stands still at its ninth picture."""


def kill_at_work(root: Path, out: Path, folder: Path, processes: int) -> list[int]:
    """Pack, and kill the process that was started when all of its processes stand still; their pids."""
    script, marks = folder / "stalling.py", folder / "marks"
    script.write_text(STALLING)
    marks.mkdir()
    packing = subprocess.Popen([sys.executable, str(script), str(root), str(out), str(marks), str(processes)])
    while packing.poll() is None and len(list(marks.iterdir())) < processes:
        time.sleep(0.01)
    packing.kill()
    assert packing.wait() == -signal.SIGKILL, "it was still at work"
    return [int(mark.name) for mark in marks.iterdir()]


@pytest.mark.parametrize("processes", [1, 2])
def test_packing_goes_on_where_it_was_killed(small_tree: Path, tmp_path: Path, processes: int) -> None:
    out = tmp_path / "pack"
    pids = kill_at_work(small_tree, out, tmp_path, processes)
    deadline = time.monotonic() + 120
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "processes end with the one that started them"
        time.sleep(0.02)
    assert not (out / MANIFEST).exists()
    with pytest.raises(DataError, match=r"a pack must be a folder with a manifest\.json"):
        open_pack(out)
    before = {name: stamp for name, stamp in stamps(out).items() if name.endswith(".arrow")}
    assert len(before) == 4 * processes, "two pictures a file"
    made = packed(small_tree, out, SIZE, processes=2)
    assert before.items() <= stamps(out).items() and {shard.file for shard in made.shards} == stamps(out).keys()
    assert made == packed(small_tree, tmp_path / "at once", SIZE)
    assert_same(small_tree, out, SIZE, never)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing", r"a shard of the pack is missing\. Delete .* and run `vprdist data pack` again"),
        ("cut", r"the shard must have \d+ bytes; it was cut or written over; found \d+"),
        ("text", r"a shard must be an Arrow file of the pack; found '"),
        ("key", r"the shard's index must be as it was written; it was changed"),
        ("other", r"the shard's index must be as it was written|the shard must have"),
        ("picture", r"picture 0 of the shard must be as it was written, and is not"),
    ],
)
def test_a_damaged_shard_is_one_message(small_tree: Path, tmp_path: Path, damage: str, words: str) -> None:
    made = packed(small_tree, tmp_path / "pack")
    side = open_layout(small_tree).read("ada").database
    entry = made.of_side("ada", "database")[0]
    path = tmp_path / "pack" / "shards" / entry.file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-100])
    elif damage == "text":
        path.write_bytes(b"x" * len(data))
    elif damage == "key":
        path.write_bytes(data.replace(b"ada_d000", b"ada_d00x", 1))
    elif damage == "other":
        path.write_bytes((tmp_path / "pack" / "shards" / made.of_side("bob", "database")[0].file).read_bytes())
    else:
        at = data.index(side.image_path(0).read_bytes())
        path.write_bytes(data[: at + 50] + bytes((data[at + 50] ^ 4,)) + data[at + 51 :])
    with pytest.raises(DataError, match=words):
        PictureSource(load_image, SIZE, COMPUTATION, str(tmp_path / "pack")).load(side, 0)
    if damage != "picture":
        with pytest.raises(DataError, match=r"^trial\.data\.pack: .*" + words.removeprefix("^")):
            check_pack(DataSpec(root=str(small_tree), pack=str(tmp_path / "pack")), ("ada", "bob"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "zip"}, "the manifest's format must be 'vprdist-pack'"),
        ({"version": 9}, "packs must be of version 1 at most for this vprdist; found 9"),
        ({"image_size": [0, 40]}, r"image_size\.0: .*greater than or equal to 32"),
        ({"cities": {"../ada": "0"}}, "cities"),
        ({"cities": {}}, "cities and shards must be of each other"),
        ({"shards": []}, "cities and shards must be of each other"),
    ],
)
def test_a_manifest_that_breaks_its_rules_is_one_message(
    small_tree: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    packed(small_tree, tmp_path / "pack")
    path = tmp_path / "pack" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=words):
        open_pack(tmp_path / "pack")
    path.write_text("{")
    with pytest.raises(DataError, match="the manifest must be readable JSON"):
        open_pack(tmp_path / "pack")


def test_the_pack_of_other_data_is_refused(small_tree: Path, tmp_path: Path) -> None:
    packed(small_tree, tmp_path / "pack")
    data = DataSpec(root=str(small_tree), pack=str(tmp_path / "pack"))
    check_pack(data, ("ada", "bob"))
    with pytest.raises(DataError, match=r"hold one of the cities that are read, zoe; found 'ada, bob'"):
        open_pack(tmp_path / "pack").covers({"zoe": "0"})
    with pytest.raises(DataError, match=r"the pack must be of ada as it is now, 0; .*found '[0-9a-f]{16}'\. Run"):
        open_pack(tmp_path / "pack").covers({"ada": "0"})
    with pytest.raises(UserError, match=r"^trial\.data\.pack: /no/where: a pack must be a folder with"):
        check_pack(data.model_copy(update={"pack": "/no/where"}), ("ada",))


def said(words: list[object], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert main(["data", "pack", *map(str, words)]) == code
    out = capsys.readouterr()
    assert "Traceback" not in out.out + out.err
    return " ".join((out.out + out.err).split())


def test_the_command_says_what_to_write_in_the_sweep_file(
    small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my pack"
    found = said([small_tree, out, "--cities", "bob", "--image-size", 32, 40, "--processes", 1], capsys)
    assert "packing pictures: 24/24" in found
    assert f"{out}: 24 pictures of bob in 2 files, 0.1 MB (pixels of 32x40)." in found
    assert f'In the sweep file: trial: {{data: {{pack: "{out}"}}}}' in found
    assert "Trials of train.image_size [32, 40] read it; pictures of other sizes come from files." in found
    assert "zoe" in said([small_tree, tmp_path / "b", "--cities", "zoe"], capsys, 2)
    for words in (["--shard-mb", 0], ["--processes", 0], ["--image-size", 0, 40]):
        assert said([small_tree, tmp_path / "b", *words], capsys, 2).startswith(f"error: {words[0]}: ")
    assert not (tmp_path / "b").exists()


def test_a_full_disk_keeps_what_is_packed(small_tree: Path, small_disk: Callable[..., Path], tmp_path: Path) -> None:
    out = small_disk(100_000) / "pack"
    with pytest.raises(OSError, match="No space left"):
        packed(small_tree, out, SIZE)
    assert list(out.glob("shards/*.arrow")) and not (out / MANIFEST).exists()
    assert not list(out.glob("shards/.*")), "nothing half-written"
    assert {path.name for path in out.iterdir()} == {".lock", "shards"}
