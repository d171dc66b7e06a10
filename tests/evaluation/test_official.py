"""MSLS' own evaluation script reads our prediction files and returns our numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.wild import wild_cities, wild_descriptors, write_cities
from vprdist.data.tasks import breakdown_tasks, city_task
from vprdist.evaluation.evaluate import Evaluation
from vprdist.evaluation.ranking import rank
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import SUBTASKS


def one_file(folder: Path) -> Path:
    """All cities' predictions; rows get one length, which the script needs, by keys that nobody has."""
    lines = [line.split() for path in sorted(folder.glob("*.txt")) for line in path.read_text().splitlines()]
    longest = max(map(len, lines))
    padded = [[*line, *(f"nothing{i}" for i in range(longest - len(line)))] for line in lines]
    (folder / "all.csv").write_text("".join(" ".join(line) + "\n" for line in padded))
    return folder / "all.csv"


@pytest.mark.parametrize("gallery", ["city", "merged"])
@pytest.mark.parametrize("seed", range(5))
def test_the_official_script_returns_our_numbers(official, tmp_path, seed, gallery):
    cities, descriptors = wild_cities(seed), wild_descriptors(wild_cities(seed), seed)
    write_cities(tmp_path / "msls", cities)
    asked = 0
    for subtask in SUBTASKS:
        evaluate = EvaluateSpec(subtask=subtask, gallery=gallery)
        tasks = [city_task(city, evaluate, 25.0) for city in cities]
        if not sum(len(task.queries) for task in tasks):
            continue
        ranking = rank(tasks, descriptors, gallery)
        Evaluation(ranking).write(tmp_path / subtask)
        theirs = official(tmp_path / "msls", one_file(tmp_path / subtask), "uno,dos", subtask)
        assert ranking.metrics == pytest.approx(theirs, abs=1e-12)
        asked += 1
    assert asked, "some subtask has queries"


def test_the_worlds_hold_what_the_rules_are_about():
    """Panoramas, queries without positives, equal positions, cities without a subtask: none is left untested."""
    worlds = [wild_cities(seed) for seed in range(5)]
    sides = [side for cities in worlds for city in cities for side in city.sides]
    assert any(side.pano.any() for side in sides)
    assert any(len(np.unique(side.positions, axis=0)) < len(side) for side in sides)
    trial = TrialSpec()
    tasks = [task for cities in worlds for some in breakdown_tasks(cities, trial).values() for task in some]
    assert any(not len(task.queries) for task in tasks)
    assert any(len(task.gallery) < 20 for task in tasks) and any(len(task.gallery) > 20 for task in tasks)
    assert any(len(right) > 1 for task in tasks for right in task.positives)
