"""Augmented pictures and what lies on them: by coordinates, against torchvision, on planted squares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as transforms
from torch import Tensor
from torchvision.transforms.v2 import functional

from vprdist.network.stem import InputStem
from vprdist.spec.augment import AugmentSpec
from vprdist.training import augment
from vprdist.training.augment import COLOURS, GEOMETRY, OPERATIONS, Drawn, contrasted, draw
from vprdist.training.moving import crop, flip, moved, rotation, shear

HEIGHT, WIDTH = 48, 64
ASPECT = WIDTH / HEIGHT
WHOLE = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0}
STILL = AugmentSpec(**WHOLE, num_ops=0)
ANYTHING = AugmentSpec(num_ops=3, magnitude=20.0)


def picture(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def smooth(height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A picture that rounding of coordinates changes little."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    planes = [127 + 120 * torch.sin(x / 9), 127 + 120 * torch.cos(y / 7), 127 + 60 * torch.sin((x + y) / 8)]
    return torch.stack(planes).to(torch.uint8)


def slowly_moved(values: np.ndarray, matrix: np.ndarray, grid: str) -> np.ndarray:
    """Point by point in float64: where it comes from, and the line between its neighbours there."""
    channels, height, width = values.shape
    out = np.zeros(values.shape, np.int64)

    def relative(at: int, count: int) -> float:
        return -1 + 2 * at / (count - 1) if grid == "corners" else -1 + (2 * at + 1) / count

    def place(at: float, count: int) -> float:
        found = (at + 1) / 2 * (count - 1) if grid == "corners" else (at + 1) / 2 * count - 0.5
        return min(max(found, 0.0), count - 1.0)

    for row in range(height):
        for column in range(width):
            x, y, _ = matrix @ (relative(column, width), relative(row, height), 1)
            if max(abs(x), abs(y)) > 1 + 1e-6:
                continue
            down, right = place(y, height), place(x, width)
            top, left = min(int(down), height - 2), min(int(right), width - 2)
            for channel in range(channels):
                value = 0.0
                for dy in (0, 1):
                    for dx in (0, 1):
                        weight = (1 - abs(down - top - dy)) * (1 - abs(right - left - dx))
                        value += weight * float(values[channel, top + dy, left + dx])
                out[channel, row, column] = math.floor(value + 0.5)
    return out


@pytest.mark.parametrize("grid", ["cells", "corners"])
@pytest.mark.parametrize(("kind", "most"), [(torch.uint8, 256), (torch.int16, 4700)])
def test_what_is_moved_is_what_a_loop_over_points_finds(grid, kind, most):
    for seed in range(6):
        drawn = draw(ANYTHING, ASPECT, (seed,))
        matrix = np.eye(3) if drawn.matrix is None else drawn.matrix
        values = torch.randint(0, most, (2, 9, 13), generator=torch.Generator().manual_seed(seed)).to(kind)
        found = moved(values, matrix, grid)
        assert found.dtype == kind and found.shape == values.shape
        apart = np.abs(found.numpy().astype(int) - slowly_moved(values.numpy(), matrix, grid))
        assert apart.max() <= 1 and (apart > 0).mean() < 0.02, "float32 rounds a half to the other side now and then"
        assert int(found.max()) <= int(values.max()), "bilinear weights make no larger number"


def test_nothing_moves_under_no_operation_and_two_flips():
    for grid in ("cells", "corners"):
        for matrix in (np.eye(3), crop(0, 0, 1, 1), flip() @ flip()):
            assert torch.equal(moved(picture(), matrix, grid), picture())
        assert torch.equal(moved(picture(), flip(), grid), picture().flip(-1))
    drawn = draw(STILL, ASPECT, (1, 2))
    assert drawn == Drawn(None, ())
    assert drawn.picture(picture()).equal(picture())


def test_a_crop_of_whole_pixels_is_torchvisions():
    image = smooth()
    for top, left, height, width in ((0, 0, 48, 64), (5, 9, 30, 41), (17, 0, 31, 64), (0, 24, 36, 40)):
        wanted = functional.resized_crop(image, top, left, height, width, [HEIGHT, WIDTH], antialias=False)
        part = crop(left / WIDTH, top / HEIGHT, width / WIDTH, height / HEIGHT)
        # Beyond the crop's outermost centres torchvision goes on with its edge, and we with the picture that is there.
        apart = (moved(image, part).int() - wanted.int()).abs()[:, 2:-2, 2:-2]
        assert apart.max() <= 1, (top, left, height, width)


NAMES = {
    "shear_x": "ShearX", "shear_y": "ShearY", "shift_x": "TranslateX", "shift_y": "TranslateY", "rotate": "Rotate",
    "brightness": "Brightness", "colour": "Color", "contrast": "Contrast", "sharpness": "Sharpness",
    "posterize": "Posterize", "solarize": "Solarize", "auto_contrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip


@pytest.fixture
def theirs():
    """torchvision's RandAugment, one operation at a magnitude of 30."""
    made = transforms.RandAugment(interpolation=transforms.InterpolationMode.BILINEAR)
    if not hasattr(made, "_AUGMENTATION_SPACE") or not hasattr(made, "_apply_image_or_video_transform"):
        pytest.skip("this torchvision keeps its operations elsewhere")

    def apply(image: Tensor, name: str, magnitude: int, sign: int) -> Tensor:
        values, signed = made._AUGMENTATION_SPACE[name]
        found = values(31, *image.shape[1:])
        strength = 0.0 if found is None else float(found[magnitude]) * (sign if signed else 1)
        return made._apply_image_or_video_transform(image, name, strength, made.interpolation, made._fill)

    apply.names = {"Identity", *NAMES.values()} == made._AUGMENTATION_SPACE.keys()
    return apply


