"""The trial id: the same experiment has the same id, another experiment another one."""

from __future__ import annotations

import pytest

from vprdist.spec.base import Spec, hashed_unless
from vprdist.spec.data import DataSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, RunSpec, TrialSpec
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES

DIGESTS = Digests(dataset="d", cache="c", weights="w")
MASKED = TrialSpec(data=DataSpec(train=("a",), validate_cities=("b",)), input=InputSpec(mode="masked"))


def trial_id(trial: TrialSpec, digests: Digests = DIGESTS) -> str:
    return trial.resolved(digests).trial_id


def changed(section: str, **fields: object) -> TrialSpec:
    part = getattr(MASKED, section)
    return MASKED.model_copy(update={section: part.model_copy(update=fields)})


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("data", {"root": "/elsewhere"}),
        ("input", {"cache": "/elsewhere"}),
        ("input", {"classes": tuple(reversed(STATIC_CLASSES))}),
        ("input", {"conv1_init": "random"}),  # masked keeps conv1: the field is ignored
        ("network", {"unfreeze": ("layer4", "layer3")}),
        ("network", {"unfreeze": ("layer3", "layer4")}),
        ("evaluate", {"image_size": (480, 640)}),  # the training size, written out
        ("evaluate", {"predict": ("miami",)}),  # more files, the same result
    ],
)
def test_what_changes_nothing_keeps_the_id(section, fields):
    assert trial_id(changed(section, **fields)) == trial_id(MASKED)


def test_how_it_runs_is_not_what_it_is():
    moved = MASKED.model_copy(update={"run": RunSpec(workers=3, checkpoint_s=1.0)})
    assert trial_id(moved) == trial_id(MASKED)


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("input", {"classes": ("road",)}),
        ("input", {"mask_reduce": "sum"}),
        ("input", {"placebo": "random"}),
        ("input", {"mode": "rgb"}),
        ("network", {"unfreeze": "2-2"}),
        ("train", {"lr": 0.2}),
        ("data", {"train": ("c",)}),
        ("evaluate", {"image_size": (240, 320)}),
        ("evaluate", {"gallery": "merged"}),
        ("evaluate", {"queries": "every"}),
        ("evaluate", {"database": "every"}),
        ("evaluate", {"whitening": "train"}),
        ("evaluate", {"whitening": "train", "dimensions": (512,)}),
        ("evaluate", {"storage": "float16"}),
    ],
)
def test_what_changes_the_experiment_changes_the_id(section, fields):
    assert trial_id(changed(section, **fields)) != trial_id(MASKED)


@pytest.mark.parametrize("field", ["dataset", "cache", "weights"])
def test_other_content_is_another_trial(field):
    assert trial_id(MASKED, DIGESTS.model_copy(update={field: "other"})) != trial_id(MASKED)


def test_ids_of_the_first_version_hold():
    """Results that lie on disks were found by this id; a changed hash would run all of them again."""
    assert trial_id(MASKED) == "8f05ec76f31a6eb2"


def test_a_placebo_of_other_classes_needs_others():
    assert InputSpec(mode="masked", placebo="classes").class_names == STATIC_CLASSES
    with pytest.raises(ValueError, match="no others to draw"):
        InputSpec(mode="masked", classes="all", placebo="classes")
    assert InputSpec(mode="rgb", classes="all", placebo="classes").resolved().placebo == "none"


def test_seeds_are_different_trials():
    assert trial_id(MASKED.model_copy(update={"seed": 1})) != trial_id(MASKED)


def test_fields_that_the_mode_ignores_are_null():
    rgb = InputSpec(mode="rgb", cache="x", placebo="image").resolved()
    assert rgb == InputSpec(mode="rgb").resolved()
    assert (rgb.classes, rgb.mask_reduce, rgb.conv1_init, rgb.cache) == (None, None, None, None)
    semantics = InputSpec(mode="rgb+semantics", cache="x").resolved()
    assert (semantics.classes, semantics.mask_reduce, semantics.conv1_init) == (None, None, "inflate")
    mask = InputSpec(mode="rgb+mask").resolved()
    assert mask.classes == STATIC_CLASSES


