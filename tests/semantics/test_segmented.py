"""Activations made when they are asked for: the bytes, the fingerprint, and what broken pictures get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vprdist.data.images import load_image
from vprdist.data.layouts import open_layout
from vprdist.data.layouts.msls import city_folder, read_city
from vprdist.data.pack.making import Wanted, make_pack
from vprdist.errors import CacheError, DataError, WeightsError
from vprdist.semantics.sources import segmented
from vprdist.semantics.sources.segmented import SegmentedSource
from vprdist.spec.segmenter import SegmenterSpec


class Colours:
    """A segmenter of three lines: classes by the colour of a pixel, and by what else is in the batch."""

    description, grid = "colours", "cells"

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.image_size = image_size
        self.batches: list[int] = []

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return image_size[0] // 4, image_size[1] // 4

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        assert image_B3HW.dtype == torch.uint8 and tuple(image_B3HW.shape[2:]) == self.image_size
        self.batches.append(len(image_B3HW))
        values = image_B3HW.float()[:, :, ::4, ::4] / 40 + image_B3HW.float().mean() / 100
        return torch.cat([values[:, k % 3 : k % 3 + 1] * (1 + k / 19) for k in range(19)], dim=1).softmax(dim=1)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Colours:
    network = Colours((32, 40))
    monkeypatch.setattr(segmented, "open_segmenter", lambda spec, device, class_table: network)
    return network


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"weights")
    return path


def source_of(root: Path, weights: Path, **keys: Any) -> SegmentedSource:
    return SegmentedSource(open_layout(root), SegmenterSpec(name=f"litert:{weights}", **keys), batch_images=3)


def keys_of(root: Path, side: str = "database") -> list[str]:
    return [str(key) for key in getattr(read_city(root, "ada"), side).keys]


def test_the_bytes_are_softmax_by_hand_in_batches_of_the_keys(
    small_tree: Path, weights: Path, network: Colours
) -> None:
    keys = keys_of(small_tree)[4:15]
    source = source_of(small_tree, weights)
    found = list(source.read("ada", "database", keys))
    assert [key for key, _ in found] == keys
    assert network.batches == [3, 3, 3, 2]
    folder = city_folder(small_tree, "ada")[1] / "database" / "images"
    for first in range(0, len(keys), 3):
        images = np.stack([load_image(folder / f"{key}.jpg", 32, 40) for key in keys[first : first + 3]])
        values = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).double().numpy()
        for (_, activations), wanted in zip(found[first : first + 3], values, strict=True):
            assert activations.dtype == np.uint8 and activations.shape == (19, 8, 10)
            np.testing.assert_array_equal(activations, np.round(wanted * 255).astype(np.uint8))
    assert source.size("ada", "database", keys) == (8, 10)


def test_activations_that_are_not_finite_are_refused(
    small_tree: Path, weights: Path, network: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As numbers beyond float16 give them; as bytes they would look like any others."""
    monkeypatch.setattr(Colours, "__call__", lambda self, image: torch.full((len(image), 19, 8, 10), float("nan")))
    with pytest.raises(CacheError, match=r"colours: activations must be finite; found 'NaN'\. Choose `precision"):
        list(source_of(small_tree, weights).read("ada", "database", keys_of(small_tree)))


def test_a_shard_has_the_same_bytes_whoever_makes_it(small_tree: Path, weights: Path, network: Colours) -> None:
    keys = keys_of(small_tree)
    shards = [keys[:7], keys[7:14], keys[14:]]
    one = source_of(small_tree, weights)
    whole = {shard[0]: [a.tobytes() for _, a in one.read("ada", "database", shard)] for shard in shards}
    for shard in reversed(shards):
        other = source_of(small_tree, weights)
        assert [a.tobytes() for _, a in other.read("ada", "database", shard)] == whole[shard[0]]
    assert list(one.read("ada", "database", [])) == []


@pytest.mark.parametrize("image_size", [None, (32, 40), (64, 48)])
def test_packed_pictures_give_the_same_bytes(
    small_tree: Path, weights: Path, network: Colours, tmp_path: Path, image_size: tuple[int, int] | None
) -> None:
    keys, plain = keys_of(small_tree), source_of(small_tree, weights)
    wanted = [(key, each.tobytes()) for key, each in plain.read("ada", "database", keys)]
    make_pack(Wanted(open_layout(small_tree), ("ada",), image_size, 9000, 1), tmp_path / "pack")
    packed = SegmentedSource(plain.data, plain.spec, batch_images=3, pack=str(tmp_path / "pack"))
    assert packed.fingerprint("ada", "database", keys) == plain.fingerprint("ada", "database", keys)
    assert [(key, each.tobytes()) for key, each in packed.read("ada", "database", keys)] == wanted


