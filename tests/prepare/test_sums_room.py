"""Sums that do not fit the disk are refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.probing import SWEEP
from tests.training.making import make_cache
from vprdist.data.tasks import tasks_of
from vprdist.errors import UserError
from vprdist.prepare import sums_room
from vprdist.prepare.prepare import look, prepare
from vprdist.search.subset_rule import network_point
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep


@contextmanager
def silent(title: str) -> Iterator[object]:
    yield lambda done, total: None


def test_sums_of_all_networks_fit_the_disk_or_nothing_starts(small_tree: Path, tmp_path: Path, monkeypatch) -> None:
    text = SWEEP.format(root=small_tree, cache=make_cache(small_tree, tmp_path), finalists=0, seeds=[0, 1])
    text = text.replace("mode: masked,", "mode: masked, mask_at: features,")
    text = text.replace("  subsets:", "  probes: {how: pooled}\n  subsets:")
    (tmp_path / "tiny.yaml").write_text(text)
    sweep, runs, profile = read_sweep(tmp_path / "tiny.yaml"), tmp_path / "new" / "runs", read_profile("local")
    found = look(sweep, profile, runs)
    pictures = sum(len(rows) for task in tasks_of(found.trials[0]) for _, rows in task.sides)
    need = 2 * 4 * pictures * 19 * 513 * 3  # seeds; kinds: none, random, image
    room = SimpleNamespace(free=need - 1)
    monkeypatch.setattr(sums_room.shutil, "disk_usage", lambda path: room)
    with pytest.raises(UserError, match=rf"must fit the disk, .*'{need / 1e9:.3g} GB'"):
        look(sweep, profile, runs)
    with pytest.raises(UserError, match="must fit the disk"):
        prepare(sweep, profile, runs, print, silent)
    network = found.resolve(trial_at(sweep, network_point(sweep, {}, 1)))
    made = runs / "trials" / network.trial_id / sums_room.FOLDER
    made.mkdir(parents=True)
    (made / "block.arrow").write_bytes(b"x")
    look(sweep, profile, runs)
    room.free = need
    each = sweep.model_copy(update={"search": sweep.search.model_copy(update={"probes": type(sweep.search.probes)()})})
    room.free = 0
    look(each, profile, runs)
