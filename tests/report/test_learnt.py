"""What learnt masks came to: weights by class over seeds, beside the placebo of the very same settings."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from statistics import fmean, stdev

import pytest
from PIL import Image

from tests.report.making import result
from vprdist.report.evidence import weigh
from vprdist.report.learnt import FILE, learnt_markdown, learnt_rows, write_learnt
from vprdist.report.page.learnt import learnt_section, mask_sheets
from vprdist.report.rows import group_rows
from vprdist.spec.doors import MaskName
from vprdist.spec.input import InputSpec
from vprdist.spec.result import ResultRow

OWN = {0: {"road": 0.2, "pole": 1.0}, 1: {"road": 0.4, "pole": 1.0}, 2: {"road": 0.3, "pole": 1.0}}
PLACEBO = {0: {"road": 0.1, "pole": 1.0}, 1: {"road": 0.1, "pole": 1.0}, 2: {"road": 0.3, "pole": 0.7}}


def learnt_result(seed: int, weights: dict[str, float] | None, placebo: str = "none", width: int = 16) -> ResultRow:
    plain = result(0.5, seed=seed, mode="masked")
    name = MaskName.of("class_weights") if weights else MaskName.of("conv_head", width=width)
    given = InputSpec(mode="masked", learnt=name, placebo=placebo).resolved()
    trial = plain.trial.model_copy(update={"input": given})
    return plain.model_copy(update={"trial": trial, "trial_id": trial.trial_id, "mask_weights": weights})


def rows_of(results: list[ResultRow]):
    names = {each.trial_id: f"{each.trial.input.learnt.name} {each.trial.input.placebo}" for each in results}
    return group_rows(results, names, "recall@1")


def learnt_of(results: list[ResultRow]):
    return learnt_rows(weigh(rows_of(results), "recall@1", lambda trial: None, {}, lambda protocol: None))


def test_a_class_has_its_mean_and_its_difference_to_the_placebo_of_the_same_seeds() -> None:
    results = [learnt_result(seed, weights) for seed, weights in OWN.items()]
    results += [learnt_result(seed, weights, "image") for seed, weights in PLACEBO.items()]
    results += [result(0.4, seed=0), learnt_result(0, None)]
    (row,) = learnt_of(results)
    assert row.name == "class_weights none" and sorted(row.seeds) == [0, 1, 2]
    pole, road = row.weights
    assert (pole.class_name, road.class_name) == ("pole", "road"), "the most shown first"
    gaps = [OWN[seed]["road"] - PLACEBO[seed]["road"] for seed in OWN]
    assert road.less == pytest.approx(fmean(gaps))
    half = 6.205347 * stdev(gaps) / math.sqrt(3)  # Student's t, 2 degrees of freedom, 1 - 0.05 / 2 / 2 classes
    assert road.low == pytest.approx(fmean(gaps) - half, abs=1e-5) and not road.is_beyond
    text = learnt_markdown([row])
    assert f"| road | 0.300 ± 0.100 | 0.167 ± 0.115 | {road.less:+.3f} [" in text


def test_two_seeds_tell_no_more_than_that_weights_lie_between_0_and_1() -> None:
    results = [learnt_result(seed, OWN[seed]) for seed in (0, 1)]
    results += [learnt_result(seed, PLACEBO[seed], "image") for seed in (0, 1)]
    (row,) = learnt_of(results)
    road = next(each for each in row.weights if each.class_name == "road")
    gaps, quantile = (0.1, 0.3), 25.4517  # Student's t, 1 degree of freedom, 1 - 0.05 / 2 / 2 classes
    assert quantile * stdev(gaps) / math.sqrt(2) > 2
    assert (road.low, road.high) == (-1, 1) and not road.is_beyond


def test_one_seed_and_no_placebo_claim_nothing() -> None:
    (row,) = learnt_of([learnt_result(0, OWN[0])])
    assert all(each.less is None and each.low is None and not each.is_beyond for each in row.weights)
    assert "| road | 0.200 | – | – | – |" in learnt_markdown([row])
    assert learnt_of([result(0.4, seed=0), learnt_result(0, None)]) == []


def test_a_file_of_an_earlier_search_goes_where_nothing_is_learnt(tmp_path: Path) -> None:
    write_learnt(tmp_path, learnt_of([learnt_result(0, OWN[0])]))
    assert (tmp_path / FILE).is_file()
    write_learnt(tmp_path, [])
    assert not (tmp_path / FILE).exists()


def test_the_page_has_the_masks_of_each_rows_first_seed_and_goes_without_broken_ones(tmp_path: Path) -> None:
    results = [
        learnt_result(0, OWN[0]),
        learnt_result(1, OWN[1]),
        learnt_result(0, None),
        learnt_result(0, None, width=8),
    ]
    for number, each in enumerate(results):
        folder = tmp_path / "trials" / each.trial_id / "predictions"
        folder.mkdir(parents=True)
        Image.new("RGB", (3000, 30), "grey").save(folder / "masks.png")
        if number == 3:
            (folder / "masks.png").write_bytes(b"no picture")
    sheets = mask_sheets(rows_of(results), tmp_path)
    assert [sheet.seed for sheet in sheets] == [0, 0]
    kept = Image.open(io.BytesIO(base64.b64decode(sheets[0].uri.partition(",")[2])))
    assert kept.size == (1100, 11)
    section = learnt_section(learnt_of(results), sheets)
    assert section is not None and len(section["tables"]) == 1
    assert learnt_section([], []) is None
