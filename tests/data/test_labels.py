"""Official label files against the dense matrix, labels that are kept, and what of them identifies a trial."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from vprdist.cli import main
from vprdist.data import official
from vprdist.data.graph import city_graph, training_graphs
from vprdist.data.kinds import HARD, POSITIVE, city_kinds
from vprdist.data.label_choice import is_official, labels_digest
from vprdist.data.labels import read_labels
from vprdist.data.layouts.msls import city_digest, read_city
from vprdist.data.official import official_blocks, official_digest
from vprdist.errors import DataError
from vprdist.prepare.checks import check_data
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import Digests, TrialSpec


@pytest.fixture(autouse=True)
def fresh():
    official_digest.cache_clear()


def silent(message: str) -> None:
    pytest.fail(f"said: {message}")


def write_official(root: Path, name: str = "ada", fov=None, seed: int = 0, **how) -> np.ndarray:
    """A label file of random values with many zeros and ties; returns the dense matrix."""
    city = read_city(root, name)
    if fov is None:
        rng = np.random.default_rng(seed)
        fov = rng.choice([0, 0, 0, 0.25, 0.5, 1.0, rng.uniform()], (len(city.query), len(city.database)))
        fov[2] = 0
    with h5py.File(city.label_file, "w") as file:
        file.create_dataset("fov", data=fov, **how)
        file.create_dataset("sim", data=fov >= 0.5)
    return np.asarray(fov)


def spec_of(root: Path, **more) -> DataSpec:
    return DataSpec(root=str(root), train=("ada",), validate_cities=("bob",), **more)


@pytest.mark.parametrize("block_bytes", [1, 500, 2**27])
@pytest.mark.parametrize("how", [{}, {"chunks": (5, 7), "compression": "gzip"}, {"dtype": "f4"}])
def test_official_labels_equal_the_dense_matrix(small_tree, tmp_path, monkeypatch, block_bytes, how):
    monkeypatch.setattr(official, "BLOCK_BYTES", block_bytes)
    dense = write_official(small_tree, **how)
    city = read_city(small_tree, "ada")
    found = read_labels(city, spec_of(small_tree), tmp_path, lambda message: None)
    assert found.dtype == np.float32
    assert np.array_equal(found.toarray(), dense.astype(np.float32))
    assert found.nnz == (dense > 0).sum()


@pytest.mark.parametrize(
    ("block_bytes", "chunks", "sizes"),
    [(1, None, [1] * 12), (500, None, [3] * 4), (2**27, None, [12]), (1800, (5, 7), [10, 2]), (500, (5, 7), [3] * 4)],
)
def test_label_files_are_read_some_rows_at_a_time_and_whole_chunks_where_they_fit(
    small_tree, monkeypatch, block_bytes, chunks, sizes
):
    monkeypatch.setattr(official, "BLOCK_BYTES", block_bytes)
    write_official(small_tree, chunks=chunks)
    assert [block.shape[0] for block in official_blocks(read_city(small_tree, "ada"))] == sizes


def elsewhere(kind: str, path: Path, values: np.ndarray) -> None:
    """Put a file's `fov` where only some other file's bytes decide it."""
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["fov"] = values
        file["group/fov"] = values
    with h5py.File(path, "a") as file:
        del file["fov"]
        if kind == "an external link":
            file["fov"] = h5py.ExternalLink(other.name, "/fov")
        elif kind == "a group's external link":
            file["far"] = h5py.ExternalLink(other.name, "/group")
            file["fov"] = h5py.SoftLink("/far/fov")
        elif kind == "an external link to nothing":
            file["fov"] = h5py.ExternalLink("none.h5", "/fov")
        elif kind == "external storage":
            raw = [(str(path.with_suffix(".raw")), 0, values.nbytes)]
            file.create_dataset("fov", shape=values.shape, dtype=values.dtype, external=raw)[...] = values
        else:
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(str(other), "fov", shape=values.shape)
            file.create_virtual_dataset("fov", layout)


ELSEWHERE = {
    "an external link": "an external link to .*other.h5",
    "a group's external link": "an external link to .*other.h5",
    "an external link to nothing": "a link that leads nowhere",
    "external storage": "external storage in .*ada_gt.raw",
    "a virtual data set": "a virtual data set of .*other.h5",
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_labels_that_lie_in_another_file_are_refused_before_anything_is_submitted(small_tree, tmp_path, kind):
    path = read_city(small_tree, "ada").label_file
    elsewhere(kind, path, write_official(small_tree))
    words = rf"ada_gt.h5: a label file must hold 'fov' itself; found .{ELSEWHERE[kind]}.*Copy the values into one file"
    with pytest.raises(DataError, match=words):
        check_data(TrialSpec(data=spec_of(small_tree)))
    with pytest.raises(DataError, match=words):
        read_labels(read_city(small_tree, "ada"), spec_of(small_tree), tmp_path, lambda message: None)
    assert main(["data", "info", str(small_tree)]) == 2


def test_links_on_disk_and_within_the_file_are_what_they_lead_to(small_tree, tmp_path):
    dense = write_official(small_tree)
    path = read_city(small_tree, "ada").label_file
    with h5py.File(path, "a") as file:
        file.move("fov", "kept")
        file["fov"] = h5py.SoftLink("/kept")
    path.rename(tmp_path / "moved.h5")
    path.symlink_to(tmp_path / "moved.h5")
    found = read_labels(read_city(small_tree, "ada"), spec_of(small_tree), tmp_path, lambda message: None)
    assert np.array_equal(found.toarray(), dense.astype(np.float32))
    before = labels_digest(spec_of(small_tree))
    (tmp_path / "moved.h5").write_bytes((tmp_path / "moved.h5").read_bytes() + b"x")
    official_digest.cache_clear()
    assert labels_digest(spec_of(small_tree)) != before


def test_the_contrastive_loss_takes_the_binary_labels(small_tree, tmp_path):
    city = read_city(small_tree, "ada")
    rng = np.random.default_rng(5)
    write_official(small_tree)
    same = rng.uniform(size=(12, 20)) < 0.3  # not what the overlap says: MSLS also asks for the angle
    with h5py.File(city.label_file, "a") as file:
        del file["sim"]
        file["sim"] = same
    for _ in range(2):  # made, and kept
        found = read_labels(city, spec_of(small_tree), tmp_path, lambda message: None, "sim")
        assert np.array_equal(found.toarray(), same.astype(np.float32))
        assert not np.array_equal(
            read_labels(city, spec_of(small_tree), tmp_path, lambda message: None).toarray(), same
        )
    has = city_kinds(city, spec_of(small_tree), "sim").found
    assert has == {POSITIVE, HARD}


def test_values_are_float32_before_they_are_compared_with_one_half(small_tree):
    # As in the reference: this double is below one half, its float32 is not.
    dense = np.zeros((12, 20))
    dense[0, 0] = 0.5 - 1e-12
    write_official(small_tree, fov=dense)
    (block,) = official_blocks(read_city(small_tree, "ada"))
    assert block[0, 0] == 0.5


def test_a_value_that_rounding_put_above_one_is_one(small_tree):
    write_official(small_tree, fov=np.full((12, 20), 1 + 1e-12))
    (block,) = official_blocks(read_city(small_tree, "ada"))
    assert (block.toarray() == 1).all()


def test_official_labels_are_used_where_they_are_and_fit_the_field_of_view(small_tree):
    folder = small_tree / "train_val/ada_gt.h5"
    assert not is_official(folder, spec_of(small_tree))
    with pytest.raises(DataError, match=r"ada_gt\.h5: with `labels: official`"):
        is_official(folder, spec_of(small_tree, labels="official"))
    write_official(small_tree)
    assert is_official(folder, spec_of(small_tree))
    assert is_official(folder, spec_of(small_tree, labels="official"))
    assert not is_official(folder, spec_of(small_tree, labels="computed"))
    assert not is_official(folder, spec_of(small_tree, fov_degrees=60.0))
    assert not is_official(folder, spec_of(small_tree, fov_radius_m=40.0))


def test_official_labels_are_refused_for_another_field_of_view():
    with pytest.raises(ValueError, match="official labels need a field of view of 50 m and 90 degrees"):
        DataSpec(labels="official", fov_degrees=60.0)


def break_file(path: Path, how: str) -> None:
    shape = (12, 20)
    if how == "text":
        path.write_text("no labels at all\n" * 100)
        return
    if how == "cut":
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        return
    if how == "flipped":
        path.write_bytes(path.read_bytes().replace(b"HEAP", b"HEAQ"))  # where the names of its datasets are
        return
    if how == "folder":
        path.unlink()
        path.mkdir()
        return
    values = np.full(shape, 0.25)
    with h5py.File(path, "w") as file:
        if how == "lacks":
            file["sim"] = values > 0
        elif how == "group":
            file.create_group("fov")
        elif how == "words":
            file["fov"] = np.full(shape, b"half")
        elif how == "shape":
            file["fov"] = values.T
        else:
            values[7, 11] = {"nan": np.nan, "negative": -1e-3, "large": 1.001, "infinite": np.inf}[how]
            file["fov"] = values


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("text", r"ada_gt\.h5: a label file must be an HDF5 file that can be read"),
        ("cut", r"ada_gt\.h5: a label file must be an HDF5 file that can be read"),
        ("flipped", r"ada_gt\.h5: a label file must be an HDF5 file that can be read"),
        ("folder", r"ada_gt\.h5: a label file must be an HDF5 file that can be read|the label file cannot be read"),
        ("lacks", r"ada_gt\.h5: a label file must have the dataset 'fov'; found 'sim'"),
        ("group", r"ada_gt\.h5: a label file must have the dataset 'fov'; found 'fov'"),
        ("words", r"ada_gt\.h5: 'fov' must hold numbers"),
        ("shape", r"'fov' must have one row a query .* 12 x 20; found '20 x 12'"),
        ("nan", r"fov\[7, 11\]: a similarity must lie in \[0, 1\]; found nan"),
        ("negative", r"fov\[7, 11\]: .* found -0\.001"),
        ("large", r"fov\[7, 11\]: .* found 1\.00"),
        ("infinite", r"fov\[7, 11\]: .* found inf"),
    ],
)
def test_a_label_file_that_cannot_be_used_is_one_message_and_leaves_nothing(
    small_tree, tmp_path, monkeypatch, how, message
):
    monkeypatch.setattr(official, "BLOCK_BYTES", 500)  # the wrong value is not in the first block
    write_official(small_tree)
    city, spec = read_city(small_tree, "ada"), spec_of(small_tree)
    break_file(city.label_file, how)
    with pytest.raises(DataError, match=message) as caught:
        read_labels(city, spec, tmp_path / "runs", lambda text: None)
    assert "Fetch the file again" in str(caught.value)
    assert not list(small_tree.rglob("*.npz")) + list(tmp_path.rglob("*.tmp"))
    if how in ("text", "cut", "flipped", "folder", "lacks", "group", "words", "shape"):
        with pytest.raises(DataError, match=message):
            city_kinds(city, spec)  # what is looked at before a sweep starts


def test_labels_are_kept_and_read_again(small_tree, tmp_path):
    city, spec, said = read_city(small_tree, "ada"), spec_of(small_tree), []
    made = read_labels(city, spec, tmp_path / "runs", said.append)
    assert len(said) == 1
    assert "computing the labels of ada" in said[0]
    (kept,) = (small_tree / "vprdist_labels").glob("*.npz")
    assert str(kept) in said[0]
    again = read_labels(city, spec, tmp_path / "runs", silent)
    assert np.array_equal(again.toarray(), made.toarray())
    assert np.array_equal(made.toarray(), city_graph(city, spec).similarity.toarray())
    assert again.dtype == np.float32
    assert not (tmp_path / "runs").exists()


def test_other_labels_have_another_file(small_tree, tmp_path):
    def kept():
        return {path.name for path in (small_tree / "vprdist_labels").glob("*.npz")}

    def make(**more):
        official_digest.cache_clear()
        before = kept()
        read_labels(read_city(small_tree, "ada"), spec_of(small_tree, **more), tmp_path, lambda text: None)
        return len(kept() - before)

    assert make() == 1
    assert make(fov_degrees=60.0) == 1
    assert make(fov_radius_m=40.0) == 1
    assert make(positive_radius_m=10.0) == 0, "labels do not depend on it"
    write_official(small_tree)
    assert make() == 1
    assert make(labels="computed") == 0, "kept from before"
    write_official(small_tree, seed=1)
    assert make() == 1
    raw = small_tree / "train_val/ada/database/raw.csv"
    raw.write_text(raw.read_text().replace(",90.0,", ",91.0,", 1))
    assert make(labels="computed") == 1
    table = small_tree / "train_val/ada/query/postprocessed.csv"
    table.write_text(table.read_text().replace("5000001.0", "5000001.5", 1))
    assert make(labels="computed") == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped", "packed", "other"])
def test_kept_labels_that_were_damaged_are_made_again_and_that_is_said(small_tree, tmp_path, damage):
    city, spec, said = read_city(small_tree, "ada"), spec_of(small_tree), []
    made = read_labels(city, spec, tmp_path, said.append)
    (kept,) = (small_tree / "vprdist_labels").glob("*.npz")
    data = bytearray(kept.read_bytes())
    data[len(data) // 4] ^= 0xFF
    if damage == "packed":  # its directory names a method that nobody knows
        data = bytearray(kept.read_bytes())
        data[data.index(b"PK\x01\x02") + 10] = 99
        kept.write_bytes(data)
    elif damage == "other":
        np.savez(kept, data=made.data, indices=made.indices + 15, indptr=made.indptr)
    else:
        kept.write_bytes({"cut": data[:-50], "empty": b"", "text": b"labels" * 99, "flipped": data}[damage])
    again = read_labels(city, spec, tmp_path, said.append)
    assert np.array_equal(again.toarray(), made.toarray())
    assert ["cannot be used and are made again" in message for message in said] == [False, True, False]
    read_labels(city, spec, tmp_path, silent)


def test_where_the_root_cannot_be_written_to_the_run_folder_keeps_them(small_tree, tmp_path):
    city, spec, said = read_city(small_tree, "ada"), spec_of(small_tree), []
    (small_tree / "vprdist_labels").write_text("in the way: root itself may write to any folder")
    read_labels(city, spec, tmp_path / "runs", said.append)
    (kept,) = (tmp_path / "runs/data/labels").glob("*.npz")
    assert str(kept) in said[-1]
    read_labels(city, spec, tmp_path / "runs", silent)


def test_where_nothing_can_be_written_labels_are_made_all_the_same(small_tree, tmp_path):
    city, spec, said = read_city(small_tree, "ada"), spec_of(small_tree), []
    (small_tree / "vprdist_labels").write_text("in the way")
    (tmp_path / "runs").write_text("in the way")
    made = read_labels(city, spec, tmp_path / "runs", said.append)
    assert np.array_equal(made.toarray(), city_graph(city, spec).similarity.toarray())
    assert "NOT kept" in said[-1]


@pytest.mark.parametrize("fault", ["no locks", "link"])
def test_a_root_where_nothing_can_be_locked_leaves_the_labels_to_the_run_folder(
    small_tree, tmp_path, monkeypatch, fault
):
    city, spec, said = read_city(small_tree, "ada"), spec_of(small_tree), []
    read_labels(city, spec, tmp_path / "first", said.append)
    (kept,) = (small_tree / "vprdist_labels").glob("*.npz")
    kept.unlink()
    if fault == "link":
        kept.with_suffix(".lock").unlink()
        kept.with_suffix(".lock").symlink_to(tmp_path / "elsewhere")
    else:
        lock = fcntl.flock

        def refuse(descriptor, kind):
            if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(small_tree.resolve()):
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            lock(descriptor, kind)

        monkeypatch.setattr(fcntl, "flock", refuse)
    read_labels(city, spec, tmp_path / "runs", said.append)
    (kept,) = (tmp_path / "runs/data/labels").glob("*.npz")
    assert str(kept) in said[-1]


def _ask(root: str, runs: str, out: str) -> None:
    said: list[str] = []
    read_labels(read_city(Path(root), "ada"), spec_of(Path(root)), Path(runs), said.append)
    Path(out, str(os.getpid())).write_text("\n".join(said))


def test_many_who_ask_at_once_make_them_once(small_tree, tmp_path):
    (tmp_path / "said").mkdir()
    context = multiprocessing.get_context("fork")
    arguments = (str(small_tree), str(tmp_path / "runs"), str(tmp_path / "said"))
    ranks = [context.Process(target=_ask, args=arguments) for _ in range(6)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    said = [path.read_text() for path in (tmp_path / "said").iterdir()]
    assert len(said) == 6
    assert sum("computing" in text for text in said) == 1


def test_the_digest_of_a_large_file_sees_its_size_ends_and_a_change_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(official, "NUM_SAMPLES", 5)
    monkeypatch.setattr(official, "SAMPLE_BYTES", 10)
    path = tmp_path / "x_gt.h5"
    plain = bytes(range(200))

    def digest(data):
        path.write_bytes(data)
        official_digest.cache_clear()
        return official_digest(path)

    others = [plain + b"x", b"x" + plain[1:], plain[:-1] + b"x", bytes(255 - byte for byte in plain), plain[:50]]
    assert len({digest(data) for data in (plain, *others)}) == 6
    assert digest(plain) == digest(bytes(plain))
    assert digest(bytes(200)) != digest(bytes(201))
    small = [bytes([i]) + bytes(49) for i in range(3)] + [bytes(24) + b"x" + bytes(25)]
    assert len({digest(data) for data in small}) == 4, "a small file is read whole"


def trial_of(root: Path, digests: Digests, **more) -> TrialSpec:
    return TrialSpec(data=spec_of(root, **more)).resolved(digests)


def test_the_label_file_is_part_of_what_a_trial_is(small_tree):
    def trial_id(**more):
        official_digest.cache_clear()
        labels = labels_digest(spec_of(small_tree, **more))
        return trial_of(small_tree, Digests(dataset="d", cache=None, weights="none", labels=labels), **more).trial_id

    before, city = trial_id(), city_digest(small_tree, "ada")
    assert before == trial_of(small_tree, Digests(dataset="d", cache=None, weights="none")).trial_id
    write_official(small_tree, "bob")
    assert trial_id() == before, "nobody reads the labels of a city that validates"
    write_official(small_tree)
    first = trial_id()
    assert first != before
    assert trial_id(labels="official") == first, "the same labels, the same experiment"
    assert trial_id(labels="computed") == before
    write_official(small_tree, seed=1)
    assert trial_id() not in (before, first)
    assert city_digest(small_tree, "ada") == city, "caches of its pictures stay valid"


def test_graphs_of_a_trial_are_those_it_was_hashed_with(small_tree, tmp_path):
    write_official(small_tree)
    spec = spec_of(small_tree)
    trial = trial_of(small_tree, Digests(dataset="d", cache=None, weights="none", labels=labels_digest(spec)))
    cities = [read_city(small_tree, "ada")]
    (graph,), notices = training_graphs(trial, cities, tmp_path, lambda text: None)
    assert not notices
    assert np.array_equal(graph.similarity.toarray(), city_graph(cities[0], spec).similarity.toarray())
    official_digest.cache_clear()
    write_official(small_tree, seed=1)
    with pytest.raises(DataError, match="the official labels must have the digest"):
        training_graphs(trial, cities, tmp_path, lambda text: None)


def test_official_and_computed_labels_side_by_side_are_recorded(small_tree, tmp_path):
    shutil.copytree(small_tree / "train_val/ada", small_tree / "train_val/eve")
    write_official(small_tree)
    spec = DataSpec(root=str(small_tree), train=("eve", "ada"), validate_cities=("bob",))
    digests = Digests(dataset="d", cache=None, weights="none", labels=labels_digest(spec))
    trial = TrialSpec(data=spec).resolved(digests)
    graphs, notices = training_graphs(trial, [read_city(small_tree, c) for c in spec.train], tmp_path, lambda _: None)
    assert [graph.name for graph in graphs] == ["eve", "ada"]
    assert notices == ("no official labels of eve: computed, beside official ones of other cities",)
    assert not np.array_equal(graphs[0].similarity.toarray(), graphs[1].similarity.toarray())


@pytest.fixture
def fake_h5py(tmp_path, monkeypatch):
    """A stand-in for libhdf5 over files that end it or keep it: no such file is known that does so in every version."""

    def put(text: str) -> None:
        (tmp_path / "fake").mkdir()
        (tmp_path / "fake" / "h5py.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))

    return put


def test_a_label_file_that_ends_the_library_costs_a_process_and_is_refused_by_name(small_tree, fake_h5py):
    write_official(small_tree)
    fake_h5py("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    words = "ada_gt.h5: the process that reads the label file died with signal SIGSEGV.*Fetch the file again"
    with pytest.raises(DataError, match=words):
        check_data(TrialSpec(data=spec_of(small_tree)))


def test_what_the_process_said_last_is_passed_on_where_it_died(small_tree, fake_h5py):
    write_official(small_tree)
    fake_h5py("raise SystemError('no such library')")
    with pytest.raises(DataError, match=r"ada_gt.h5: a label file must be .*no such library|died.*no such library"):
        list(official_blocks(read_city(small_tree, "ada")))


def test_a_label_file_that_keeps_the_library_is_not_waited_for_without_end(small_tree, fake_h5py, monkeypatch):
    write_official(small_tree)
    fake_h5py("import time\ntime.sleep(1000)")
    monkeypatch.setattr(official, "PATIENCE_S", 1)
    with pytest.raises(DataError, match=r"ada_gt.h5: no row of the label file was read for 1 s"):
        list(official_blocks(read_city(small_tree, "ada")))


def test_a_chunk_that_would_fill_the_memory_is_refused(small_tree):
    city = read_city(small_tree, "ada")
    shape = (len(city.query), len(city.database))
    with h5py.File(city.label_file, "w") as file:
        file.create_dataset("fov", shape, "f4", maxshape=(None, None), chunks=(2**14, 2**14 + 1), compression="gzip")
    with pytest.raises(DataError, match=r"ada_gt.h5: a chunk of 'fov' must have 1073741824 bytes at most"):
        list(official_blocks(city))


def test_a_label_file_that_is_no_file_is_refused(small_tree):
    path = read_city(small_tree, "ada").label_file
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"ada_gt.h5: the label file cannot be read: 'a named pipe lies where a file"):
        check_data(TrialSpec(data=spec_of(small_tree)))
