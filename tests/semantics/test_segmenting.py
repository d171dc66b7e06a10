"""What is ordered for which trials, and where it is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.errors import CacheError
from vprdist.semantics.order import CacheOrder
from vprdist.semantics.segmenting import device_of, orders_of, with_cache
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.trial import TrialSpec

BOTH = (("a", "b"), ("b", "a", "b"))
GPUS = ClusterProfile(kind="slurm", gpus_per_node=4, ranks=4)
CPUS = ClusterProfile(kind="slurm")


@pytest.fixture
def spec(tmp_path: Path) -> SegmenterSpec:
    (tmp_path / "net.pth").write_bytes(b"weights")
    return SegmenterSpec(name="deeplabv3plus", weights=str(tmp_path / "net.pth"))


def trial(spec: SegmenterSpec | None, train: str = "a", validate: str = "b", **input: object) -> TrialSpec:
    values = {"mode": "masked", "segmenter": spec, **input}
    return TrialSpec(
        data=DataSpec(root="/data", train=(train,), validate_cities=(validate,)), input=InputSpec(**values)
    )


def test_one_order_for_each_cache_of_all_its_cities(spec: SegmenterSpec, tmp_path: Path) -> None:
    other = spec.model_copy(update={"flip": True})
    trials = [
        trial(spec), trial(spec, "c"), trial(spec, classes=("road",)), trial(other), trial(spec, mode="rgb"),
        trial(None, cache="/mine"), trial(spec, "d", cache="/named"),
    ]  # fmt: skip
    trials = [with_cache(each, tmp_path, CPUS) for each in trials]
    orders = orders_of(trials, CPUS)
    assert [order.cities for order in orders] == [("a", "b", "c"), ("a", "b"), ("b", "d")]
    assert len({order.out for order in orders}) == 3
    assert orders[0].out == trials[0].input.cache == trials[1].input.cache == trials[2].input.cache
    assert orders[2].out == "/named"
    assert trials[4].input.cache is None and trials[5].input.cache == "/mine"


def test_two_segmenters_in_one_folder_are_refused(spec: SegmenterSpec) -> None:
    other = spec.model_copy(update={"output_stride": 8})
    with pytest.raises(CacheError, match=r"one segmenter.*Leave out trial\.input\.cache"):
        orders_of([trial(spec, cache="/one"), trial(other, cache="/one")], CPUS)


def test_the_same_cities_in_whatever_order_are_the_same_work(spec: SegmenterSpec) -> None:
    one, other = (CacheOrder(root="/d", cities=names, out="/o", segmenter=spec) for names in BOTH)
    assert one.cities == other.cities == ("a", "b")
    assert one.digest == other.digest


def test_an_exported_network_has_no_use_for_gpus(spec: SegmenterSpec) -> None:
    assert device_of(GPUS, spec) == "cuda"
    assert device_of(CPUS, spec) == "cpu"
    assert device_of(GPUS, SegmenterSpec(name="litert:net.tflite")) == "cpu"
