"""Descriptors: streamed to rank 0, the same for any number of ranks, mapped from a file where there are many."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import warm
from tests.evaluation.ranks import TRIAL, described
from tests.worlds import write_city
from vprdist.data.images import load_image
from vprdist.data.layouts.msls import read_city
from vprdist.distributed.ranks import Ranks
from vprdist.errors import TrainingError
from vprdist.evaluation import descriptors as room
from vprdist.evaluation.descriptors import allocate, describe
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network

CPU = Ranks(0, 1, torch.device("cpu"))
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path):
    """Enough pictures for several batches a rank, and a last turn that does not reach every rank."""
    write_city(tmp_path / "tree", "ada", num_query=12, num_database=70, seed=1)
    write_city(tmp_path / "tree", "bob", num_query=8, num_database=16, seed=2)
    return tmp_path / "tree"


def test_a_place_for_every_row(small_tree):
    found = described(small_tree, CPU)
    network = build_network(TRIAL, None).eval()
    for name in ("ada", "bob"):
        for side in read_city(small_tree, name).sides:
            rows = np.arange(0, len(side), 1 + (side.side == "query"))
            assert np.flatnonzero(found.places[name, side.side] >= 0).tolist() == rows.tolist()
            images = np.stack([load_image(side.image_path(row), 32, 40) for row in rows])
            with torch.no_grad():
                slow = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
            assert np.allclose(found.values_ND[found.of(side, rows)], slow, atol=1e-5)
    with pytest.raises(AssertionError, match="ada/query were not described"):
        found.of(read_city(small_tree, "ada").query, np.array([1]))


@pytest.mark.slow
def test_two_ranks_give_the_same_numbers_to_the_first(tree, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = described(tree, CPU).values_ND
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-m", "tests.evaluation.ranks", str(tree), str(tmp_path)]
    ranks = [warm.Popen([*command, str(rank), "2"], cwd=REPO) for rank in range(2)]
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    assert np.array_equal(np.load(tmp_path / "values.npy"), alone)
    for rank in range(2):
        assert "descriptors must be finite" in (tmp_path / f"refused-{rank}").read_text(), "no rank waits for another"


def test_a_picture_without_a_finite_descriptor_is_named(small_tree):
    side = read_city(small_tree, "bob").query
    network = build_network(TRIAL, None).eval()

    def spoil(module, inputs, output):
        output[2] = float("inf")
        return output

    network.pool.register_forward_hook(spoil)
    with pytest.raises(TrainingError, match="bob/query bob_q005: descriptors must be finite"):
        describe(network, PlaceReader(TRIAL, (32, 40)), [(side, np.array([1, 3, 5]))], CPU)


def test_many_lie_in_a_temporary_file(monkeypatch, tmp_path, small_tree):
    few = described(small_tree, CPU)
    monkeypatch.setattr(room, "MAPPED_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    many = described(small_tree, CPU)
    assert isinstance(many.values_ND, np.memmap) and not isinstance(few.values_ND, np.memmap)
    assert np.array_equal(many.values_ND, few.values_ND)
    assert not list(tmp_path.glob("tmp*")), "the file is gone with the array"
    assert allocate(10, 100, "float16").dtype == np.float16
