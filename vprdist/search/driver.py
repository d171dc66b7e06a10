"""Ray Tune proposes, the dispatcher runs, the folders remember."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from vprdist.launch.dispatcher import Dispatcher
from vprdist.search.book import Book, Outcome, Wanted
from vprdist.search.leaving import interruptible
from vprdist.search.ray_contract import check_ray
from vprdist.search.session import Session
from vprdist.search.view import NoView, View
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.search import SearchSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.proposals import Proposals

GRID = SearchSpec()


def run_search(
    trials: Sequence[TrialSpec],
    *,
    sweep_name: str,
    objective: str,
    profile: ClusterProfile,
    runs: Path,
    view: View | None = None,
    job: str | None = None,
    search: SearchSpec = GRID,
    proposals: Proposals | None = None,
    only: frozenset[str] | None = None,
    wanted: Wanted | None = None,
    given_up: frozenset[str] = frozenset(),
    asked_at: float = math.inf,
) -> Outcome:
    """Run every trial that has no result yet, and gather the results of all.

    Args:
        trials: resolved trials; the same id twice runs once. A searcher proposes its own: none are given.
        sweep_name: for messages.
        objective: the metric that Tune's searchers and schedulers look at.
        profile: where jobs run, and how many at once.
        runs: the folder that holds `trials/`.
        view: shown while it runs.
        job: `module:function` that each rank calls; None: what each trial says.
        search: the searcher and the scheduler.
        proposals: their memory; needed where there is one of them.
        only: ids of known trials: no other is run, and none is proposed.
        wanted: the rule of a search of subsets.
        given_up: ids of trials that failed a moment ago, in the same run of the driver: they are not tried again.
        asked_at: Unix time; nor are those that failed since then (`launch.driver_job.asked_at`).

    Raises:
        SearchInterrupted: at Ctrl-C or SIGTERM; jobs go on.
        LaunchError: nothing can be submitted, a folder is broken, or the installed Ray is not one that is known.
    """
    book = Book(runs, trials, search, proposals, only, wanted, objective)
    pending, unended = book.pending(), book.unended
    more = bool(pending) or book.wants_more
    if more:
        check_ray()
    if more or unended:
        shown = view or NoView()
        with (
            Dispatcher(profile, runs, job, all_at_once=not search.follows) as dispatcher,
            shown.live(book.folders, dispatcher.phases, dispatcher.waits),
        ):
            for trial_id in unended:
                dispatcher.cancel(trial_id)
            if not more:
                return book.outcome()
            retired = (i for i in pending if i not in given_up)
            dispatcher.retire_failures(retired, before=asked_at, unreadable=only is not None)
            with interruptible(sweep_name, dispatcher) as interrupted:
                Session(dispatcher, book, shown, interrupted).run(objective)
    return book.outcome()
