"""The parts of a model of timm's that `unfreeze: X-Y` counts: its stem, then each stage or block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.errors import SweepFileError

Grouping = Callable[[Any, Any], Mapping[int, Sequence[str]]]
UNMATCHED = "\0"
"""A name that no expression of a matcher's finds."""
KEY = "trial.network.unfreeze"


class Parts:
    """State names of a model by part, input side first.

    timm's own groups (`group_matcher`, coarse: stages of a convolutional network, blocks of a transformer) are parts.
    What it gives no group, a last norm, is counted with the last part, and with the stem where it is called before
    the first block. What no answer depends on, such as the norm of a head, is in no part, and never trained.

    Args:
        unit: calls the model, its `net`.
        size: (height, width) of a picture that it takes.
        grouping: timm's `group_parameters`.
    """

    def __init__(self, unit: nn.Module, size: tuple[int, int], grouping: Grouping) -> None:
        self.net: Any = unit.net
        called, self.unused = _looked(unit, size)
        self.names = _grouped(self.net, grouping)
        if len(self.names) > 2:
            self._move_early(called)

    def held(self, unfreeze: str | Sequence[str], title: str) -> set[str]:
        """The state names that stay as they are.

        Raises:
            SweepFileError: the model has fewer parts than are to be trained, or timm tells none.
        """
        everything = list(self.net.state_dict())
        if not isinstance(unfreeze, str) or unfreeze == "all":
            return set(self.unused)
        first, _, last = (int(each) if each.isdecimal() else each for each in unfreeze.partition("-"))
        count = len(self.names)
        if not count:
            fault = f"timm does not tell what the parts of {title} are, which X-Y counts"
            raise SweepFileError(KEY, fault, unfreeze, "Use all, or steps: 0.")
        if int(first) + int(last) > count:
            fault = (
                f"impossible layer set: X-Y trains X input-side and Y output-side parts, and {title} has no more than "
                f"{count}, its stem and {count - 1} stages or blocks"
            )
            raise SweepFileError(KEY, fault, unfreeze, f"Use 0-{count} or less, or all.")
        trained = {*_flat(self.names[: int(first)]), *_flat(self.names[count - int(last) :])}
        return {name for name in everything if name not in trained} | self.unused

    def _move_early(self, called: Sequence[str]) -> None:
        """Count with the stem what is used before the first block: the model's own tokens, and norms in front."""
        first = {name.rpartition(".")[0] for name in self.names[1]}
        before = {"", *called[: next((at for at, each in enumerate(called) if each in first), None)]}
        for group in self.names[2:]:
            early = [name for name in group if name.rpartition(".")[0] in before]
            group[:] = [name for name in group if name not in early]
            self.names[0] += early


def _flat(groups: Iterable[Iterable[str]]) -> list[str]:
    return [name for group in groups for name in group]


class _State:
    """A model's whole state in the form in which timm's grouping asks for parameters."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = names

    def named_parameters(self) -> list[tuple[str, None]]:
        return [(name, None) for name in self.names]


def _grouped(net: Any, grouping: Grouping) -> list[list[str]]:
    """timm's groups; none where it tells none."""
    try:
        matcher = net.group_matcher(coarse=True)
    except (AttributeError, NotImplementedError, AssertionError):
        return []
    names = [*net.state_dict(), *([] if callable(matcher) else [UNMATCHED])]
    found = grouping(_State(names), matcher)
    groups = [list(found[number]) for number in sorted(found)]
    if UNMATCHED in groups[-1] and len(groups) > 1:
        groups[-2:] = [groups[-2] + groups[-1]]
    return [[name for name in group if name != UNMATCHED] for group in groups]


def _looked(unit: nn.Module, size: tuple[int, int]) -> tuple[list[str], set[str]]:
    """The modules in the order in which they are called, and the parameters that no answer depends on.

    It is done without numbers (torch's device `meta`), which costs nothing; with them where a model cannot.
    """
    for device in ("meta", "cpu"):
        called = list[str]()
        hooks = [
            module.register_forward_pre_hook(lambda module, given, name=name, into=called: into.append(name))
            for name, module in unit.net.named_modules()  # type: ignore[union-attr]
        ]
        training = unit.training
        try:
            return called, _unused(unit.eval(), size, device)
        except (RuntimeError, NotImplementedError, TypeError, ValueError):
            if device == "cpu":
                raise
        finally:
            unit.train(training)
            for hook in hooks:
                hook.remove()
    raise AssertionError("one of the two returns")


def _unused(unit: nn.Module, size: tuple[int, int], device: str) -> set[str]:
    parameters = {
        name: torch.empty_like(each, device=device) if device == "meta" else each.detach().clone()
        for name, each in unit.named_parameters()
    }
    buffers = {name: each.to(device) for name, each in unit.named_buffers()}
    for each in parameters.values():
        each.requires_grad_()
    picture = torch.zeros(1, 3, *size, device=device)
    with torch.enable_grad():
        found: Any = torch.func.functional_call(unit, {**parameters, **buffers}, (picture,))
        answers: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
        total = torch.stack([each.sum() for each in answers]).sum()
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    unused = (name for name, each in zip(parameters, gradients, strict=True) if each is None)
    return {name.removeprefix("net.") for name in unused}