@pytest.mark.parametrize("magnitude", [0, 9, 17, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_colour_is_torchvisions(theirs, magnitude, sign):
    assert theirs.names and set(NAMES) == {*GEOMETRY, *COLOURS}
    for seed, image in enumerate((picture(1), smooth(), picture(2, 31, 47) // 3)):
        for name, change in COLOURS.items():
            before = image.clone()
            found = change(image, sign * magnitude / 30)
            wanted = theirs(image, NAMES[name], magnitude, sign)
            assert found.dtype == torch.uint8 and torch.equal(image, before), "kept pictures are not written to"
            if magnitude in (0, 30) and name != "contrast":
                assert torch.equal(found, wanted), (name, seed)
            else:  # torchvision's strengths, and its mean for the contrast, are of float32
                assert (found.int() - wanted.int()).abs().max() <= 1, (name, seed)
                assert (found == wanted).float().mean() > 0.99, (name, seed)


@pytest.mark.parametrize("magnitude", [5, 9, 30])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", GEOMETRY)
def test_every_movement_is_torchvisions(theirs, name, magnitude, sign):
    image = smooth()
    found = moved(image, GEOMETRY[name](sign * magnitude / 30, ASPECT)).int()
    wanted = theirs(image, NAMES[name], magnitude, sign).int()
    both = (found > 0).all(dim=0) & (wanted > 0).all(dim=0)
    assert both.float().mean() > 0.4
    # torchvision fades into black at an edge, and shifts by whole pixels.
    allowed = 18 if name.startswith("shift") else 3
    apart = (found - wanted).abs().amax(dim=0)[both]
    assert apart.float().quantile(0.93) <= allowed, apart.float().quantile(0.93)


def test_crops_are_spread_as_torchvisions():
    spec = AugmentSpec(crop_scale=(0.2, 0.9), crop_ratio=(0.75, 4 / 3), flip=0.25, num_ops=0)
    theirs = transforms.RandomResizedCrop((300, 300), scale=(0.2, 0.9), ratio=(0.75, 4 / 3))
    if not hasattr(theirs, "make_params"):
        pytest.skip("this torchvision draws its crops by another name")
    torch.manual_seed(0)
    whole = torch.zeros(3, 3000, 3000, dtype=torch.uint8)
    given = [theirs.make_params([whole]) for _ in range(3000)]
    wanted = np.array([[each["left"], each["top"], each["width"], each["height"]] for each in given]) / 3000
    matrices = [draw(spec, ASPECT, (seed,)).matrix for seed in range(3000)]
    flipped = np.array([matrix[0, 0] < 0 for matrix in matrices])
    sizes = np.array([[abs(matrix[0, 0]), matrix[1, 1]] for matrix in matrices])
    middles = np.array([[matrix[0, 2], matrix[1, 2]] for matrix in matrices])  # in [-1, 1]
    assert flipped.mean() == pytest.approx(0.25, abs=0.03)
    lefts = (middles + 1 - sizes) / 2
    found = np.concatenate([lefts, sizes], axis=1)
    assert found.mean(axis=0) == pytest.approx(wanted.mean(axis=0), abs=0.015)
    assert found.std(axis=0) == pytest.approx(wanted.std(axis=0), abs=0.015)
    areas = sizes.prod(axis=1)
    assert areas.min() >= 0.2 - 1e-9 and areas.max() <= 0.9 + 1e-9
    assert (found[:, :2] >= -1e-9).all() and (found[:, :2] + found[:, 2:] <= 1 + 1e-9).all(), "within the picture"


def test_every_operation_comes_as_often_as_any_other_and_in_both_directions():
    spec = AugmentSpec(**WHOLE, num_ops=1)
    drawn = [draw(spec, ASPECT, (seed,)) for seed in range(4200)]
    counts = {name: sum(name in dict(each.colours) for each in drawn) for name in COLOURS}
    expected = len(drawn) / len(OPERATIONS)
    assert min(counts.values()) > 0.75 * expected and max(counts.values()) < 1.25 * expected
    assert sum(each.matrix is not None for each in drawn) == pytest.approx(len(GEOMETRY) * expected, rel=0.1)
    assert {share for each in drawn for _, share in each.colours} == {0.3, -0.3}, "9 of 30"


def planted(seed: int, grid: str, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A picture with one bright square on nearly black, and a mask of it at another size."""
    rng = np.random.default_rng(seed)
    image = torch.zeros(3, 96, 128, dtype=torch.uint8)
    top, left, side = int(rng.integers(10, 45)), int(rng.integers(10, 70)), int(rng.integers(28, 42))
    image[:, top : top + side, left : left + side] = 255
    share = image[:1].float() / 255
    if grid == "cells":
        mask = torch.nn.functional.interpolate(share[None], size, mode="area")[0]
    else:
        mask = torch.nn.functional.interpolate(share[None], size, mode="bilinear", align_corners=True)[0]
    return image, (mask * 255).round().to(torch.uint8)


@pytest.mark.parametrize(("grid", "size"), [("cells", (48, 64)), ("cells", (96, 128)), ("corners", (49, 65))])
def test_the_mask_of_a_planted_square_stays_on_it(grid, size):
    spec = AugmentSpec(crop_scale=(0.5, 1.0), flip=0.5, num_ops=3, magnitude=15.0)
    stem = InputStem("rgb+mask", grid=grid)
    before, after, still = [], [], []
    for seed in range(60):
        image, mask = planted(seed, grid, size)
        drawn = draw(spec, 128 / 96, (seed,))
        if drawn.matrix is None:
            continue
        picture_now, mask_now = moved(image, drawn.matrix), drawn.added(mask, grid)
        square = picture_now[0] > 127
        if square.float().mean() < 0.02:
            continue  # it has left the picture

        def overlap(levels: Tensor, bright: Tensor) -> float:
            on = stem.placed(levels[None], (96, 128))[0, 0] > 0.5
            return float((on & bright).sum() / (on | bright).sum())

        before.append(overlap(mask, image[0] > 127))
        after.append(overlap(mask_now, square))
        still.append(overlap(mask, square))
    means = [float(np.mean(each)) for each in (before, after, still)]
    print(f"{grid} {size}, {len(after)} pictures: IoU before {means[0]:.3f}, moved {means[1]:.3f}, left {means[2]:.3f}")
    assert len(after) > 40
    assert means[1] > 0.94 and min(after) > 0.85, "of a mask half as fine, edges are known to a pixel"
    assert means[2] < 0.6, "a mask that stays where it was would be seen here"


def test_activations_of_a_pixel_still_sum_to_one():
    generator = torch.Generator().manual_seed(0)
    shares = torch.softmax(3 * torch.randn(19, 24, 32, generator=generator), dim=0)
    activations = (255 * shares).round().to(torch.uint8)
    for seed in range(10):
        matrix = draw(AugmentSpec(num_ops=0), ASPECT, (seed,)).matrix
        assert matrix is not None
        sums = moved(activations, matrix).sum(dim=0, dtype=torch.int64)
        assert sums.float().mean() == pytest.approx(255, abs=1) and sums.min() > 245 and sums.max() < 265


def test_nothing_is_seen_of_a_mask_where_nothing_is_seen_of_its_picture():
    whole, turn = torch.full((1, 24, 32), 200, dtype=torch.uint8), rotation(30, ASPECT)
    for grid in ("cells", "corners"):
        turned = moved(whole, turn, grid)
        assert set(turned.unique().tolist()) == {0, 200} and 0.05 < (turned == 0).float().mean() < 0.4


def test_what_is_drawn_hangs_on_every_number_of_its_seed_alone():
    seeds = [
        (trial, step, side, place) for trial in (0, 1) for step in (0, 1) for side in (0, 1) for place in (0, 1, 2)
    ]
    drawn = [draw(AugmentSpec(), ASPECT, seed) for seed in seeds]
    assert len({each.matrix.tobytes() for each in drawn if each.matrix is not None}) == len(seeds)
    np.random.seed(5), torch.manual_seed(5)
    again = [draw(AugmentSpec(), ASPECT, seed) for seed in reversed(seeds)][::-1]
    assert all(np.array_equal(one.matrix, other.matrix) for one, other in zip(drawn, again, strict=True))
    assert [each.colours for each in drawn] == [each.colours for each in again]


def test_the_number_of_threads_changes_no_bit():
    image, before = picture(3, 211, 317), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            one = [draw(ANYTHING, ASPECT, (seed,)).picture(image) for seed in range(12)]
            found.append([*one, *(change(image, 0.37) for change in COLOURS.values())])
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_contrast_leaves_its_own_mean_and_a_crop_that_never_fits_the_whole_picture():
    flat = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    assert torch.equal(contrasted(flat, 1.9), flat)
    wide = AugmentSpec(crop_scale=(1.0, 1.0), crop_ratio=(2.0, 3.0), flip=0.0, num_ops=0)
    assert draw(wide, ASPECT, (0,)).matrix is None
    assert augment.TRIES == 10, "torchvision's"


def test_a_shear_of_both_axes_keeps_the_corner():
    for matrix in (shear(0.3, 0, ASPECT), shear(0, -0.2, ASPECT)):
        assert matrix @ (-1, -1, 1) == pytest.approx((-1, -1, 1))
