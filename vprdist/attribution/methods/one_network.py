"""One network for all subsets: its probes, and the finalists that were trained alone."""

from __future__ import annotations

from vprdist.attribution.finished import Finished
from vprdist.attribution.from_probes import network_setting
from vprdist.probes.make import order_of
from vprdist.search.subset_rule import network_point
from vprdist.spec.attribution import SettingRow
from vprdist.store.trial_folder import TrialFolder


def told(finished: Finished) -> SettingRow | None:
    """What the probes of one setting's networks say; None while no network has a result."""
    sweep, setting, result_of, runs = finished.sweep, finished.setting, finished.result_of, finished.runs
    rows = [result_of(network_point(sweep, setting, seed)) for seed in sweep.seeds]
    networks = [row for row in rows if row is not None]
    if not networks:
        return None
    orders = [order_of(sweep, setting, TrialFolder.of(runs, row.trial_id)) for row in networks]
    return network_setting(sweep, finished.family[0], setting, networks, orders, result_of, runs, finished.keep)
