"""Arrays of a `.npz` file that are mapped: equal to numpy's reading; a damaged file is refused and maps nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vprdist.arrays import map_npz


def write(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        "words": np.array(["", "ü@", "abc"]), "none": np.empty((0, 2)), "one": np.array(True), "empty": np.array([""]),
        "fortran": np.asfortranarray(rng.random((3, 5))), "flags": rng.random(7) < 0.5,
        "a b": np.arange(3, dtype="<i2"),
    }  # fmt: skip
    np.savez(path, **arrays)
    return arrays


def test_mapped_arrays_are_those_that_numpy_reads(tmp_path):
    arrays = write(tmp_path / "a.npz")
    found = map_npz(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, wanted in arrays.items():
        assert found[name].dtype == wanted.dtype and np.array_equal(found[name], wanted), name
        assert found[name].shape == wanted.shape and found[name].tolist() == wanted.tolist()
    assert isinstance(found["words"], np.memmap) and not found["words"].flags.writeable


def test_no_damaged_file_gives_other_values(tmp_path):
    path = tmp_path / "a.npz"
    arrays, whole = write(path), (tmp_path / "a.npz").read_bytes()
    for place in range(0, len(whole), 7):
        for broken in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :]):
            other = tmp_path / "b.npz"
            other.unlink(missing_ok=True)
            other.write_bytes(broken)
            try:
                found = map_npz(other)
            except ValueError:
                continue
            for name, values in found.items():  # what nobody reads of a zip archive may differ
                assert name not in arrays or np.array_equal(values, arrays[name]), (place, name)


def test_what_cannot_be_mapped_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(9))
    with pytest.raises(ValueError, match=r"'a\.npy' is compressed"):
        map_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", a=np.array([None, "code"], dtype=object))
    with pytest.raises(ValueError, match="it holds pickled objects"):
        map_npz(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError):
        map_npz(tmp_path / "c.npz")
