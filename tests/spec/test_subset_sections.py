"""Axes of whole sections beside subsets: a key counts wherever it is written, and what subsets say no section may."""

from __future__ import annotations

import pytest

from tests.spec.test_sweep import refusal, sweep
from vprdist.probes.make import probes_of
from vprdist.search.subset_rule import families, network_point

NETWORK = """
trial: {input: {mode: masked}, train: {steps: 0}}
search:
  searcher: one_network
  subsets:
    groups: {built: [fence, building], green: [vegetation]}
    placebos: [random, outline]
"""
PICTURE, FEATURES = {"mask_at": "picture"}, {"mask_at": "features"}
FORMS = "search.grid.input=[{mask_at: features}, {mask_at: picture}]"


def test_the_form_of_a_section_is_the_form_of_its_setting(tmp_path):
    found = sweep(tmp_path, NETWORK, FORMS, "search.probes.how=pooled")
    assert found.settings == ({"input": FEATURES}, {"input": PICTURE})
    assert [found.subsets_at(at).placebos for at in found.settings] == [("random",), ("random", "outline")]
    assert [found.pools_at(at) for at in found.settings] == [True, False]
    for at, trial in zip(found.settings, found.trials, strict=True):
        assert found.pools_at(at) == trial.input.at_features
        assert {kind for _, kind in probes_of(found, at)} == {"none", *found.subsets_at(at).placebos}


def test_a_section_at_the_picture_is_not_pooled_whatever_the_trial_says(tmp_path):
    words = ("trial.input.mask_at=features", "search.grid={input: [{mask_at: picture}, {mask_fill: blur}]}")
    found = sweep(tmp_path, NETWORK, *words, "search.probes.how=pooled")
    assert [found.pools_at(at) for at in found.settings] == [False, True], "what a section leaves out the trial says"


def test_of_a_key_and_its_section_the_later_axis_counts_as_in_the_trial(tmp_path):
    text = NETWORK + "  grid:\n    input.mask_at: [picture]\n    input: [{mask_at: features}]\n"
    (at,) = sweep(tmp_path, text.replace(", outline", "")).settings
    found = sweep(tmp_path, text.replace(", outline", ""))
    assert found.value_at(at, "input.mask_at") == found.trials[0].input.mask_at == "features"


def test_nobody_and_training_are_read_from_sections_too(tmp_path):
    text = NETWORK.replace(", outline", "").replace("train: {steps: 0}", "train: {steps: 9}")
    found = sweep(tmp_path, text, "search.grid.input=[{mode: masked}, {mode: rgb+mask}]")
    assert [found.nobody_runs(at) for at in found.settings] == [False, True]
    assert [family[0].nobody for family in families(found, lambda point: None)] == [0.0, None]
    found = sweep(tmp_path, text, "search.grid.train=[{steps: 0}, {lr: 0.1}]")
    assert [found.trains(at) for at in found.settings] == [False, True]
    assert [network_point(found, at, 0)["train.arms"] is not None for at in found.settings] == [False, True]


@pytest.mark.parametrize(
    ("axis", "parts"),
    [
        ("input: [{mask_at: features}, {mask_reduce: mean}]", ("search.grid.input.1.mask_reduce", "no axis")),
        ("input: [{mask_reduce: max}, {mask_at: features}]", ("search.grid.input.0.mask_reduce", "no axis")),
        ("input: [{classes: [pole]}]", ("search.grid.input.0.classes", "the subsets say which classes")),
        ("input: [{placebo: random}]", ("search.grid.input.0.placebo", "subsets.placebos names those of every arm")),
        ("input: [{learnt: class_weights}]", ("search.grid.input.0.learnt", "no axis")),
        ("train: [{arms: null}]", ("search.grid.train.0.arms", "the subsets say which arms")),
        ("train.arms.placebos: [[random]]", ("search.grid.train.arms.placebos", "the subsets say which arms")),
        ("input: [{mode: masked}, {mode: rgb}]", ("search.grid.input", "need modes with a mask", "'rgb'")),
    ],
)
def test_what_the_subsets_say_no_section_may_say(tmp_path, axis, parts):
    message = refusal(tmp_path, NETWORK + "  grid:\n    " + axis + "\n")
    for part in (":9: ", *parts):
        assert part in message, message
    assert "\n" not in message.strip()


def test_sections_of_a_space_are_held_to_the_same_rules(tmp_path):
    text = NETWORK.replace("one_network", "optuna\n  num_trials: 4").replace("    placebos: [random, outline]\n", "")
    good = sweep(tmp_path, text, "search.space={input: [{mask_at: picture}, {mask_at: features}]}")
    assert {trial.input.mask_at for trial in good.trials} == {"picture", "features"}
    for value, part in (("mask_reduce: mean", "input.1.mask_reduce"), ("mode: rgb", "modes with a mask")):
        message = refusal(tmp_path, text, f"search.space={{input: [{{mode: masked}}, {{{value}}}]}}")
        assert part in message, message
