"""A finished trial's network is asked again, under whatever protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from vprdist.data.pack.use import settled_pack
from vprdist.data.tasks import Task
from vprdist.data.unchanged import check_unchanged
from vprdist.distributed.ranks import join
from vprdist.distributed.world import World
from vprdist.evaluation.evaluate import Evaluation, Extra, evaluate
from vprdist.evaluation.measure import Answers
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.checks import check_computation
from vprdist.training.run import whitening_cities
from vprdist.training.trained import trained_network


def from_trial(
    folder: TrialFolder, bar: Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
) -> Answers:
    """The network that a trial left answers.

    Args:
        bar: opens a progress bar with a title.
    """

    def answer(trial: TrialSpec, tasks: Sequence[Task], extra: Extra) -> tuple[Evaluation, Sequence[str]]:
        check_computation(trial)
        training = whitening_cities(trial)
        asked, said = settled_pack(trial, [*(task.city.name for task in tasks), *(city.name for city in training)])
        notes = [*said, *check_unchanged(trial.data, [task.city.name for task in tasks], folder.path.parents[1])]
        with join(World(), folder.rendezvous_file) as ranks, bar("descriptors") as advance:
            network = trained_network(folder.trial(), folder.path).to(ranks.device)
            found = evaluate(
                network,
                asked,
                tasks,
                ranks,
                lambda _, done, total: advance(done, total),
                training=training,
                extra=extra,
            )
        assert found is not None, "there is one rank"
        return found, notes

    return Answers(answer, knows_size=True)
