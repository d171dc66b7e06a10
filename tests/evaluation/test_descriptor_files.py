"""Descriptors from files: the same evaluation as from memory, whatever the order of the rows, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.wild import wild_cities, wild_descriptors
from vprdist.data.tasks import breakdown_tasks
from vprdist.errors import DataError
from vprdist.evaluation import descriptor_files
from vprdist.evaluation.descriptor_files import read_descriptors
from vprdist.evaluation.evaluate import NOTHING, assess, wanted_rows
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec

CITIES = wild_cities(3)
TASKS = breakdown_tasks(CITIES, TrialSpec())["all"]
WANTED = wanted_rows(TASKS, [], NOTHING)
KNOWN = wild_descriptors(CITIES, 3)


def shuffled(side_name, seed=0):
    """Keys and descriptors of one side of all cities, and of pictures that nobody asks for, in any order."""
    sides = [side for city in CITIES for side in city.sides if side.side == side_name]
    keys = np.concatenate([*(side.keys for side in sides), [f"{side_name}1", f"{side_name}2"]])
    rows = [KNOWN.values_ND[KNOWN.places[side.city, side.side]] for side in sides]
    values = np.concatenate([*rows, np.full((2, 4), np.nan, np.float32)])
    order = np.random.default_rng(seed).permutation(len(keys))
    return keys[order], values[order]


def save_npy(path, keys, values):
    np.save(path, values)
    path.with_suffix(".txt").write_text("".join(f"{key}\n" for key in keys))
    return path


@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_two_files_in_any_order(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(descriptor_files, "BLOCK", 7)
    keys, values = shuffled("query")
    np.savez(tmp_path / "q.npz", keys=keys, descriptors=values.astype(kind))
    database = save_npy(tmp_path / "d.npy", *shuffled("database", 1))
    for storage in ("float32", "float16"):
        found = read_descriptors([tmp_path / "q.npz", database], WANTED, storage)
        assert found.values_ND.dtype == storage
        one, two = (assess(each, EvaluateSpec(), TASKS, []) for each in (found, KNOWN))
        assert one.ranking.predictions == two.ranking.predictions


def spoil(keys, values, what):
    first = next(i for i, key in enumerate(keys) if key.startswith("uno"))
    wanted = {str(key) for side, rows in WANTED for key in side.keys[rows]}
    row = next(i for i, key in enumerate(keys) if key in wanted)
    if what == "nan":
        values = values.copy()
        values[row, 2] = np.nan
    elif what == "width":
        values = values[:, :3]
    elif what == "missing":
        keys, values = np.delete(keys, row), np.delete(values, row, axis=0)
    elif what == "doubled":
        keys, values = np.append(keys, keys[first]), np.append(values, values[:1], axis=0)
    elif what == "doubled at once":
        keys, values = np.insert(keys, 0, keys[0]), np.insert(values, 0, values[0], axis=0)
    elif what == "keys":
        keys = keys[:-1]
    elif what == "whole":
        values = values.astype(np.int32)
    elif what == "flat":
        values = values[:, 0]
    return keys, values


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", r"d\.np.: row \d+ \((uno|dos)_d\d+\): descriptors must be finite numbers of float32"),
        ("width", r"d\.np.: descriptors must have one width; those of q\.npz have 4 dimensions; found 3"),
        (
            "missing",
            r"pictures that take part have no descriptor \(1\), the first of them: '\w+_d\d+'",
        ),
        ("doubled", r"d\.np.: row \d+: a picture has a second descriptor: 'uno_d\d+'"),
        ("doubled at once", r"d\.np.: row 1: a picture has a second descriptor"),
        ("keys", r"d\.np.: there must be a key for each of the \d+ descriptors"),
        ("whole", r"d\.np.: descriptors must be an array \(N, D\) of floats; found 'int32"),
        ("flat", r"d\.np.: descriptors must be an array \(N, D\) of floats; found 'float32 \(\d+,\)'"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_wrong_file_is_one_message(tmp_path, suffix, what, message):
    keys, values = shuffled("query")
    np.savez(tmp_path / "q.npz", keys=keys, descriptors=values)
    keys, values = spoil(*shuffled("database"), what)
    path = tmp_path / f"d{suffix}"
    if suffix == ".npz":
        np.savez(path, keys=keys, descriptors=values)
    else:
        save_npy(path, keys, values)
    with pytest.raises(DataError, match=message):
        read_descriptors([tmp_path / "q.npz", path], WANTED)


def test_files_that_are_none(tmp_path):
    keys, values = shuffled("query")
    np.savez(tmp_path / "names.npz", keys=keys, vectors=values)
    with pytest.raises(DataError, match=r"names\.npz: a \.npz of descriptors must hold `keys` and `descriptors`"):
        read_descriptors([tmp_path / "names.npz"], WANTED)
    whole = (tmp_path / "names.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.npz: numpy cannot read the file"):
        read_descriptors([tmp_path / "cut.npz"], WANTED)
    np.save(tmp_path / "alone.npy", values)
    with pytest.raises(DataError, match=r"alone\.txt: a \.npy must have its keys beside it"):
        read_descriptors([tmp_path / "alone.npy"], WANTED)
    (tmp_path / "alone.txt").write_bytes(b"one\ntw\xf6\n")
    with pytest.raises(DataError, match=r"alone\.txt:2: a list of keys must be UTF-8 text"):
        read_descriptors([tmp_path / "alone.npy"], WANTED)


def test_a_file_under_the_other_name_or_spoilt_inside_is_one_message(tmp_path):
    keys, values = shuffled("query")
    with (tmp_path / "array.npz").open("wb") as stream:
        np.save(stream, values)
    with pytest.raises(DataError, match=r"array\.npz: the file must be what its name says; found '\.npy'"):
        read_descriptors([tmp_path / "array.npz"], WANTED)
    with (tmp_path / "archive.npy").open("wb") as stream:
        np.savez_compressed(stream, keys=keys, descriptors=values)
    with pytest.raises(DataError, match=r"archive\.npy: the file must be what its name says; found '\.npz'"):
        read_descriptors([tmp_path / "archive.npy"], WANTED)
    spoilt = bytearray((tmp_path / "archive.npy").read_bytes())
    spoilt[100:160] = bytes(byte ^ 0x55 for byte in spoilt[100:160])
    (tmp_path / "spoilt.npz").write_bytes(spoilt)
    with pytest.raises(DataError, match=r"spoilt\.npz: numpy cannot read the file"):
        read_descriptors([tmp_path / "spoilt.npz"], WANTED)


def test_keys_may_be_bytes(tmp_path):
    keys, values = shuffled("query")
    coded = np.array([*(str(key).encode() for key in keys), "straße".encode()])
    np.savez(tmp_path / "q.npz", keys=coded, descriptors=np.concatenate([values, values[:1]]))
    sides = [(side, rows) for side, rows in WANTED if side.side == "query"]
    found = read_descriptors([tmp_path / "q.npz"], sides)
    np.savez(tmp_path / "p.npz", keys=keys, descriptors=values)
    assert np.array_equal(found.values_ND, read_descriptors([tmp_path / "p.npz"], sides).values_ND)


def test_what_float16_cannot_hold_is_refused(tmp_path):
    keys, values = shuffled("query")
    np.savez(tmp_path / "q.npz", keys=keys, descriptors=values * 1e6)
    sides = [(side, rows) for side, rows in WANTED if side.side == "query"]
    with pytest.raises(DataError, match="descriptors must be finite numbers of float16"):
        read_descriptors([tmp_path / "q.npz"], sides, "float16")
    read_descriptors([tmp_path / "q.npz"], sides)


def test_norms_that_overflow_are_refused(tmp_path):
    """Every number is finite, and no distance is: FAISS would answer in any order."""
    keys, values = shuffled("database")
    values = np.nan_to_num(values)
    values[3] = 1e25
    paths = [tmp_path / "q.npz", tmp_path / "db.npz"]
    np.savez(paths[0], keys=shuffled("query")[0], descriptors=shuffled("query")[1])
    np.savez(paths[1], keys=keys, descriptors=values)
    words = rf"db.npz: row 3 \({keys[3]}\): descriptors must be finite numbers of float32, and their squares add up to"
    with pytest.raises(DataError, match=words):
        read_descriptors(paths, WANTED)


@pytest.mark.parametrize(("keys", "message"), [
    (np.array([1j, 2j]), "`keys` must be texts; they are complex128"), (np.array([b"\xff", b"a"]), "utf-8"),
    (np.frombuffer(b"\xff\xff\xff\x7f" * 2, "<U1"), "no characters"),
])  # fmt: skip
def test_keys_that_are_no_texts_are_refused(tmp_path, keys, message):
    np.savez(tmp_path / "d.npz", keys=keys, descriptors=np.ones((2, 4), np.float32))
    with pytest.raises(DataError, match=f"d.npz: numpy cannot read the file: .*{message}"):
        read_descriptors([tmp_path / "d.npz"], WANTED)
