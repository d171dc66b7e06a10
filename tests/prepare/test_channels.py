"""Channels of a large class table that do not fit the memory are refused with both numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vprdist.data.layouts.msls import read_city
from vprdist.errors import SweepFileError
from vprdist.evaluation.descriptors import BATCH_IMAGES
from vprdist.network.stem import InputStem
from vprdist.prepare import channels
from vprdist.prepare.channels import EVALUATED_IMAGES, channel_bytes, check_channels
from vprdist.semantics.importing import import_cache
from vprdist.spec.doors import MaskName
from vprdist.spec.input import InputSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import RunSpec, TrialSpec

LOCAL = ClusterProfile(kind="local")


def beside(cache: Path | None = None, mode: str = "rgb+semantics", pairs: int = 2) -> TrialSpec:
    given = InputSpec(mode=mode, classes="all", class_table="ade20k", cache=cache and str(cache))
    train = TrainSpec(image_size=(480, 640), batch_pairs=64, micro_pairs=pairs)
    return TrialSpec(input=given, train=train, run=RunSpec(workers=3))


def test_the_estimate_is_of_bytes_read_and_enlarged() -> None:
    assert EVALUATED_IMAGES == BATCH_IMAGES
    each = 150 * (10 * 12 * (1 + 2 * 3) + 2 * 4 * 480 * 640)
    assert channel_bytes(beside(), (10, 12)) == BATCH_IMAGES * each, "evaluation takes more than two pairs"
    assert channel_bytes(beside(pairs=64), (10, 12)) == 128 * each


def test_more_than_the_memory_is_refused(small_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "npz"
    source.mkdir()
    for side in read_city(small_tree, "bob").sides:
        values = np.ones((len(side), 150, 2, 3), np.uint8)
        np.savez(source / f"bob_{side.side}.npz", keys=side.keys, activations=values)
    cache = import_cache(source, small_tree, tmp_path / "cache", class_table="ade20k").path
    need = channel_bytes(beside(), (2, 3)) / 1e9
    monkeypatch.setattr(channels, "usable_memory_gb", lambda: 0.9 * need)
    with pytest.raises(SweepFileError, match=rf"150 activations.*{0.9 * need:.3g} GB; .*'{need:.3g} GB'.*micro_pairs"):
        check_channels([beside(cache)], LOCAL)
    check_channels([beside(cache, "masked")], LOCAL)
    slurm = ClusterProfile(kind="slurm", memory_gb=1.1 * need)
    check_channels([beside(cache)], slurm)
    check_channels([beside(cache)], slurm.model_copy(update={"memory_gb": None}))
    with pytest.raises(SweepFileError, match="must fit the memory"):
        check_channels([beside(cache)], slurm.model_copy(update={"ranks": 2}))
    monkeypatch.setattr(channels, "usable_memory_gb", lambda: 1.1 * need)
    check_channels([beside(cache)], LOCAL)


def test_pooled_and_learnt_maps_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(height=480, width=640)
    monkeypatch.setattr(channels, "read_manifest", lambda path: made)
    shown = InputSpec(mode="masked", classes=("tree",), class_table="ade20k", cache="/c", mask_at="features")
    pooled = beside().model_copy(update={"input": shown})
    maps, read = 150 * 32, 480 * 640 * (1 + 2 * 3)
    for kinds in (1, 3):
        need = maps * kinds * read / 1e9
        monkeypatch.setattr(channels, "usable_memory_gb", lambda need=need: 0.99 * need)
        with pytest.raises(SweepFileError, match=rf"probes.how: {150 * kinds} activations.*'{need:.3g} GB'"):
            check_channels([pooled], LOCAL, kinds)
        monkeypatch.setattr(channels, "usable_memory_gb", lambda need=need: 1.01 * need)
        check_channels([pooled], LOCAL, kinds)
    monkeypatch.setattr(channels, "usable_memory_gb", lambda: 0.001)
    check_channels([pooled], LOCAL)
    learnt = shown.model_copy(update={"learnt": MaskName.of("class_weights")})
    need = maps * (read + 8 * 480 * 640) / 1e9
    with pytest.raises(SweepFileError, match=rf"input.learnt: 150 activations.*'{need:.3g} GB'"):
        check_channels([pooled.model_copy(update={"input": learnt})], LOCAL)


def test_weights_of_maps_in_slices_are_those_of_all_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.randint(0, 256, (3, 5, 12, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps[1, 2] = 255
    plain = InputStem("masked", fill=None).weights(maps, (4, 5))
    monkeypatch.setattr("vprdist.network.stem.DOUBLES", 12 * 17 * 4)
    assert torch.equal(InputStem("masked", fill=None).weights(maps, (4, 5)), plain)
    assert bool((plain[1, 2] == 1).all()) and plain.shape == (3, 5, 4, 5) and plain.dtype == torch.float32