def test_json_brings_back_the_same_trial():
    resolved = MASKED.resolved(DIGESTS)
    import json

    again = TrialSpec.model_validate_json(json.dumps(resolved.to_json()))
    assert again == resolved
    assert again.trial_id == resolved.trial_id


def test_a_field_added_later_keeps_old_ids():
    class Before(Spec):
        lr: float = 0.1

    class After(Spec):
        lr: float = 0.1
        warm_up: int = hashed_unless(0)

    assert After().hashed() == Before().hashed()
    assert After(warm_up=5).hashed() != Before().hashed()


@pytest.mark.parametrize(
    ("backbone", "unfreeze", "units"),
    [
        ("resnet50", "0-2", ("layer3", "layer4")),
        ("resnet50", "2-2", ("conv1", "bn1", "layer3", "layer4")),
        ("resnet18", "0-4", ("layer1", "layer2", "layer3", "layer4")),
        ("resnet18", "0-0", ()),
        ("efficientnet_lite0", "1-1", ("stem_conv", "head")),
        ("resnet18", ("layer2", "conv1"), ("conv1", "layer2")),
    ],
)
def test_layer_sets(backbone, unfreeze, units):
    assert NetworkSpec(backbone=backbone, unfreeze=unfreeze).trained == units
    assert len(NetworkSpec(backbone=backbone, unfreeze="all").trained) == 8


def test_the_classes_are_cityscapes_in_order():
    assert len(CLASSES) == 19
    assert (CLASSES[0], CLASSES[10], CLASSES[18]) == ("road", "sky", "bicycle")
    assert "sky" not in STATIC_CLASSES


def test_steps_of_zero_and_odd_batches():
    assert TrainSpec(steps=0).steps == 0
    with pytest.raises(ValueError, match="must divide"):
        TrainSpec(batch_pairs=5, micro_pairs=2)
    assert NetworkSpec(unfreeze="2-2").unfreeze_name == "2-2"


def test_a_checkpoints_path_is_not_hashed_and_its_content_is():
    here, there = (
        MASKED.model_copy(update={"network": NetworkSpec(weights=path)}) for path in ("/here/gcl.pth", "there.pth")
    )
    assert trial_id(here) == trial_id(there) != trial_id(MASKED)
    assert trial_id(here, DIGESTS.model_copy(update={"weights": "other"})) != trial_id(here)
    assert (here.network.checkpoint, MASKED.network.checkpoint) == ("/here/gcl.pth", None)


def test_weights_are_a_word_or_a_path_and_a_checkpoint_brings_its_own_p():
    with pytest.raises(ValueError, match="a word or the path") as caught:
        NetworkSpec(weights="imagnet")
    remedy = caught.value.errors()[0]["ctx"]["error"].remedy
    assert remedy == "Did you mean 'imagenet'? Valid: imagenet, none. A file in this folder: ./imagnet."
    assert NetworkSpec(weights="./imagnet").checkpoint == "./imagnet"
    with pytest.raises(ValueError, match="holds the p of GeM"):
        NetworkSpec(weights="gcl.pth", gem_p=2.5)
    assert NetworkSpec(weights="none", gem_p=2.5).aggregator.parameters == {"p": 2.5}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"queries": "every", "subtask": "s2w"}, "subtask s2w chooses the queries"),
        ({"dimensions": (512,)}, "only whitening can change the dimensions"),
        ({"dimensions": (512, 512), "whitening": "train"}, "a value is named twice"),
        ({"dimensions": (0,), "whitening": "train"}, "greater than or equal to 1"),
    ],
)
def test_an_evaluation_must_be_possible(fields, message):
    with pytest.raises(ValueError, match=message):
        EvaluateSpec(**fields)