def test_the_fingerprint_follows_segmenter_weights_and_pictures(small_tree: Path, weights: Path) -> None:
    keys = keys_of(small_tree)
    first = source_of(small_tree, weights).fingerprint("ada", "database", keys)
    moved, renamed = small_tree.with_name("moved"), weights.with_name("renamed.tflite")
    small_tree.rename(moved)
    weights.rename(renamed)
    path = city_folder(moved, "ada")[1] / "database" / "images" / f"{keys[2]}.jpg"
    os.utime(path, (0, 0))
    assert source_of(moved, renamed).fingerprint("ada", "database", keys) == first, "no paths, no times"
    others = {
        source_of(moved, renamed, flip=True).fingerprint("ada", "database", keys),
        source_of(moved, renamed, size=(4, 5)).fingerprint("ada", "database", keys),
        source_of(moved, renamed).fingerprint("ada", "database", keys[:-1]),
        SegmentedSource(open_layout(moved), SegmenterSpec(name=f"litert:{renamed}")).fingerprint(
            "ada", "database", keys
        ),
    }
    path.write_bytes(path.read_bytes() + b"\0")
    others.add(source_of(moved, renamed).fingerprint("ada", "database", keys))
    renamed.write_bytes(b"others!")
    others.add(source_of(moved, renamed).fingerprint("ada", "database", keys))
    assert len(others | {first}) == 7


def test_planning_loads_no_torch(small_tree: Path, weights: Path) -> None:
    code = """
import sys
from pathlib import Path
from vprdist.data.layouts import open_layout
from vprdist.semantics.sources.segmented import SegmentedSource
from vprdist.spec.segmenter import SegmenterSpec
source = SegmentedSource(open_layout(Path(sys.argv[1])), SegmenterSpec(name="deeplabv3plus", weights=sys.argv[2]))
print(source.has("ada"), source.has("zoe"), source.size("ada", "query", []), "torch" in sys.modules)
source.fingerprint("ada", "query", [])
assert "torch" not in sys.modules
"""
    command = [sys.executable, "-c", code, str(small_tree), str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False (120, 160) False"


@pytest.mark.parametrize("fault", ["missing", "empty", "cut", "a link to a missing file"])
def test_a_broken_picture_is_named(small_tree: Path, weights: Path, network: Colours, fault: str) -> None:
    keys = keys_of(small_tree)
    path = city_folder(small_tree, "ada")[1] / "database" / "images" / f"{keys[5]}.jpg"
    whole = path.read_bytes()
    path.unlink()
    if fault in ("empty", "cut"):
        path.write_bytes(whole[:200] if fault == "cut" else b"")
    elif fault != "missing":
        path.symlink_to(path.with_name("moved.jpg"))
    source = source_of(small_tree, weights)
    if fault != "cut":
        with pytest.raises(DataError, match=f"{keys[5]}.jpg.*{'empty' if fault == 'empty' else 'missing'}"):
            source.fingerprint("ada", "database", keys)
    found = []
    with pytest.raises(DataError, match=f"{keys[5]}.jpg"):
        found.extend(source.read("ada", "database", keys))
    assert [key for key, _ in found] == keys[:3], "nothing is made up"


def test_weights_that_are_not_there(small_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.tflite"):
        source_of(small_tree, tmp_path / "nowhere.tflite")


def test_real_pictures_through_the_real_deeplab(shared_data: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install -e .[litert]")
    path = shared_data / "weights" / "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite"
    side = read_city(shared_data / "lip6", "lip6b").query
    keys = [str(key) for key in side.keys[[0, 40, 80]]]
    spec = SegmenterSpec(name=f"litert:{path}", size=(96, 120))
    with np.load(shared_data / "lip6_semantics" / "lip6b_query.npz") as archive:
        rows = {key: row for row, key in enumerate(archive["keys"].tolist())}
        reference = archive["activations"][[rows[key] for key in keys]]
    agreements = []
    for (_, found), wanted in zip(
        SegmentedSource(open_layout(shared_data / "lip6"), spec).read("lip6b", "query", keys), reference, strict=True
    ):
        assert found.shape == (19, 96, 120)
        assert np.abs(found.sum(axis=0, dtype=int) - 255).max() <= 10
        agreements.append((found.argmax(axis=0) == wanted.argmax(axis=0)).mean())
    # The reference was made by another network: they agree on most pixels, as two networks do.
    assert np.mean(agreements) > 0.6
