"""A planted truth in several forms of the mask: what a sweep says from its file to its report, of a small demo city.

`tests/benchmarks/forms_on_demo_city.py` has every form, more worlds, and worlds without a truth.
"""

from __future__ import annotations

import pytest

from tests.planting import PLAYERS, TRUTH, attributed, sweep_of
from vprdist.attribution.verdict import verdicts


@pytest.mark.slow
def test_a_planted_carrier_is_found_at_the_picture_and_at_the_features(tmp_path):
    rows = []
    for form, how in (("black", "each"), ("features", "pooled")):
        sweep = sweep_of(tmp_path, form, {"planted": TRUTH}, [], how)
        rows.append(attributed(sweep, tmp_path / "runs").settings[0])
    for row in rows:
        assert {player.player for player in row.players} == set(PLAYERS)
        assert row.is_fixed and row.num_queries == 128
        claims = {player.player: player.claim for player in row.players}
        assert claims["building"] != "lowers" and claims["traffic"] != "raises", "noise tells nothing"
    black = rows[0].players[0]
    assert (black.player, black.claim) == ("building", "raises"), "it adds most, and more than chance"
    assert {row.player: row.verdict for row in verdicts(rows)}["building"] in ("raises", "depends")
