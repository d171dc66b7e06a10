"""What a network costs: its parameters and multiply-adds, and how fast it trains here.

It is `python -m vprdist.training.measure [--pace]`.

Trials come as a JSON list on standard input; for each a line of JSON comes on standard output, `Cost.to_json` or the
arguments of an error. A process of its own, since it loads torch, which a driver never does.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vprdist.distributed.ranks import device_name, pick_device
from vprdist.errors import UserError
from vprdist.machine import answers, keep_stdout_for_answers, kept_memory
from vprdist.network.batch import Batch, Described
from vprdist.network.model import PlaceNetwork, build_network, set_mode
from vprdist.spec.trial import TrialSpec
from vprdist.training.losses import build_loss
from vprdist.training.made_up import made_up, taught_by
from vprdist.training.objective import drawn_pairs, every_pair, whole_batch
from vprdist.training.optimizer import build_optimizer

STEPS, ENOUGH_S = 3, 10.0
"""So many steps are timed after a first one, or as many as begin within these seconds."""


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters, trained: how many there are, and how many of them are trained.
        multiply_adds: those of convolutions, linear maps and the products of attention, for one picture; None: what
            the network computes with cannot be looked into.
        queries_per_s: with their partners, forward, backward and step, pictures in memory; None: not measured.
        device: where that was measured.
    """

    parameters: int
    trained: int
    multiply_adds: int | None
    queries_per_s: float | None = None
    device: str | None = None


def count(trial: TrialSpec) -> Cost:
    """Parameters and multiply-adds. Tensors without values do where they can; else the network is really run.

    Raises:
        UserError: the network cannot be built.
    """
    try:
        with torch.device("meta"):
            network = build_network(trial, None)
        with FakeTensorMode(allow_non_fake_inputs=True):
            state = {
                name: torch.empty(each.shape, dtype=each.dtype)
                for name, each in chain(network.named_parameters(), network.named_buffers())
            }
            return _counted(trial, network, state)
    except Exception:  # of somebody's own or elsewhere: one that looks at values
        return _counted(trial, build_network(trial, None), {})


@torch.no_grad()
def _counted(trial: TrialSpec, network: PlaceNetwork, state: dict[str, Tensor]) -> Cost:
    """Counts a network which has some state in the place of its own."""
    counter = FlopCounterMode(display=False)
    # The fused kernel of CPUs is not looked into; the plain one is made of products.
    with counter, sdpa_kernel(SDPBackend.MATH):
        functional_call(network.eval(), state, made_up(trial, 1))
    sizes = [(each.numel(), each.requires_grad) for each in network.parameters()]
    products = counter.get_total_flops() // 2
    return Cost(sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained), products or None)


def pace(trial: TrialSpec) -> float:
    """Queries a second, each with its partners, of whole steps: forward, backward, the optimizer's step.

    Raises:
        UserError: the network or the loss cannot be built.
    """
    device, spec = pick_device(0), trial.train
    network = build_network(trial, None).to(device)
    loss, optimizer = build_loss(spec), build_optimizer(spec, network)
    sides = [_side(device, trial, num) for num in (spec.micro_pairs, spec.micro_pairs * spec.num_partners)]
    set_mode(network, spec.batch_norm, training=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for _ in range(spec.batch_pairs // spec.micro_pairs):
            query, partner = _described(network, sides, joint=spec.batch_norm != "reference")
            beside = [each.mean() for side in (query, partner) for each in side.losses.values()]
            (_loss(trial, loss, query.descriptors, partner.descriptors) + sum(beside)).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with kept_memory(device.type):  # as trials are run
        step()
        begin, done = time.perf_counter(), 0
        while done < STEPS and (not done or time.perf_counter() - begin < ENOUGH_S):
            step()
            done += 1
        took = time.perf_counter() - begin
    return spec.batch_pairs * done / took


def _side(device: torch.device, trial: TrialSpec, num: int) -> Batch:
    images, extra = made_up(trial, num)
    images = images.to(memory_format=torch.channels_last)
    return Batch(images, extra, activations=taught_by(trial, num)).to(device)


def _described(network: PlaceNetwork, sides: list[Batch], joint: bool) -> list[Described]:
    """Both sides, in one pass or in two, as training has them (`loop._PairForward`)."""
    if not joint:
        return [network.described(*side.parts) for side in sides]
    first, second = sides
    both, num = network.described(*first.joined(second).parts), len(first.image)
    return [both.part(slice(num)), both.part(slice(num, None))]


def _loss(trial: TrialSpec, loss: Any, query_ND: Tensor, partner_MD: Tensor) -> Tensor:
    """The loss of a batch in which every second partner of a query is a positive, and all else a negative."""
    spec, num = trial.train, len(query_ND)
    own_NK = (torch.arange(len(partner_MD), device=query_ND.device) % 2 == 0).float().view(num, -1)
    if not spec.counts_all_pairs:
        return drawn_pairs(query_ND, partner_MD, own_NK, loss)[0] / len(partner_MD)
    similarity_NM = torch.block_diag(*own_NK)
    if spec.loss.fact("wants") == "all":
        return whole_batch(query_ND, partner_MD, similarity_NM, loss, spec.loss.name)[0]
    return every_pair(query_ND, partner_MD, similarity_NM, loss)[0]


def main(words: list[str]) -> int:
    """Returns the exit code: 0, whatever was found."""
    out = answers()
    for value in json.load(sys.stdin):
        trial = TrialSpec.model_validate_json(json.dumps(value))
        try:
            cost = count(trial)
            if "--pace" in words and trial.train.steps:
                cost = replace(cost, queries_per_s=pace(trial), device=device_name(pick_device(0)))
            said: dict[str, Any] = asdict(cost)
        except UserError as error:
            said = {"refused": error.to_json()}
        print(json.dumps(said), file=out, flush=True)
    return 0


if __name__ == "__main__":
    keep_stdout_for_answers()
    sys.exit(main(sys.argv[1:]))
