"""The contract of attention, measured: five numbers of a built-in one (methods.md, A0).

Nothing in here names a word of the registry: what is added later is asked the same.
"""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin

import numpy as np
import torch
from torch import Tensor, nn

from vprdist.network.batch_norm import BATCH_NORM
from vprdist.network.model import PlaceNetwork, build_network, set_mode
from vprdist.spec.doors import AggregatorName, AttentionName
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import Digests, TrialSpec

WORDS = sorted(word for word in AttentionName.door.built_in if word != "none")
DIGESTS = Digests(dataset="d", cache="c", weights="none")
SIZES = ((15, 20), (20, 15))
CHANNELS = 32
SIZE = (96, 128)
"""The pictures (height, width)."""
GEM = AggregatorName.of("gem")
WIDE = 128
"""So many that no bottleneck is dead behind its ReLU, where a column would count for nothing."""


@dataclass(frozen=True)
class Case:
    """A word with parameters beside it."""

    word: str
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def title(self) -> str:
        return " ".join([self.word, *(f"{name}={value}" for name, value in self.parameters)])

    @property
    def given(self) -> dict[str, Any]:
        return dict(self.parameters)

    def spec(
        self, at: str | tuple[str, ...] = "layer3", unfreeze: str = "all", aggregator: AggregatorName = GEM
    ) -> NetworkSpec:
        chosen = AttentionName.of(self.word, at=(at,) if isinstance(at, str) else at, **self.given)
        return plain_spec(unfreeze, chosen, aggregator)

    def network(
        self, at: str | tuple[str, ...] = "layer3", unfreeze: str = "all", aggregator: AggregatorName = GEM
    ) -> PlaceNetwork:
        """A ResNet-18 with it, from a seed."""
        return network_of(self.spec(at, unfreeze, aggregator))

    def module(self, channels: int = CHANNELS) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            chosen = AttentionName.of(self.word, **self.given)
            made: nn.Module = chosen.make(channels=channels)
        return Multiplied(made) if chosen.fact("answers") == "factor" else made


class Multiplied(nn.Module):
    """Features to features, of attention that answers with a factor of each place."""

    def __init__(self, factor: nn.Module) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features_BChw: Tensor) -> Tensor:
        out: Tensor = features_BChw * self.factor(features_BChw)
        return out


def plain_spec(unfreeze: str, attention: AttentionName, aggregator: AggregatorName) -> NetworkSpec:
    given = {"attention": attention, "aggregator": aggregator}
    return NetworkSpec(backbone="resnet18", unfreeze=unfreeze, weights="none", **given)


def network_of(spec: NetworkSpec) -> PlaceNetwork:
    trial = TrialSpec(network=spec, train={"image_size": SIZE}, evaluate={"image_size": SIZE})
    return build_network(trial.resolved(DIGESTS), None)


def plain_network(unfreeze: str = "all") -> PlaceNetwork:
    return network_of(plain_spec(unfreeze, AttentionName.of("none"), GEM))


def words_of(word: str) -> Iterator[tuple[str, str]]:
    """Parameters whose values are words, with each word that they may have and that is not the default."""
    for name, field in AttentionName.door.built_in[word].parameters.model_fields.items():
        if get_origin(field.annotation) is Literal:
            yield from ((name, each) for each in get_args(field.annotation) if each != field.default)


def cancels(case: Case) -> bool:
    """Whether it is in the order as published, in which the features' norm divides attention out again."""
    return case.given.get("order") == "published"


CASES = [case for word in WORDS for case in (Case(word), *(Case(word, (pair,)) for pair in words_of(word)))]
IDENTITY = [case for case in CASES if case.given.get("start") != "published" and not cancels(case)]


def pictures(count: int = 4) -> Tensor:
    """(count, 3, 96, 128) uint8 pictures, of blocks: places differ."""
    blocks = torch.rand(count, 3, 6, 8, generator=torch.Generator().manual_seed(0)) * 255
    return nn.functional.interpolate(blocks, scale_factor=16).to(torch.uint8)


def features(size: tuple[int, int], count: int = 2, channels: int = CHANNELS, seed: int = 0) -> Tensor:
    """Features as they are behind a ReLU: half of them zero."""
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed)).relu()


def shake(module: nn.Module, seed: int) -> None:
    """Other parameters, far from where they begin: another attention of the same kind."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        size = 1 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.5
        parameter.data += (size * noise if parameter.ndim else 0.5 + noise.abs()).to(parameter.dtype)


@torch.no_grad()
def identity(case: Case) -> float:
    """The largest difference of a descriptor to the plain network's, in training mode and in evaluation mode."""
    largest = 0.0
    for training in (False, True):
        plain, ours = plain_network(), case.network()
        for each in (plain, ours):
            set_mode(each, "sync", training)
        largest = max(largest, float((ours(pictures(2)) - plain(pictures(2))).abs().max()))
    return largest


