"""Segmentation and descriptors under arms on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluation.arms import ARMS
from tests.evaluation.test_arms import alone, arm_trial
from tests.semantics.test_inference import Quarter, pictures
from tests.training.making import make_cache
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.distributed.ranks import join
from vprdist.distributed.world import World
from vprdist.errors import CacheError
from vprdist.evaluation.descriptors import describe_arms
from vprdist.evaluation.evaluate import Extra, learning_rows, wanted_rows
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.segmenters.inference import wrap
from vprdist.semantics.sources.segmented import segment
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.trial import TrialSpec


@pytest.mark.parametrize("mode", ["masked", "rgb+mask"])
def test_descriptors_under_arms_are_to_the_bit_those_through_each_mask_alone(small_tree, tmp_path, mode):
    trial = arm_trial(small_tree, make_cache(small_tree, tmp_path), mode)

    with join(World(), tmp_path / "rendezvous.json") as ranks:
        assert ranks.device.type == "cuda"

        def described(own: TrialSpec, arms):
            torch.manual_seed(0)
            network = build_network(own, None).to(ranks.device)
            set_mode(network, own.train.batch_norm, training=False)
            tasks = build_tasks([read_city(Path(own.data.root), name) for name in own.data.validate_cities], own)
            wanted = wanted_rows(tasks, learning_rows(own.evaluate, tasks, ()), Extra())
            return describe_arms(network, PlaceReader(own, (32, 40)), wanted, arms, ranks)

        together = described(trial, ARMS[:4])
        for arm, found in zip(ARMS, together, strict=False):
            [single] = described(alone(trial, arm), None)
            assert (found.values_ND == single.values_ND).all(), arm


@pytest.mark.parametrize("stride", [16, 8])
def test_deeplab_on_a_gpu(deeplab_weights, stride):
    spec = SegmenterSpec(name="deeplabv3plus", weights=str(deeplab_weights), output_stride=stride, image_size=(96, 128))
    pictures = torch.randint(0, 256, (3, 3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    on_cpu = open_segmenter(spec, "cpu")(pictures)
    on_gpu = open_segmenter(spec, "cuda")
    found = on_gpu(pictures).cpu()
    assert torch.equal(found, on_gpu(pictures).cpu()), "the same bits again"
    assert (found - on_cpu).abs().max() < 1e-2
    short = open_segmenter(spec.model_copy(update={"precision": "bfloat16"}), "cuda")(pictures).cpu()
    assert short.dtype == torch.float32 and short.sum(1).allclose(torch.ones(()), atol=1e-2)
    assert (short - on_cpu).abs().mean() < 0.02


def test_activations_that_overflow_are_refused(deeplab_weights):
    """These seeded weights reach beyond float16."""
    spec = SegmenterSpec(
        name="deeplabv3plus", weights=str(deeplab_weights), output_stride=8, image_size=(96, 128), precision="float16"
    )
    pictures = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), np.uint8)
    with pytest.raises(CacheError, match="activations must be finite"):
        segment(open_segmenter(spec, "cuda"), pictures)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_short_floats_on_a_gpu(precision: str) -> None:
    class Convolution(Quarter):
        weight = torch.randn(19, 3, 4, 4, generator=torch.Generator().manual_seed(0)) / 50
        dtype = None

        def __call__(self, image_B3HW: Tensor) -> Tensor:
            logits = torch.nn.functional.conv2d(image_B3HW.float().cuda(), self.weight.cuda(), stride=4)
            self.dtype = logits.dtype
            return logits.softmax(dim=1)

    spec = SegmenterSpec(name="transformers:x", image_size=(48, 64), precision=precision)
    inner = Convolution((48, 64))
    found = wrap(inner, spec, "cuda")(pictures(48, 64))
    assert inner.dtype == getattr(torch, precision) and found.dtype == torch.float32
    whole = wrap(inner, spec.model_copy(update={"precision": "float32"}), "cuda")(pictures(48, 64))
    assert inner.dtype == torch.float32
    assert (found - whole).abs().max() < 0.1
