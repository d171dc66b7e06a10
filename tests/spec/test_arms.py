"""Arms of one network: which are refused, where and with what remedy, and what they do to a trial's id."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.test_sweep import refusal, sweep
from vprdist.errors import RuleError
from vprdist.files import digest_json
from vprdist.probes.order import PART_ARMS, ProbeOrder
from vprdist.spec.arms import Arm, ArmsSpec
from vprdist.spec.class_table import table_of
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.spec.vocabulary import CLASSES

PLAIN = """
trial:
  input: {mode: masked, mask_reduce: sum, classes: [building, pole, sky]}
  train:
    arms:
      players: [[building], [pole, sky]]
"""
MASKED = TrialSpec(data=DataSpec(train=("a",), validate_cities=("b",)), input=InputSpec(mode="masked"))
DIGESTS = Digests(dataset="d", cache="c", weights="w")


def armed(*players: tuple[str, ...], placebos: tuple[str, ...] = ()) -> TrialSpec:
    arms = ArmsSpec(players=players, placebos=placebos)
    shown = InputSpec(mode="masked", mask_reduce="sum", classes=arms.class_names)
    return MASKED.model_copy(update={"input": shown, "train": TrainSpec(arms=arms)}).resolved(DIGESTS)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("trial.train.arms.players=[[building], [pole, skye]]",),
         ("trial.train.arms.players", "one of the 19 classes", "'skye'", "Did you mean 'sky'")),
        (("trial.train.arms.players=[[building, sky], [pole, sky]]",),
         ("trial.train.arms.players", "a class is named twice", "'sky'", "of one player only")),
        (("trial.train.arms.players=[[building, pole, sky]]",),
         ("trial.train.arms.players", "two players or more", "[['building', 'pole', 'sky']]")),
        (("trial.train.arms.players=[[building, pole, sky], []]",), ("two players or more, each of a class",)),
        (("trial.train.arms.placebos=[random, image, random]",),
         ("trial.train.arms.placebos", "a placebo is named twice", "Delete one")),
        (("trial.train.arms.placebos=[none]",), ("trial.train.arms.placebos", "'none'")),
        (("trial.train.arms.player=[[sky], [pole]]",), ("trial.train.arms.player", "unknown key", "'players'")),
        (("trial.input.mode=rgb+semantics",),
         ("override 'trial.input.mode=rgb+semantics'", "arms are masks: the mode must be masked or rgb+mask",
          "'rgb+semantics'", "Set trial.input.mode: masked")),
        (("trial.input.mask_reduce=mean",),
         ("trial.input.mask_reduce", "sum or max: a mean darkens", "'mean'", "Set trial.input.mask_reduce: sum")),
        (("trial.input.placebo=random",),
         ("trial.input.placebo", "a placebo cannot be named beside train.arms", "'random'", "Delete the key")),
        (("trial.input.classes=[building, pole]",),
         ("trial.input.classes", "those of all players of train.arms", "['building', 'pole']",
          "Write ['building', 'pole', 'sky']")),
    ],
)  # fmt: skip
def test_arms_that_cannot_be_are_refused(tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    message = refusal(tmp_path, PLAIN, *words)
    for part in parts:
        assert part in message, message
    assert "\n" not in message.strip()


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("mode: masked", "mode: rgb", (":3: trial.input.mode", "arms are masks", "'rgb'")),
        ("[pole, sky]]", "[pole]]", (":3: trial.input.classes", "those of all players")),
        ("[pole, sky]]", "[pole, skye]]", (":6: trial.train.arms.players", "'skye'")),
        ("sum", "mean", (":3: trial.input.mask_reduce", "darkens")),
    ],
)
def test_what_the_file_says_is_refused_with_its_line(
    tmp_path: Path, before: str, after: str, parts: tuple[str, ...]
) -> None:
    message = refusal(tmp_path, PLAIN.replace(before, after))
    for part in parts:
        assert part in message, message


def test_arms_that_go_together_are_a_trial(tmp_path: Path) -> None:
    for word in ("trial.input.mode=rgb+mask", "trial.input.mask_reduce=max", "trial.train.arms.placebos=[image]"):
        (trial, *_) = sweep(tmp_path, PLAIN, word).trials
        assert trial.train.arms is not None and trial.train.arms.players == (("building",), ("pole", "sky"))


def test_the_classes_placebo_needs_others_to_draw_from() -> None:
    half, rest = CLASSES[:9], CLASSES[9:]
    with pytest.raises(ValueError, match="with all 19 classes there are no others to draw"):
        ArmsSpec(players=(half, rest), placebos=("random", "classes"))
    assert ArmsSpec(players=(half, rest), placebos=("random", "image")).class_names == CLASSES
    assert ArmsSpec(players=(half, rest[1:]), placebos=("classes",)).placebos == ("classes",)
    with pytest.raises(ValueError, match="no others to draw"):
        SubsetSpec(classes="all", placebos=("classes",))
    assert SubsetSpec(classes="all", placebos=("image",)).arms.class_names == CLASSES


def test_a_rule_names_its_field_and_its_remedy() -> None:
    from vprdist.spec.arms import check_placebos

    with pytest.raises(RuleError) as caught:
        check_placebos(("classes",), CLASSES, table_of("cityscapes"))
    assert (caught.value.field, caught.value.value) == ("placebos", "classes")
    assert "random and image" in caught.value.remedy


def test_a_subset_of_players_has_its_classes_in_the_order_of_train_ids() -> None:
    arms = ArmsSpec(players=(("sky", "road"), ("pole",), ("building", "wall")))
    assert [arms.classes_of(subset) for subset in (0, 1, 2, 4, 7)] == [
        (), ("road", "sky"), ("pole",), ("building", "wall"), ("road", "building", "wall", "pole", "sky")
    ]  # fmt: skip
    assert Arm(()).placebo == "none"


def test_arms_are_hashed_and_trials_without_them_keep_their_ids() -> None:
    plain = MASKED.model_copy(update={"input": InputSpec(mode="masked", mask_reduce="sum", classes=("pole", "sky"))})
    assert "arms" not in plain.resolved(DIGESTS).hashed()["train"]
    assert MASKED.resolved(DIGESTS).trial_id == "8f05ec76f31a6eb2", "as in the first version"
    ids = [
        plain.resolved(DIGESTS).trial_id,
        armed(("pole",), ("sky",)).trial_id,
        armed(("sky",), ("pole",)).trial_id,  # a subset is a number of players in their order
        armed(("pole",), ("sky",), placebos=("random",)).trial_id,
        armed(("pole",), ("sky",), placebos=("image",)).trial_id,
        armed(("pole",), ("sky", "road")).trial_id,
        armed(("pole", "road"), ("sky",)).trial_id,
    ]
    assert len(set(ids)) == len(ids)
    assert armed(("pole",), ("sky",)).trial_id == armed(("pole",), ("sky",)).trial_id


def test_json_brings_back_the_same_arms() -> None:
    trial = armed(("pole",), ("sky", "road"), placebos=("random", "classes"))
    import json

    assert TrialSpec.model_validate_json(json.dumps(trial.to_json())) == trial


def order(count: int, **changes: object) -> ProbeOrder:
    probes = tuple((1 + at % 7, ("none", "random", "image")[at // 7]) for at in range(count))
    return ProbeOrder(**{"trial": "/t", "players": (("pole",), ("sky",), ("road",)), "probes": probes, **changes})


def test_an_order_has_its_probes_in_parts_and_a_longer_one_finds_the_full_ones() -> None:
    short, long = order(18), order(21)
    cuts = list(short.parts.values())
    assert [len(cut) for cut in cuts] == [PART_ARMS, 2]
    assert sum(cuts, ()) == short.probes
    (full, rest), (same, grown) = short.parts, long.parts
    assert full == same, "a full part is found again"
    assert rest != grown, "one that grew is another"
    assert short.digest != long.digest
    others = order(18, players=(("pole",), ("sky",), ("wall",)))
    assert not set(short.parts) & set(others.parts), "other players, other folder"
    assert short.folder.name == digest_json([["pole"], ["sky"], ["road"]], 8)
    assert order(18, threads=None).digest == short.digest, "how it runs is not what it is"
