"""A user's own classes of network and loss, those from elsewhere, and aggregators that are made to fit the features are
tried before anything is submitted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from vprdist.errors import OwnCodeError
from vprdist.launch.warm import run_module
from vprdist.prepare.remembered import is_built_in, remember, remembered
from vprdist.spec.trial import TrialSpec

TRIER = "vprdist.training.try_out"


def _anywhere(place: int) -> AbstractContextManager[None]:
    return nullcontext()


def try_own_code(trials: Iterable[TrialSpec], at: Callable[[int], AbstractContextManager[None]] = _anywhere) -> None:
    """Every different network and loss with a class of a user's own, or from elsewhere, answers as its kind must; an
    aggregator that asks what features there are can be made of them.

    It takes some seconds, in a process of its own; nothing for trials without such, nor where built-in classes fitted
    before.

    Args:
        at: what is wrong with a trial, by its place among them, is raised inside.

    Raises:
        OwnCodeError: one of them cannot be made or called, or returns another shape or dtype, or does not fit.
    """
    each, places = dict[str, TrialSpec](), list[int]()
    for place, trial in enumerate(trials):
        network, loss = trial.network, trial.train.loss
        asked = trial.own_code or network.backbone.fact("elsewhere") or network.aggregator.fact("asks")
        asked = asked or (loss.fact("elsewhere") and trial.train.steps)
        if asked and (key := _key(trial)) not in each and not (is_built_in(trial) and remembered(TRIER, key)):
            each[key] = trial
            places.append(place)
    if not each:
        return
    order = json.dumps([trial.to_json() for trial in each.values()])
    done = run_module(TRIER, (), order)
    answer = done.stdout.strip()
    if done.returncode or not answer:
        tried = [named.name for trial in each.values() for named in trial.own_code.values()]
        chosen = [named for trial in each.values() for named in (trial.network.backbone, trial.train.loss)]
        tried += [named.title for named in chosen if named.fact("elsewhere")]
        fitted = [trial.network.aggregator for trial in each.values()]
        tried += [named.title for named in fitted if named.fact("asks")]
        names = ", ".join(sorted(set(tried)))
        last = done.stderr.strip()[-400:]
        raise OwnCodeError(names, "the process that tries these died", last, "Mend them, or try them alone.")
    refused = json.loads(answer)
    if refused is not None:
        with at(places[refused["trial"]]):
            raise OwnCodeError.from_json(refused)
    for key, trial in each.items():
        if is_built_in(trial):
            remember(TRIER, key, True)


def _key(trial: TrialSpec) -> str:
    """What a try depends on."""
    network = trial.network.model_copy(update={"weights": "none"})
    train = trial.train
    values = [
        train.loss.model_dump(mode="json"),
        trial.evaluate.rerank.model_dump(mode="json"),
        trial.picture_size,
        trial.evaluate.image_size,
        train.steps > 0,
        train.batch_norm,
        train.counts_all_pairs,
        train.precision,
    ]
    given = trial.input
    maps = given.map_names if (given.needs_cache and not given.uses_mask) or trial.taught else ()
    first = given.class_names if given.starts_from_classes else ()
    shown = [given.mode, given.at_features, given.learnt.model_dump(mode="json"), maps, first]
    return json.dumps([network.model_dump(mode="json"), shown, values], default=str)
