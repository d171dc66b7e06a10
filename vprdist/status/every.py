"""The facts of all trials of a sweep: finished ones from its index, as long as their files are as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vprdist import files, store
from vprdist.status.facts import Facts, Queue, read_facts
from vprdist.status.find import Sweep
from vprdist.store.index import Index, stamp_of

LEAST = 50
"""Finished trials below which a sweep has no index."""
CODE = (Path(__file__).parent, Path(store.__file__).parent, Path(files.__file__))
"""All that reads a trial's folder for status."""


def facts_of(sweep: Sweep, queue: Queue, stopped: Mapping[str, Mapping[str, Any]], now: float) -> list[Facts]:
    """As `read_facts` of each trial, in the order of the sweep.

    Args:
        stopped: what a scheduler stopped early, by trial id.
        now: Unix time.
    """
    index = Index(sweep.folder, Facts, sweep.objective, CODE)
    found = []
    for trial, folder in sweep.trials.items():
        facts = index.told(folder)
        if facts is None:
            stamp = stamp_of(folder)
            facts = read_facts(folder, sweep.names[trial], sweep.objective, queue, stopped, now)
            if facts.state == "done" and not facts.why:
                index.keep(folder, stamp, facts)
        elif facts.name != sweep.names[trial]:
            facts = replace(facts, name=sweep.names[trial])
        found.append(facts)
    index.write(LEAST)
    return found
