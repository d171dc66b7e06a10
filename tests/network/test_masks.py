"""Masks that are learnt, and attention on features as their control: one contract for all (methods.md, A0)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vprdist.errors import OwnCodeError
from vprdist.network.areas import area_means
from vprdist.network.attention.spatial import KERNELS, Spatial
from vprdist.network.masks.base import HIDDEN, SHOWN, Mask, check_range, check_shape
from vprdist.spec.doors import MaskName
from vprdist.spec.vocabulary import CLASSES

CHOSEN = ("building", "pole", "sky")
NAMES = [name for name in MaskName.door.built_in if name != "none"]


def activations(batch: int = 3, size: tuple[int, int] = (6, 8), seed: int = 0) -> Tensor:
    """Those of a segmenter: shares of 255ths, one place of which nothing is known, one class that is never there."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, len(CLASSES), *size, generator=generator)
    logits[:, CLASSES.index("train")] = -100
    out = (255 * logits.softmax(dim=1)).round() / 255
    out[0, :, 0, 0] = 0
    return out


def image(batch: int = 3, size: tuple[int, int] = (33, 50), seed: int = 1) -> Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def mask(name: str, chosen: tuple[str, ...] = CLASSES, seed: int = 0) -> Mask:
    torch.manual_seed(seed)
    made: Mask = MaskName.of(name).make(classes=CLASSES, chosen=chosen)
    return made


