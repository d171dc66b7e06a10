"""The form of a mask in a sweep file: ids of earlier trials, what cannot be, and where there is an outline."""

from __future__ import annotations

import pytest

from tests.spec.test_sweep import refusal, sweep
from vprdist.search.subset_rule import families, network_point
from vprdist.spec.input import InputSpec
from vprdist.spec.trial import TrialSpec

FORMS = """
trial: {input: {mode: masked}}
search:
  searcher: one_network
  grid:
    input.mask_at: [picture, features]
    input.mask_fill: [black, blur]
  subsets:
    groups: {built: [fence, building], green: [vegetation]}
    placebos: [random, outline]
    finalists: 0
seeds: [0, 1]
"""


def masked(**more: object) -> InputSpec:
    return InputSpec.model_validate({"mode": "masked", **more})


def test_the_form_that_there_was_is_in_no_id():
    assert masked(mask_at="picture", mask_fill="black").resolved().hashed() == masked().resolved().hashed()
    assert not {"mask_at", "mask_fill"} & masked().resolved().hashed().keys()
    forms = [masked(mask_fill=fill) for fill in ("black", "mean", "picture_mean", "blur", "noise")]
    forms.append(masked(mask_at="features"))
    assert len({str(form.resolved().hashed()) for form in forms}) == 6


def test_a_form_that_nothing_reads_is_none():
    assert InputSpec(mask_at="features", mask_fill="blur").resolved() == InputSpec().resolved(), "rgb"
    assert masked(mask_at="features", mask_fill="blur").resolved() == masked(mask_at="features").resolved()
    assert masked(mask_fill="blur").resolved().form == "blur"
    assert (masked(mask_at="features").form, masked(mask_at="features").hides) == ("features", False)


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("mode=rgb+mask mask_at=features", ("trial.input.mask_at", "no other form", "masked")),
        ("mode=rgb+mask mask_fill=mean", ("trial.input.mask_fill", "'mean'", "Delete")),
        ("mode=rgb+mask placebo=outline", ("trial.input.placebo", "no outline can be shown", "Use random")),
        ("mode=masked mask_at=features placebo=outline", ("trial.input.placebo", "no outline can be shown")),
        ("mode=masked mask_fill=grey", ("trial.input.mask_fill", "'grey'")),
    ],
)
def test_a_form_that_cannot_be_is_refused(tmp_path, words, needed):
    text = refusal(tmp_path, "{}", *(f"trial.input.{word}" for word in words.split()))
    assert all(part in text for part in needed), text


def test_a_pooling_that_takes_no_weights_is_refused_at_the_features(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\nclass Pool(torch.nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
    )
    words = ("trial.input.mode=masked", f"trial.network.aggregator={tmp_path}/mine.py:Pool")
    text = refusal(tmp_path, "{}", *words, "trial.input.mask_at=features")
    assert "trial.input.mask_at" in text and "Pool takes no weights" in text and "weighs = True" in text
    sweep(tmp_path, "{}", *words)


def test_one_network_of_each_form_has_the_placebos_that_its_form_has(tmp_path):
    spec = sweep(tmp_path, FORMS)
    arms = {(t.input.mask_at, t.input.mask_fill): t.train.arms for t in spec.trials if t.train.arms}
    assert {form: of.placebos for form, of in arms.items()} == {
        ("picture", "black"): ("random", "outline"), ("picture", "blur"): ("random", "outline"),
        ("features", "black"): ("random",), ("features", "blur"): ("random",),
    }  # fmt: skip
    at_features = {"input.mask_at": "features", "input.mask_fill": "black"}
    assert network_point(spec, at_features, 1)["train.arms"]["placebos"] == ["random"]
    assert spec.subsets_at({"input.mask_at": "picture"}).placebos == ("random", "outline")
    assert spec.subsets_at({"input.mode": "rgb+mask"}).placebos == ("random",)


def test_placebos_that_are_trained_arm_by_arm_are_those_that_each_form_has(tmp_path):
    text = FORMS.replace("searcher: one_network", "searcher: shapley\n  num_trials: 400").replace("finalists: 0", "")
    spec = sweep(tmp_path, text.replace("    input.mask_fill: [black, blur]\n", "").replace("[0, 1]", "[0]"))
    found = families(spec, lambda point: None)
    shown = [[game.setting["input.placebo"] for game in family] for family in found]
    assert shown == [["none", "random", "outline"], ["none", "random"]]
    assert [family[0].subsets.placebos for family in found] == [("random", "outline"), ("random",)]
    assert [(t.input.mask_at, t.input.placebo) for t in spec.trials] == [
        ("picture", "none"), ("picture", "random"), ("picture", "outline"),
        ("features", "none"), ("features", "random"),
    ]  # fmt: skip


def test_an_outline_that_no_form_has_is_refused(tmp_path):
    text = refusal(tmp_path, FORMS.replace("[picture, features]", "[features]"))
    assert "search.subsets.placebos" in text and "no outline can be shown here" in text, text


def test_arms_with_an_outline_need_a_mask_that_hides(tmp_path):
    arms = {"players": [["pole"], ["sky"]], "placebos": ["outline"]}
    given = {"mode": "masked", "mask_reduce": "sum", "classes": ["pole", "sky"]}
    values = {"input": given, "train": {"arms": arms}}
    assert TrialSpec.model_validate(values, strict=False).train.arms is not None
    with pytest.raises(ValueError, match="no outline can be shown"):
        TrialSpec.model_validate({**values, "input": {**given, "mask_at": "features"}}, strict=False)
