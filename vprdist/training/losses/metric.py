"""Losses, miners and distances of pytorch-metric-learning by their names (extra `metric`).

The library asks for labels of places; we have graded similarities, which no label can say. So a miner is asked of one
query at a time, with those partners alone that are positives or negatives of it, and a loss is given what was mined as
index tuples, with queries as anchors and partners as references.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor, nn

from vprdist.data.kinds import POSITIVE_SIMILARITY
from vprdist.errors import OwnCodeError, first_line, nearest
from vprdist.training.losses.base import BatchLoss

KEY = "trial.train.loss"
Indices = tuple[Tensor, ...]
"""Pairs are anchors, their positives, anchors, their negatives; triplets are anchors, positives, negatives."""


class MetricLoss(BatchLoss):
    """A loss of the library, with a miner of it or without, and with a distance of it or the usual one.

    Without a miner every positive (similarity of 0.5 and more) and every negative (0) counts. A miner sees one query at
    a time: where it takes a share of all pairs, it takes that share of each query's.

    Args:
        loss, miner, distance: names of the library's classes; miner and distance may be left out.
        arguments, miner_arguments, distance_arguments: keywords of these classes.

    Raises:
        OwnCodeError: no such class or argument; or one that does not go with graded similarities, learns something by
            itself, keeps what it saw or draws at random, which no resumed run could repeat.
    """

    wants = "all"
    draws = (1.0, 0.0, 0.0)
    labels = "fov"

    def __init__(
        self, loss: str, arguments: Mapping[str, Any], miner: str | None = None,
        miner_arguments: Mapping[str, Any] | None = None, distance: str | None = None,
        distance_arguments: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        shared = {}
        if distance is not None:
            shared["distance"] = _made(distances, "distance", distance, distance_arguments or {})
        self.name, self.miner_name = loss, miner
        self.loss = _made(losses, "loss", loss, arguments, **shared)
        self.miner = None if miner is None else _made(miners, "miner", miner, miner_arguments or {}, **shared)
        if learnt := next((name for name, _ in self.loss.named_parameters()), None):
            raise _refused("loss", loss, "the loss cannot have parameters of its own, which nobody trains", learnt)
        self._try()

    def __call__(
        self, query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, and how many pairs or triplets it was given; 0 where a batch gives none of one kind."""
        found = self._mined(query_ND, partner_MD, similarity_NM)
        names = ("triplets",) if len(found) == 3 else ("positives", "negatives")
        counts = {name: torch.tensor(float(len(each))) for name, each in zip(names, found[::2], strict=False)}
        value = (query_ND.sum() + partner_MD.sum()) * 0  # gradients flow through it whatever was found
        if all(map(len, found)):
            value = value + self.loss(query_ND, indices_tuple=found, ref_emb=partner_MD)
        return value, counts

    def _mined(self, query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor) -> Indices:
        """Index tuples of what counts."""
        positive_NM, negative_NM = similarity_NM >= POSITIVE_SIMILARITY, similarity_NM == 0
        if self.miner is None:
            return (*torch.where(positive_NM), *torch.where(negative_NM))
        parts = list[Indices]()
        for anchor in range(len(query_ND)):
            kept = torch.where(positive_NM[anchor] | negative_NM[anchor])[0]
            is_positive = positive_NM[anchor, kept].long()
            mined = self.miner(query_ND[anchor : anchor + 1], is_positive.new_ones(1), partner_MD[kept], is_positive)
            anchors = (0,) if len(mined) == 3 else (0, 2)
            parts.append(tuple(each + anchor if at in anchors else kept[each.long()] for at, each in enumerate(mined)))
        return tuple(torch.cat(each).long() for each in zip(*parts, strict=True))

    def _try(self) -> None:
        """Use it once on a made-up batch, in which places of positives are no places of queries.

        Raises:
            OwnCodeError: see the class.
        """
        generator = torch.Generator().manual_seed(0)
        query, partner = (nn.functional.normalize(torch.randn(num, 8, generator=generator), dim=1) for num in (4, 12))
        similarity = torch.eye(4, 12) * 0.3
        similarity[:, 4:] = torch.eye(4).repeat_interleave(2, dim=1) * 0.8
        with torch.random.fork_rng(devices=[]):
            before = torch.get_rng_state()
            self._try_miner(query, partner, similarity)
            value, again = (self._value(query, partner, similarity) for _ in range(2))
            drew = not torch.equal(before, torch.get_rng_state())
        named = ("miner", self.miner_name) if self.miner_name and drew else ("loss", self.name)
        if drew:
            raise _refused(*named, "this cannot draw at random, which no resumed run could repeat")
        if value != again:
            raise _refused(*named, "the loss cannot keep what it saw, which no resumed run could repeat")
        swapped = torch.where(similarity == 0, 0.8, torch.where(similarity >= POSITIVE_SIMILARITY, 0.0, similarity))
        if value == self._value(query, partner, swapped) != 0:
            raise _refused(*named, "the loss does not ask which pairs are positive")

    def _try_miner(self, query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor) -> None:
        if self.miner_name is None:
            return
        fault = "this miner cannot be asked of queries and their partners"
        try:
            found = self._mined(query_ND, partner_MD, similarity_NM)
        except Exception as error:
            raise _refused("miner", self.miner_name, fault, f"{type(error).__name__}: {first_line(error)}") from None
        wrong = (similarity_NM[found[0], found[1]] < POSITIVE_SIMILARITY).any()
        if wrong or (similarity_NM[found[-2 if len(found) == 4 else 0], found[-1]] != 0).any():
            raise _refused("miner", self.miner_name, fault, "pairs that are none")

    def _value(self, query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor) -> float:
        try:
            return float(self(query_ND, partner_MD, similarity_NM)[0])
        except Exception as error:
            fault = "this loss cannot be given positives and negatives by graded similarities"
            raise _refused("loss", self.name, fault, f"{type(error).__name__}: {first_line(error)}") from None


def _made(module: ModuleType, kind: str, name: str, arguments: Mapping[str, Any], **more: Any) -> Any:
    """An object of one of the library's classes.

    Raises:
        OwnCodeError: there is no such class, or it does not take the arguments.
    """
    every = {each: found for each, found in vars(module).items() if inspect.isclass(found)}
    known = {each: found for each, found in every.items() if issubclass(found, nn.Module) and each[:4] != "Base"}
    if name not in known:
        raise OwnCodeError(f"{KEY}.{kind}", f"pytorch-metric-learning has no such {kind}", name, nearest(name, known))
    plain = [
        each
        for base in inspect.getmro(known[name])
        if base.__module__.startswith(distances.__name__.partition(".")[0])
        for each, parameter in inspect.signature(base).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    key = f"{KEY}.{'' if kind == 'loss' else f'{kind}_'}arguments"
    if unknown := next((each for each in arguments if each not in plain), None):
        raise OwnCodeError(f"{key}.{unknown}", f"{name} has no such argument", unknown, nearest(unknown, plain))
    try:
        return known[name](**arguments, **more)
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise OwnCodeError(key, f"{name} cannot be made", said, "Change its arguments.") from None


def _refused(kind: str, name: str, fault: str, found: str | None = None) -> OwnCodeError:
    return OwnCodeError(f"{KEY}.{kind}: {name}", fault, found, "Choose another, or write your own: path/file.py:Name.")
