"""Windows, mirrored pictures and sizes around a segmenter, each against loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vprdist.errors import CacheError, WeightsError
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.segmenters.inference import Flipped, Sized, Sliding, window_starts, wrap
from vprdist.spec.segmenter import SegmenterSpec


class Quarter:
    """A segmenter that sees a whole window: each answer depends on all of its pixels and on their place."""

    description, grid = "quarter", "cells"

    def __init__(self, image_size: tuple[int, int], cell: int = 4) -> None:
        self.image_size, self.cell = image_size, cell
        self.seen: list[Tensor] = []

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return -(-image_size[0] // self.cell), -(-image_size[1] // self.cell)

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        self.seen.append(image_B3HW)
        values = image_B3HW.float()[:, :, :: self.cell, :: self.cell]
        mean = image_B3HW.float().mean(dim=(1, 2, 3), keepdim=True)
        place = torch.linspace(0, 1, values.shape[3])  # tells left from right
        logits = [values[:, k % 3 : k % 3 + 1] * (k + 1) / 300 + mean * k / 500 + place * k / 7 for k in range(19)]
        return torch.cat(logits, dim=1).softmax(dim=1)


def pictures(height: int, width: int, count: int = 2) -> Tensor:
    random = np.random.default_rng(3)
    return torch.from_numpy(random.integers(0, 256, (count, 3, height, width), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "window", "overlap"),
    [
        ((48, 64), (24, 32), 0.25),
        ((40, 52), (24, 24), 0.5),  # the last window is moved back
        ((36, 32), (36, 20), 0.0),  # one row of windows
        ((32, 44), (32, 44), 0.9),  # one window
    ],
)
def test_sliding_is_the_mean_over_every_window_that_covers_a_pixel(size, window, overlap) -> None:
    inner, images = Quarter(size), pictures(*size)
    found = Sliding(inner, size, window, overlap)(images)
    starts = [slow_starts(length, part, overlap) for length, part in zip(size, window, strict=True)]
    answers = {(t, x): inner(images[:, :, t : t + window[0], x : x + window[1]]) for t in starts[0] for x in starts[1]}
    assert found.shape == (2, 19, size[0] // 4, size[1] // 4)
    for row in range(size[0] // 4):
        for column in range(size[1] // 4):
            covering = [
                answer[:, :, row - top // 4, column - left // 4]
                for (top, left), answer in answers.items()
                if 0 <= row * 4 - top < window[0] and 0 <= column * 4 - left < window[1]
            ]
            assert covering, "every pixel is covered"
            wanted = torch.stack(covering).mean(dim=0)
            torch.testing.assert_close(found[:, :, row, column], wanted, rtol=0, atol=1e-6)


def slow_starts(length: int, window: int, overlap: float) -> list[int]:
    step = 4
    while step + 4 <= window * (1 - overlap):
        step += 4
    starts = [0]
    while starts[-1] + window < length:
        starts.append(min(starts[-1] + step, length - window))
    return starts


def test_windows_end_at_the_edge_and_overlap_as_asked() -> None:
    assert window_starts(640, 320, 4, 0.25) == (0, 240, 320)
    assert window_starts(64, 64, 4, 0.5) == (0,)
    assert window_starts(100, 40, 4, 0.0) == (0, 40, 60)
    for overlap in (0.0, 0.25, 0.6):
        assert list(window_starts(148, 52, 4, overlap)) == slow_starts(148, 52, overlap)


def test_windows_off_the_grid_are_refused() -> None:
    for size, window, cell in (((48, 64), (22, 32), 4), ((50, 64), (24, 32), 4), ((64, 66), (33, 33), 2)):
        with pytest.raises(WeightsError, match="lie on a grid of"):
            Sliding(Quarter(size, cell), size, window, 0.25)


def test_windows_of_a_network_without_a_whole_grid_are_put_together_at_a_quarter() -> None:
    inner, images = Quarter((48, 64), cell=7), pictures(48, 64)
    assert inner.output_size((24, 32)) == (4, 5), "32 / 5 is no whole number"
    found = Sliding(inner, (48, 64), (24, 32), 0.0)(images)
    assert found.shape == (2, 19, 12, 16)
    corner = torch.nn.functional.interpolate(inner(images[:, :, 24:, 32:]), (6, 8), mode="bilinear")
    torch.testing.assert_close(found[:, :, 6:, 8:], corner)


def test_flipping_is_the_mean_of_both_by_hand() -> None:
    inner, images = Quarter((24, 32)), pictures(24, 32)
    plain = inner(images)
    mirrored = inner(torch.from_numpy(images.numpy()[:, :, :, ::-1].copy()))
    wanted = (plain.numpy() + mirrored.numpy()[:, :, :, ::-1]) / 2
    found = Flipped(inner)(images).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)
    assert not np.allclose(found, plain.numpy(), atol=1e-3)


def test_another_size_keeps_probabilities() -> None:
    images = pictures(48, 64)
    for size in ((3, 5), (12, 16), (30, 41)):
        found = Sized(Quarter((48, 64)), size)(images)
        assert found.shape == (2, 19, *size)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2, *size))
    inner = Quarter((48, 64))
    assert torch.equal(Sized(inner, None)(images), inner(images))
    plane = Image.fromarray(inner(images)[1, 7].numpy())
    for height, width in ((3, 5), (30, 41)):  # Pillow's filter is the same, by another hand
        wanted = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(Sized(inner, (height, width))(images)[1, 7].numpy(), wanted, atol=1e-5)


def test_a_spec_puts_it_all_together() -> None:
    spec = SegmenterSpec(
        name="transformers:x", image_size=(48, 64), inference="sliding", window=(32, 32), flip=True, size=(6, 8)
    )
    inner, images = Quarter((48, 64)), pictures(48, 64)
    segmenter = wrap(inner, spec, "cpu")
    assert segmenter.output_size((48, 64)) == (6, 8) and segmenter.image_size == (48, 64)
    sliding = Sliding(inner, (48, 64), (32, 32), 0.25)
    wanted = Sized(Flipped(sliding), (6, 8))(images)
    inner.seen.clear()
    torch.testing.assert_close(segmenter(images), wanted)
    assert len(inner.seen) == 2 * 2 * 3


def test_a_cpu_says_once_that_it_has_no_short_floats() -> None:
    spec = SegmenterSpec(name="transformers:x", image_size=(48, 64), precision="bfloat16")
    with pytest.warns(UserWarning, match="a CPU has no bfloat16") as caught:
        segmenter = wrap(Quarter((48, 64)), spec, "cpu")
    assert len(caught) == 1
    exact = wrap(Quarter((48, 64)), spec.model_copy(update={"precision": "float32"}), "cpu")
    assert torch.equal(segmenter(pictures(48, 64)), exact(pictures(48, 64)))


def test_a_gpu_that_is_not_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CacheError, match="no GPU on this machine: 'cuda:1'"):
        open_segmenter(SegmenterSpec(name=f"transformers:{tmp_path}"), "cuda:1")
