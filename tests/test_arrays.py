"""Array files are what numpy reads, or refused; whatever they say of themselves, nothing is allocated for it."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.mutations import HEADERS
from vprdist import arrays
from vprdist.arrays import kind_of, map_npy, npz_header, npz_names, read_npz

ARRAYS = {
    "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">i4"),
    "words": np.array(["a", "größer", ""]),
    "none": np.empty((0, 7), np.float16),
    "one": np.array("cells"),
    "complex": np.array([1j]),
}


def header(text: bytes, values: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + values


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(tmp_path: Path, name: str, save) -> None:
    wanted = ARRAYS[name]
    save(tmp_path / "some.npz", more=1, it=wanted)
    np.save(tmp_path / "one.npy", wanted)
    found = [read_npz(tmp_path / "some.npz", "it")] + ([map_npy(tmp_path / "one.npy")] if wanted.size else [])
    for each in found:
        assert (each.dtype, each.shape) == (wanted.dtype, wanted.shape) and np.array_equal(each, wanted)
    assert npz_header(tmp_path / "some.npz", "it").shape == wanted.shape
    assert npz_names(tmp_path / "some.npz") == {"more", "it"}
    assert (kind_of(tmp_path / "some.npz"), kind_of(tmp_path / "one.npy")) == (".npz", ".npy")
    with pytest.raises(KeyError):
        read_npz(tmp_path / "some.npz", "nothing")


@pytest.mark.parametrize("text", [*HEADERS, "(" * 60_000, "{'descr': 1, " * 900], ids=range(len(HEADERS) + 2))
def test_no_header_is_more_than_a_refusal(tmp_path: Path, text: str) -> None:
    for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        data = header(text.encode(), b"\x00" * 7, version)
        (tmp_path / "one.npy").write_bytes(data)
        with zipfile.ZipFile(tmp_path / "some.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("it.npy", data)
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"."):
            map_npy(tmp_path / "one.npy")
        with pytest.raises(ValueError, match=r"."):
            read_npz(tmp_path / "some.npz", "it")
        assert tracemalloc.get_traced_memory()[1] < 2**26
        tracemalloc.stop()


def test_an_archive_larger_than_the_memory_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch) -> None:
    np.savez_compressed(tmp_path / "some.npz", it=np.zeros(10**6))
    assert read_npz(tmp_path / "some.npz", "it").shape == (10**6,)
    monkeypatch.setattr(arrays, "usable_memory_gb", lambda: 0.01)
    with pytest.raises(arrays.TooLarge, match="'it' has 8000000 bytes, more than 50% of this machine's memory"):
        read_npz(tmp_path / "some.npz", "it")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    """Wherever a byte was changed: the array, or ValueError."""
    whole = io.BytesIO()
    np.savez_compressed(whole, keys=np.array(["a", "b"]), it=np.arange(300.0))
    path, random, refused = tmp_path / "some.npz", np.random.default_rng(0), 0
    for _ in range(400):
        data = bytearray(whole.getvalue())
        for place in random.integers(len(data), size=random.integers(1, 5)):
            data[place] = random.integers(256)
        path.write_bytes(data)
        try:
            assert np.array_equal(read_npz(path, "it"), np.arange(300.0))
            npz_names(path)
        except (ValueError, KeyError):
            refused += 1
    assert refused > 200


def test_another_compression_is_refused(tmp_path: Path) -> None:
    """LZMA's own header says how much memory it wants."""
    with zipfile.ZipFile(tmp_path / "some.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("it.npy", header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}"))
    with pytest.raises(ValueError, match="compressed in another way than numpy's"):
        read_npz(tmp_path / "some.npz", "it")
