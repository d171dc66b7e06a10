"""What a plan says of networks that are probed: one and the same trial is counted once, whatever settings it is of."""

from __future__ import annotations

import io

import pytest

from tests.spec.test_sweep import SWEEPS, refusal, sweep
from vprdist.console import Console
from vprdist.plan.probe_cost import ProbeCost, probe_cost
from vprdist.plan.show import show_plan
from vprdist.plan.survey import survey
from vprdist.probes.make import probes_of
from vprdist.probes.read import finalists_of
from vprdist.search.subset_rule import families
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep

MIXED = """
trial: {input: {mode: masked}}
search:
  searcher: one_network
  subsets: {classes: [building, vegetation, pole]}
  grid: {train.steps: [0, 10]}
"""


def told(found, runs) -> str:
    plan = survey(found, read_profile("local"), runs)
    out = io.StringIO()
    show_plan(plan, ["…"] * len(plan.trials), Console(file=out, width=300), full=False)
    return out.getvalue()


def test_forms_that_fill_nothing_are_one_network(tmp_path):
    """At the features three fills are one trial: four networks, one of which is pooled and has no outline."""
    found = read_sweep(SWEEPS / "forms.yaml")
    assert len(found.settings) == 6 and found.num_distinct == 4
    cost = probe_cost(found, found.trials[0], read_profile("local"), (), tmp_path)
    assert (cost.num_networks, cost.num_pooled, cost.num_fewest, cost.num_probes) == (4, 1, 60, 75)
    text = told(found, tmp_path)
    for words in (
        "at most 4 trials (4 not proposed yet)", "4 network(s), each evaluated under 60 to 75 arms",
        "4 trials in all",
        "1 of them from sums", "3 have their masks at the picture",
        "each arm comes with its placebos too: random, image, classes; outline where",
        "outline where a mask hides pixels, 3 of 6 settings",
    ):  # fmt: skip
        assert words in text, text


def test_where_every_setting_has_them_the_placebos_are_named_alone(tmp_path):
    text = told(read_sweep(SWEEPS / "forms.yaml", ["search.grid={input.mask_fill: [black, blur]}",
                                                   "search.probes.how=each"]), tmp_path)  # fmt: skip
    assert "each arm comes with its placebos too: random, image, classes, outline\n" in text, text
    assert "2 network(s), each evaluated under 75 arms" in text and "2 trials in all" in text


def test_trained_networks_of_one_form_are_counted_once_with_their_finalists(tmp_path):
    words = ("search.grid={input.mask_at: [features], input.mask_fill: [black, blur]}", "seeds=[0, 1]")
    found = sweep(tmp_path, MIXED, *words)
    assert found.num_trials == 2 * 2 * 5, "points, which are proposed one by one"
    assert found.num_distinct == 2 * 5
    assert sweep(tmp_path, MIXED, words[0].replace("features", "picture"), words[1]).num_distinct == 2 * 2 * 5


def test_finalists_are_left_out_where_nothing_is_trained_and_a_line_says_so(tmp_path):
    found = sweep(tmp_path, MIXED)
    assert [found.subsets_at(at).finalists for at in found.settings] == [0, 3]
    assert found.num_trials == found.num_distinct == 1 + 1 + 3 + 1
    text = told(found, tmp_path)
    assert (
        "then everybody and the 3 best subsets are trained alone, but where train.steps is 0 (1 of 2 settings)" in text
    )
    assert [finalists_of(found, at, []) for at in found.settings] == [[], []]
    assert [family[0].subsets.finalists for family in families(found, lambda point: None)] == [0, 3]
    section = sweep(tmp_path, MIXED, "search.grid={train: [{steps: 0}, {steps: 10}]}")
    assert [section.subsets_at(at).finalists for at in section.settings] == [0, 3]
    named = sweep(tmp_path, MIXED, "search.subsets.finalists=2")
    assert [named.subsets_at(at).finalists for at in named.settings] == [0, 2]
    assert "no finalist can be trained alone" in refusal(
        tmp_path, MIXED, "search.grid={train.steps: [0]}", "search.subsets.finalists=2"
    )


def test_networks_of_which_none_is_trained_promise_no_finalists(tmp_path):
    found = sweep(tmp_path, MIXED, "search.grid={network.unfreeze: [0-2, all]}", "trial.train.steps=0")
    assert found.search.subsets.finalists == 0 and "trained alone" not in told(found, tmp_path)


def test_the_time_is_that_of_each_networks_own_probes(tmp_path, monkeypatch):
    """Made rates: a second a picture and arm, and a tenth of one from sums."""
    found = read_sweep(SWEEPS / "forms.yaml")
    from vprdist.plan import probe_cost as module

    class Task:
        sides = (("q", range(3)), ("d", range(4)))

    monkeypatch.setattr(module, "tasks_of", lambda trial: [Task])
    monkeypatch.setattr(module, "sums_bytes", lambda *_: None)
    monkeypatch.setattr(module, "_seconds_a_picture", lambda *_: (1.0, "made"))
    monkeypatch.setattr(module, "_pooled_seconds", lambda *_: 0.1)
    trial = found.trials[0].model_copy(update={"data": found.trials[0].data.model_copy(update={"root": "elsewhere"})})
    cost = module.probe_cost(found, trial, read_profile("local"), (), tmp_path)
    seen, seconds = set(), 0.0
    for at, of in zip(found.settings, found.trials, strict=True):
        if (form := of.input.resolved().form) not in seen:
            seen.add(form)
            arms = len(probes_of(found, at))
            seconds += 7 * (1 + 0.1 * arms if of.input.at_features else arms)
    assert cost.device_s == pytest.approx(seconds)


def test_a_cost_without_a_range_has_one_number():
    (line, _) = ProbeCost(num_networks=3, num_probes=100, num_pictures=9, device_s=None, basis="").lines()
    assert line == "3 network(s), each evaluated under 100 arms of 9 pictures each, without training"
