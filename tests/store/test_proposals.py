"""`proposals.jsonl` as drivers write it and as others look at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.files import append_json_line, canonical_json
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.proposals import Proposals, is_searched, networks, proposals_path, stopped

ARMS = {"train.arms": {"players": [["sky"], ["pole"]]}}


def resolve(point: dict[str, object]) -> TrialSpec:
    return TrialSpec(seed=int(str(point.get("seed", 0)))).resolved(Digests(dataset="d", cache=None, weights="w"))


def test_a_sweep_without_the_file_is_not_searched(tmp_path: Path) -> None:
    assert not is_searched(tmp_path)
    assert stopped(tmp_path) == networks(tmp_path) == {}


def test_others_see_what_the_driver_wrote(tmp_path: Path) -> None:
    book = Proposals(proposals_path(tmp_path), resolve, "recall@1")
    book.stop("abc", 7, 0.25)
    assert not is_searched(tmp_path), "a scheduler alone proposes nothing"
    first, network = book.propose({"seed": 1}), book.propose({"seed": 2, **ARMS})
    assert is_searched(tmp_path)
    assert {trial: (row["step"], row["value"]) for trial, row in stopped(tmp_path).items()} == {"abc": (7, 0.25)}
    assert networks(tmp_path) == {canonical_json(network.point): network.trial_id}
    again = Proposals(book.path, resolve, "recall@1")
    again.read()
    assert again.known == [first, network] and again.stopped == stopped(tmp_path)


@pytest.mark.parametrize(
    "row", [{}, {"kind": "renamed", "trial": "x"}, {"kind": "proposed", "point": {}}, {"kind": "stopped"}]
)
def test_a_row_of_another_form_counts_for_nothing(tmp_path: Path, row: dict[str, object]) -> None:
    append_json_line(proposals_path(tmp_path), row)
    assert not is_searched(tmp_path)
    assert stopped(tmp_path) == networks(tmp_path) == {}
    book = Proposals(proposals_path(tmp_path), resolve, "recall@1")
    book.read()
    assert book.known == [] and book.stopped == {}