def stirred(module: torch.nn.Module, seed: int = 5) -> torch.nn.Module:
    """The module far from its start, with ties among its weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((2 * torch.randn(parameter.shape, generator=generator)).round() / 2)
    return module


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(6, 8), (1, 1), (40, 60)])
def test_every_mask_shows_everything_at_the_start_to_the_bit(name: str, size: tuple[int, int]) -> None:
    found = mask(name)(activations(size=size), image=image())
    assert torch.equal(found, torch.ones(3, 1, *size))


@pytest.mark.parametrize("name", ["class_weights", "squeeze_excite"])
def test_a_mask_that_starts_from_some_classes_shows_them_and_nearly_nothing_of_the_others(name: str) -> None:
    given = activations()
    found = mask(name, CHOSEN)(given, image=image()).detach()
    rest = sigmoid(HIDDEN) / sigmoid(SHOWN)
    assert rest < 0.02
    for b, y, x in itertools.product(range(3), range(6), range(8)):
        at = dict(zip(CLASSES, given[b, :, y, x].tolist(), strict=True))
        total = sum(at.values())
        expected = sum((1 if k in CHOSEN else rest) * a for k, a in at.items()) / total if total else 1.0
        assert found[b, 0, y, x].item() == pytest.approx(expected, abs=1e-6), (b, y, x)


def by_hand(name: str, module: torch.nn.Module, given: Tensor, picture: Tensor) -> list[list[list[float]]]:
    """The mask of float64 activations, place by place, from the equations alone."""
    state = {key: value.double().numpy() for key, value in module.state_dict().items()}
    batch, num_classes, height, width = given.shape
    out = np.zeros((batch, height, width))
    for b in range(batch):
        if name == "conv_head":
            logits = _head_by_hand(state, given[b].numpy(), picture[b].numpy())
            shares = np.vectorize(sigmoid)(logits)
            out[b] = shares / shares.max()
            continue
        if name == "class_weights":
            logits = state["weights_K"]
        else:
            means = [given[b, k].mean().item() for k in range(num_classes)]
            hidden = np.maximum(0, state["squeeze.weight"] @ means + state["squeeze.bias"])
            logits = state["excite.weight"] @ hidden + state["excite.bias"]
        gates = [sigmoid(value) for value in logits]
        for y, x in itertools.product(range(height), range(width)):
            at = [given[b, k, y, x].item() for k in range(num_classes)]
            shown = sum(g / max(gates) * a for g, a in zip(gates, at, strict=True))
            out[b, y, x] = shown / sum(at) if sum(at) else 1.0
    return out.tolist()


def _head_by_hand(state: dict[str, np.ndarray], given: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """RGB as means over the parts of a picture that is a whole number of times as large, then three convolutions."""
    (_, height, width), (_, rows, columns) = given.shape, picture.shape
    parts = picture.reshape(3, height, rows // height, width, columns // width).mean(axis=(2, 4))
    found = np.concatenate([parts - 0.5, given])
    for layer in ("first", "second", "last"):
        weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
        out = np.zeros((len(weight), height, width))
        for o, y, x in itertools.product(range(len(weight)), range(height), range(width)):
            out[o, y, x] = bias[o]
            for dy, dx in itertools.product((-1, 0, 1), (-1, 0, 1)):
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    out[o, y, x] += weight[o, :, dy + 1, dx + 1] @ found[:, y + dy, x + dx]
        found = out if layer == "last" else np.maximum(0, out)
    return found[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_is_what_its_equation_says(name: str) -> None:
    module = stirred(mask(name)).double()
    if name == "conv_head":  # far weights would saturate every place alike
        for parameter in module.parameters():
            parameter.data.mul_(0.2)
    given, picture = activations().double(), image(size=(12, 24)).double()
    found = module(given, image=picture).detach()
    expected = by_hand(name, module, given, picture)
    assert np.allclose(found[:, 0].numpy(), expected, atol=1e-6 if name == "conv_head" else 1e-12)
    assert 0 <= float(found.min()) < 0.9 and float(found.max()) <= 1
    check_range(check_shape(found, given, name), name)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_that_can_matters_from_the_first_step_on(name: str) -> None:
    module = mask(name)
    found = module(activations(), image=image())
    (found * torch.rand(found.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    moved = {key for key, each in module.named_parameters() if each.grad is not None and each.grad.abs().max() > 1e-4}
    # A last layer of zeros lets no gradient through to those before it, in the first step alone.
    late = {"squeeze_excite": {"squeeze.weight", "squeeze.bias"}}.get(name, set())
    late |= {key for key in dict(module.named_parameters()) if name == "conv_head" and not key.startswith("last")}
    # A bias of all places alike is what the gauge takes out.
    still = {"last.bias"} if name == "conv_head" else set()
    assert moved == set(dict(module.named_parameters())) - late - still
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    optimizer.step()
    module(activations(), image=image()).square().sum().backward()
    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in module.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_most_shown_has_one_whatever_the_weights(name: str) -> None:
    given = activations()
    for seed in range(5):
        module = stirred(mask(name), seed)
        found = module(given, image=image())
        assert float(found.detach().min()) >= 0 and float(found.detach().max()) <= 1
        gates = module.gates(given)
        if name == "conv_head":
            assert gates is None and torch.equal(found.amax(dim=(1, 2, 3)), torch.ones(3))
        else:
            assert gates is not None and gates.shape == (3, len(CLASSES))
            assert torch.equal(gates.amax(dim=1), torch.ones(3))


def test_squeeze_excite_weighs_pictures_differently_and_class_weights_do_not() -> None:
    given = activations()
    same, other = stirred(mask("class_weights")).gates(given), stirred(mask("squeeze_excite")).gates(given)  # type: ignore[operator]
    assert torch.equal(same[0], same[1]) and not torch.allclose(other[0], other[1], atol=1e-3)


def test_pictures_come_to_another_size_by_exact_area_means() -> None:
    picture = image(1, (7, 9)).double()
    # Each part of 5 x 4 cuts pixels: a picture of 35 x 36 shows every one of them as whole pixels.
    fine = picture.repeat_interleave(5, dim=2).repeat_interleave(4, dim=3)
    expected = fine.reshape(1, 3, 5, 7, 4, 9).mean(dim=(3, 5))
    assert torch.allclose(area_means(picture, (5, 4), "cells"), expected, atol=1e-7)
    assert torch.allclose(
        area_means(picture, (14, 18), "cells"), picture.repeat_interleave(2, 2).repeat_interleave(2, 3)
    )


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (torch.ones(3, 6, 8), "a mask must be floats of the shape"),
        (torch.ones(3, 1, 6, 8, dtype=torch.int64), "a mask must be floats of the shape"),
        ("a mask", "a mask must be floats of the shape"),
        (torch.full((3, 1, 6, 8), 1.01), r"a mask must lie in \[0, 1\], not '?1.01 to 1.01"),
        (torch.full((3, 1, 6, 8), -0.01), r"a mask must lie in \[0, 1\]"),
        (torch.full((3, 1, 6, 8), math.nan), r"a mask must lie in \[0, 1\], not '?nan to nan"),
    ],
)
def test_what_is_no_mask_is_refused(found: object, fault: str) -> None:
    with pytest.raises(OwnCodeError, match=fault.replace(", not '?", ".*")):
        check_range(check_shape(found, activations(), "mine.py:Mask"), "mine.py:Mask")


# -- the control ------------------------------------------------------------------------------------------------------


def spatial(channels: int = 5, seed: int = 0) -> Spatial:
    torch.manual_seed(seed)
    return Spatial(channels)


@pytest.mark.parametrize("size", [(15, 20), (1, 1), (3, 4)])
def test_spatial_attention_changes_nothing_at_the_start_to_the_bit(size: tuple[int, int]) -> None:
    features = torch.randn(2, 5, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(spatial()(features), features)


def test_spatial_attention_is_what_its_equation_says() -> None:
    module = spatial(channels=3)
    for parameter in module.parameters():
        parameter.data.mul_(0.5)
    stirred(module.mix)
    module = module.double()
    features = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(3)).double()
    given = features[0].numpy()
    unit = given / np.sqrt((given**2).sum(axis=0)) * math.sqrt(3)
    channels = []
    for (size, width), convolution in zip(KERNELS, module.convolutions, strict=True):
        weight, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
        for o in range(width):
            out = np.zeros((4, 5))
            for y, x, dy, dx in itertools.product(range(4), range(5), range(size), range(size)):
                row = min(max(y + dy - size // 2, 0), 3)
                column = min(max(x + dx - size // 2, 0), 4)
                out[y, x] += weight[o, :, dy, dx] @ unit[:, row, column]
            channels.append(np.maximum(0, out + bias[o]))
    mixed = module.mix.weight.detach().numpy()[0, :, 0, 0]
    logits = np.einsum("k,kyx->yx", mixed, np.stack(channels)) + module.mix.bias.item()
    shares = np.vectorize(sigmoid)(logits)
    expected = given * shares / shares.max()
    assert np.allclose(module(features)[0].detach().numpy(), expected, atol=1e-9)
    assert shares.min() < 0.9 * shares.max()


@pytest.mark.parametrize("size", [(15, 20), (20, 15)])
def test_every_column_of_the_features_reaches_the_factor(size: tuple[int, int]) -> None:
    module = spatial()
    stirred(module.mix)
    features = torch.randn(1, 5, *size, generator=torch.Generator().manual_seed(0))
    before = module.factor(features)
    for column in range(size[1]):
        changed = features.clone()
        changed[..., column] = -changed[..., column]
        assert not torch.allclose(module.factor(changed), before, atol=1e-4), column


def test_attention_moves_the_pooled_descriptor_and_is_not_divided_out_again() -> None:
    """The influence test of A0: order (a) passes it; with L2 at each place after A, as in published code, A cancels."""
    module = spatial()
    features = torch.rand(2, 5, 6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    stirred(module.mix)

    def descriptors(attended: Tensor) -> Tensor:
        return torch.nn.functional.normalize(attended.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3), dim=1)

    plain, moved = descriptors(features), descriptors(module(features))
    assert float((plain - moved).norm(dim=1).min().detach()) > 1e-3
    distance = (moved[0] - moved[1]).norm()
    of_features, of_mix = torch.autograd.grad(distance, [features, module.mix.weight])
    assert float(of_mix.norm()) >= 1e-3 * float(of_features.norm())
    theirs = descriptors(torch.nn.functional.normalize(module(features), dim=1))
    assert torch.allclose(theirs, descriptors(torch.nn.functional.normalize(features, dim=1)), atol=1e-6)