class Influence(NamedTuple):
    """Attributes:
    moved: how far another attention moves a descriptor, at least.
    share: the norm of a pair distance's gradient to the logits, as a share of that to the features, at least.
    """

    moved: float
    share: float


def moved(network: PlaceNetwork) -> float:
    """How far another attention moves a descriptor, at least."""
    (module,) = network.eval().attention.values()
    start, found = copy.deepcopy(module.state_dict()), list[Tensor]()
    for seed in (1, 2):
        module.load_state_dict(start)
        shake(module, seed)
        with torch.no_grad():
            found.append(network(pictures(2)))
    return float((found[0] - found[1]).norm(dim=1).min())


def influence(case: Case) -> Influence:
    network = case.network()
    far = moved(network)
    ((at, module),) = network.attention.items()
    held = dict[str, Tensor]()

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, answer: Tensor) -> None:
            answer.retain_grad()
            held[name] = answer

        return hook

    logits = tuple(module.logits)
    assert logits, "it must name the layers that answer with its logits: `logits = (…)` in the body of its class"
    for name in logits:
        module.get_submodule(name).register_forward_hook(keep(name))
    network.units[at].register_forward_hook(keep("features"))
    first, second = network(pictures(2))
    (first - second).norm().backward()
    norms = {name: float(held[name].grad.norm()) for name in (*logits, "features")}  # type: ignore[union-attr]
    return Influence(far, min(norms[name] for name in logits) / norms["features"])


@torch.no_grad()
def shape(case: Case, module: nn.Module | None = None, sizes: Sequence[tuple[int, int]] = SIZES) -> float | None:
    """How much a change of one column changes what is pooled over all places, at least; None: nothing is.

    What is pooled is whatever answers of a layer with parameters have one place where the features have many.
    """
    module = case.module(WIDE) if module is None else module
    shake(module.eval(), 1)
    seen: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, _: Any, answer: Tensor) -> None:
        if answer.ndim == 2 or answer.shape[2:].numel() == 1:
            seen[layer] = answer

    for layer in module.modules():
        if not list(layer.children()) and list(layer.parameters()):
            layer.register_forward_hook(keep)
    changes = []
    for size in sizes:
        plain = features(size, channels=WIDE)
        answer = module(plain)
        assert answer.shape == plain.shape
        before = dict(seen)
        for column in range(size[1]):
            other = plain.clone()
            other[:, :, :, column] += 1.0
            assert not torch.equal(module(other)[..., column], answer[..., column])
            changes += [float((seen[layer] - before[layer]).abs().max()) for layer in before]
    return min(changes, default=None)


@torch.no_grad()
def slow(case: Case) -> tuple[float, float]:
    """The largest difference to the loop of `slowly`, as a share of the largest answer: in float32, in float64."""
    loop = importlib.import_module(f"tests.network.slowly.{case.word}").slowly
    out = []
    for kind in (torch.float32, torch.float64):
        module, given = case.module().to(kind).eval(), features((5, 6)).to(kind)
        shake(module, 1)
        _shake_statistics(module)
        expected: np.ndarray = loop(module, given)
        difference = module(given).double().numpy() - expected
        out.append(float(np.abs(difference).max() / np.abs(expected).max()))
    return out[0], out[1]


def _shake_statistics(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    for layer in module.modules():
        if isinstance(layer, BATCH_NORM):
            layer.running_mean.copy_(torch.randn(layer.num_features, generator=generator) / 10)  # type: ignore[union-attr]
            layer.running_var.copy_(0.5 + torch.rand(layer.num_features, generator=generator))  # type: ignore[union-attr]


class Frozen(NamedTuple):
    """Attributes:
    trained: the weights of attention that moved, as a share of all.
    frozen: the parameters and BatchNorm statistics of frozen units that moved.
    """

    trained: float
    frozen: int


def frozen(case: Case, mode: Literal["frozen", "sync"], steps: int = 3) -> Frozen:
    """What some steps move where it stands behind a frozen unit, and behind a trained one.

    The first step moves what begins as zero, the second what is before that; one more for what is dead behind a ReLU.
    """
    network = case.network(("layer2", "layer4"), unfreeze="0-2")
    set_mode(network, mode, training=True)
    small = pictures()[:, :, ::2, ::2]
    before = copy.deepcopy(network.state_dict())
    trained = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3, eps=1e-12, fused=True)  # small gradients show as well
    for _ in range(steps):
        optimizer.zero_grad()
        found = network(small)
        (found[0] - found[1]).square().sum().backward()
        optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    weights = [f"attention.{name}" for name, each in network.attention.named_parameters() if each.ndim != 1]
    weights = [name for name in weights if ".taught." not in name]  # which nothing here teaches
    still = [f"units.{name}." for name in network.units if name not in network.trained]
    wrong = [name for name in changed if name.startswith(tuple(still))]
    return Frozen(sum(name in changed for name in weights) / len(weights), len(wrong))
