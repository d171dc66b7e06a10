"""A user's own classes and networks from elsewhere, tried before anything is submitted.

It is `python -m vprdist.training.try_out`.

Trials come as a JSON list on standard input; the answer is one line of JSON on standard output: null, or the arguments
of an error with the trial's place in the list. A process of its own, since it loads torch and runs a user's code, which
a driver never does.

The network describes two small batches and, where it is trained, the loss is taken of them, with its gradient: what
returns another shape or dtype, or breaks at the first call, is found here, and an aggregator that does not do with
weights and sums what it states (`try_weights`). What only shows in training ends the trial with the same kind of
message.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor

from vprdist.errors import OwnCodeError, UserError, WeightsError
from vprdist.evaluation.rerank.base import features_of, scored
from vprdist.machine import answers, keep_stdout_for_answers
from vprdist.network.batch import Batch
from vprdist.network.masks.base import check_range
from vprdist.network.model import PlaceNetwork, build_network, set_mode
from vprdist.network.parts import Shown, build_parts
from vprdist.network.weights import said_of
from vprdist.spec.doors import LossName
from vprdist.spec.own_load import blamed
from vprdist.spec.trial import TrialSpec
from vprdist.training.losses import build_loss
from vprdist.training.losses.distance import pair_distance
from vprdist.training.made_up import made_up, taught_by
from vprdist.training.objective import every_pair, whole_batch
from vprdist.training.try_weights import try_weights

NUM = 2
"""Pictures of each side: the fewest with pairs that overlap and pairs that do not."""


def try_out(trial: TrialSpec) -> None:
    """Build what the trial names, and use it once.

    Raises:
        UserError: a user's class, or a network from elsewhere, that cannot be made or called, or returns what its kind
            must not.
    """
    names = [named.name for named in trial.own_code.values()]
    try:
        _try_out(trial, names)
    except WeightsError as error:
        raise said_of(trial.network, error) from None


def _try_out(trial: TrialSpec, names: list[str]) -> None:
    asked = trial.evaluate.image_size
    if trial.train.steps and asked not in (None, trial.train.image_size) and trial.network.backbone.fact("elsewhere"):
        build_parts(trial.network, Shown(asked))  # `build_network` asks for pictures of the size that it trains on
    with blamed(*names, at_once=True):
        network = build_network(trial, None)
        set_mode(network, trial.train.batch_norm, training=True)
        query, partner = (_describe(trial, network, seed) for seed in (0, 1))
        if trial.train.steps or trial.train.loss.is_own:
            _try_loss(trial, build_loss(trial.train), query, partner)
    aggregator = trial.network.aggregator
    other = trial.evaluate.image_size
    if aggregator.fact("asks") and other is not None and other != trial.picture_size:
        set_mode(network, trial.train.batch_norm, training=False)
        with torch.no_grad():
            _describe(trial, network, 0, other)
    if aggregator.is_own:
        set_mode(network, trial.train.batch_norm, training=False)
        with blamed(*names, otherwise=aggregator.name, at_once=True):
            try_weights(network, *made_up(trial, NUM), aggregator)
    rerank = trial.evaluate.rerank
    if rerank.is_own:
        set_mode(network, trial.train.batch_norm, training=False)
        with blamed(*names, otherwise=rerank.name, at_once=True), torch.inference_mode():
            first, *others = features_of(network, Batch(*made_up(trial, NUM)))
            scored(rerank.make(), rerank, first, others)


def _describe(trial: TrialSpec, network: PlaceNetwork, seed: int, size: tuple[int, int] | None = None) -> Tensor:
    images, extra = made_up(trial, NUM, seed, size)
    mine = [trial.network.aggregator, trial.network.attention, trial.network.backbone, trial.input.learnt]
    with blamed(*(each.name for each in mine), otherwise=next((each.name for each in mine if each.is_own), None)):
        if network.mask is not None and extra is not None:
            check_range(network.mask(images, extra), trial.input.learnt.name)
        found: Any = network.described(images, extra, None, taught_by(trial, NUM, seed, size)).descriptors
    wanted = (NUM, network.dimensions)
    if not isinstance(found, Tensor) or tuple(found.shape) != wanted or found.dtype != torch.float32:
        got = f"{tuple(found.shape)}, {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        fault = f"the network must answer {NUM} pictures with float32 descriptors, {wanted} as `dimensions` says"
        raise OwnCodeError(_culprit(trial), fault, got, "Mend the class, or its dimensions.")
    if not torch.isfinite(found).all():
        raise OwnCodeError(_culprit(trial), "a descriptor must be finite", str(found.detach()[0, :4].tolist()))
    return found


def _culprit(trial: TrialSpec) -> str:
    """The class, or the network, that descriptors come from."""
    named = trial.network.aggregator if trial.network.aggregator.is_own else trial.network.backbone
    return named.name if named.is_own else named.title


def _try_loss(trial: TrialSpec, loss: Any, query: Tensor, partner: Tensor) -> None:
    spec = trial.train.loss
    with blamed(spec.name, otherwise=spec.name if spec.is_own else None):
        _call_loss(spec, loss, query, partner)


def _call_loss(spec: LossName, loss: Any, query: Tensor, partner: Tensor) -> None:
    similarity = torch.tensor([[0.8, 0.0], [0.3, 0.5]])
    if spec.fact("wants") == "all":
        value, _ = whole_batch(query, partner, similarity, loss, spec.name)
    else:
        drawn = similarity.diagonal()
        losses = loss(pair_distance(query, partner), drawn)
        if not isinstance(losses, Tensor) or losses.shape != drawn.shape:
            got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            fault = f"a loss of pairs must answer with one number a pair, of shape {tuple(drawn.shape)}"
            raise OwnCodeError(spec.name, fault, str(got), "Do not take the mean: vprdist does.")
        value, _ = every_pair(query, partner, similarity, loss)
    if value.requires_grad:
        value.backward()


def main() -> int:
    """Returns the exit code: 0, whatever was found."""
    refused = None
    for place, value in enumerate(json.load(sys.stdin)):
        try:
            try_out(TrialSpec.model_validate_json(json.dumps(value)))
        except UserError as error:
            refused = error.to_json() | {"trial": place}
            break
    print(json.dumps(refused), file=answers(), flush=True)
    return 0


if __name__ == "__main__":
    keep_stdout_for_answers()
    sys.exit(main())
