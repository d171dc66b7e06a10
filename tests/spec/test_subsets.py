"""Sweeps of subsets: which trials a file means, and what is refused, with its line and the remedy."""

from __future__ import annotations

import itertools

import pytest
import yaml

from tests.spec.test_sweep import refusal, sweep
from vprdist.spec.search import SearchSpec
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES
from vprdist.store.manifest import resolved_file

TAKE = """
trial: {input: {mode: masked}}
search:
  subsets:
    groups: {built: [fence, building], signs: ["traffic sign", "traffic light"], green: [vegetation]}
    take: leave_one_out
  grid: {network.unfreeze: [0-2, all]}
seeds: [0, 1]
"""
SHAPLEY = """
trial: {input: {mode: masked}}
search:
  searcher: shapley
  num_trials: 200
  subsets:
    classes: static
"""

NETWORK = """
trial: {input: {mode: masked}}
search:
  searcher: one_network
  subsets:
    groups: {built: [fence, building], signs: ["traffic sign", "traffic light"], green: [vegetation]}
    placebos: [random, image]
seeds: [0, 1, 2]
"""


def masks(spec):
    return [trial.input.class_names for trial in spec.trials]


def test_leave_one_out_is_all_players_and_all_but_each(tmp_path):
    spec = sweep(tmp_path, TAKE)
    built, signs, green = {"building", "fence"}, {"traffic light", "traffic sign"}, {"vegetation"}
    expected = [built | signs | green, signs | green, built | green, built | signs]
    assert [set(names) for names in masks(spec)] == [m for _ in range(2) for m in expected for _ in range(2)]
    assert {(t.network.unfreeze, t.seed) for t in spec.trials} == set(itertools.product(["0-2", "all"], [0, 1]))
    assert {t.input.mask_reduce for t in spec.trials} == {"sum"}, "the default of a search of subsets"
    assert spec.num_trials == 16


def test_add_one_in_compares_with_nobody_which_is_a_trial_where_the_picture_stays(tmp_path):
    spec = sweep(tmp_path, TAKE, "search.subsets.take=add_one_in", "seeds=[0]")
    assert [set(names) for names in masks(spec)][:3] == [
        {"building", "fence"}, {"traffic light", "traffic sign"}, {"vegetation"}
    ]  # fmt: skip
    words = ("search.subsets.take=add_one_in", "trial.input.mode=rgb+mask", "seeds=[0]")
    modes = [t.input.mode for t in sweep(tmp_path, TAKE, *words).trials]
    assert modes == ["rgb", *["rgb+mask"] * 3] * 2


def test_a_list_names_players(tmp_path):
    spec = sweep(tmp_path, TAKE, "search.subsets.take=[[green], [green, built]]", "seeds=[0]")
    assert masks(spec)[:2] == [("vegetation",), ("building", "fence", "vegetation")]


def test_players_are_static_classes_all_of_them_a_list_or_groups():
    assert list(SubsetSpec().players) == list(STATIC_CLASSES)
    assert list(SubsetSpec(classes="all").players) == list(CLASSES)
    assert SubsetSpec(classes=("pole", "road")).players == {"pole": ("pole",), "road": ("road",)}
    grouped = SubsetSpec(groups={"a": ("pole", "road"), "b": ("sky",)})
    assert [grouped.class_names(subset) for subset in range(4)] == [
        [],
        ["road", "pole"],
        ["sky"],
        ["road", "pole", "sky"],
    ]


@pytest.mark.parametrize("take", ["leave_one_out", "add_one_in"])
def test_the_reference_comes_first(take):
    spec = SubsetSpec(classes=("pole", "road", "sky"), take=take)
    reference, *others = spec.taken()
    assert reference == {"leave_one_out": 7, "add_one_in": 0}[take]
    assert [reference ^ other for other in others] == [1, 2, 4]


def test_a_searcher_tries_all_players_first_and_takes_the_seed_of_a_point(tmp_path):
    spec = sweep(tmp_path, SHAPLEY, "search.grid={network.unfreeze: [0-2, all]}", "search.num_trials=310", "seeds=[7]")
    assert masks(spec) == [STATIC_CLASSES] * 2
    assert spec.num_trials == 310
    assert spec.axes == ("network.unfreeze", "input.mode", "input.classes")
    assert spec.settings == ({"network.unfreeze": "0-2"}, {"network.unfreeze": "all"})
    trial = trial_at(spec, {"network.unfreeze": "all", "input.classes": ["road"], "seed": 12})
    assert (trial.seed, trial.network.unfreeze, trial.input.class_names) == (12, "all", ("road",))


def test_a_greedy_search_knows_the_most_it_may_take(tmp_path):
    text = SHAPLEY.replace("shapley\n  num_trials: 200", "greedy")
    assert sweep(tmp_path, text).num_trials == 55
    assert sweep(tmp_path, text, "seeds=[0,1]", "search.subsets.classes=all").num_trials == 2 * 190
    assert sweep(tmp_path, text, "search.num_trials=20").num_trials == 20
    assert sweep(tmp_path, text, "search.subsets.placebos=[random, image]").num_trials == 55 + 2 * 10


def test_one_network_is_a_trial_a_seed_and_its_finalists_are_as_many_as_it_takes(tmp_path):
    spec = sweep(tmp_path, NETWORK, "search.grid={network.unfreeze: [0-2, all]}")
    names = ("building", "fence", "traffic light", "traffic sign", "vegetation")
    assert set(masks(spec)) == {names}
    arms = spec.search.subsets.arms
    assert arms.players == (("fence", "building"), ("traffic sign", "traffic light"), ("vegetation",))
    assert [t.train.arms for t in spec.trials] == [arms] * 3 + [None] * 3 + [arms] * 3 + [None] * 3
    assert [t.seed for t in spec.trials] == [0, 1, 2] * 4
    assert [t.network.unfreeze for t in spec.trials] == ["0-2"] * 6 + ["all"] * 6
    assert {t.input.mask_reduce for t in spec.trials} == {"sum"}
    assert {t.input.placebo for t in spec.trials} == {"none"}, "the network knows its placebos by its arms"
    assert spec.num_trials == 2 * 3 * (1 + 3 + 1), "networks, finalists, and everybody beside them"
    assert sweep(tmp_path, NETWORK, "search.subsets.finalists=0").num_trials == 3
    assert spec.arm_settings == spec.settings
    many = sweep(tmp_path, NETWORK, "search.subsets.finalists=99")
    assert many.num_trials == 3 * (1 + 1 + 6), "three players have seven subsets"
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(resolved_file(many)))
    assert read_sweep(tmp_path / "again.yaml").num_trials == many.num_trials


@pytest.mark.parametrize("take", ["leave_one_out", "add_one_in", "[[green], [green, built]]"])
def test_placebos_of_trained_arms_are_trials_of_their_own(tmp_path, take):
    plain = sweep(tmp_path, TAKE, f"search.subsets.take={take}", "seeds=[0]")
    spec = sweep(tmp_path, TAKE, f"search.subsets.take={take}", "seeds=[0]", "search.subsets.placebos=[image, classes]")
    by_placebo = {
        placebo: [(t.network.unfreeze, t.input.class_names) for t in spec.trials if t.input.placebo == placebo]
        for placebo in ("none", "image", "classes")
    }
    for found in by_placebo.values():
        assert found == [(t.network.unfreeze, t.input.class_names) for t in plain.trials]
    assert len(spec.trials) == 3 * len(plain.trials)
    assert "input.placebo" in spec.axes and "input.placebo" not in plain.axes


def test_draws_of_placebos_count_among_the_trials(tmp_path):
    words = ("search.subsets.placebos=[random]", "search.num_trials=304")
    assert [at["input.placebo"] for at in sweep(tmp_path, SHAPLEY, *words).arm_settings] == ["none", "random"]
    message = refusal(tmp_path, SHAPLEY, *words[:1], "search.num_trials=303")
    assert "8 draws of 10 players need 304 trials" in message


def test_probes_are_all_subsets_or_eight_draws(tmp_path):
    """3 players have 7 subsets; 10 have 1023, and 8 draws ask for 8 x 19."""
    assert sweep(tmp_path, NETWORK, "search.subsets.probes=7").search.subsets.probes == 7
    ten = NETWORK.replace("groups: {built: [fence, building], signs: [\"traffic sign\", \"traffic light\"], "
                          "green: [vegetation]}", "classes: static")  # fmt: skip
    assert sweep(tmp_path, ten, "search.subsets.probes=152").search.subsets.num_players == 10
    message = refusal(tmp_path, ten, "search.subsets.probes=151")
    for part in ("search.subsets.probes", "all 1023 subsets, or at least 8 draws of orders, 152", "151", "Raise it"):
        assert part in message, message
    message = refusal(tmp_path, NETWORK.replace("placebos: [random, image]", "probes: 6"))
    for part in (":7: search.subsets.probes", "probes must be all 7 subsets", "found 6", "form groups"):
        assert part in message, message


def test_to_optuna_players_are_booleans(tmp_path):
    words = ("search.searcher=optuna", "search.num_trials=5", "search.space={input.mode: [masked, rgb+mask]}")
    spec = sweep(tmp_path, SHAPLEY, *words)
    assert list(spec.search.domains) == ["input.mode", *(f"player {name}" for name in STATIC_CLASSES)]
    assert {t.input.mode for t in spec.trials} == {"masked", "rgb+mask"}
    assert set(masks(spec)) == {STATIC_CLASSES}


@pytest.mark.parametrize(
    "text",
    [
        *(TAKE, SHAPLEY, SHAPLEY.replace("shapley", "optuna"), SHAPLEY.replace("shapley", "greedy"), NETWORK),
        TAKE.replace("take: ", "placebos: [random]\n    take: "),
    ],
)
def test_the_resolved_file_is_the_same_search(tmp_path, text):
    spec = sweep(tmp_path, text)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(resolved_file(spec), sort_keys=False))
    again = read_sweep(tmp_path / "again.yaml")
    assert (again.search, again.trials, again.points) == (spec.search, spec.trials, spec.points)


@pytest.mark.parametrize(
    ("text", "words", "parts"),
    [
        (SHAPLEY, ("search.subsets.classes=[road, rod]",), ("search.subsets.classes", "'rod'", "Did you mean 'road'")),
        (SHAPLEY.replace("static", "statc"), (), (":7: search.subsets.classes", "'statc'", "'static'")),
        (SHAPLEY, ("search.subsets.classes=[road, sky, road]",), ("a class is named twice", "'road'")),
        (SHAPLEY, ("search.subsets.classes=[road]",), ("at least two players", "['road']")),
        (SHAPLEY, ("search.subsets.classes=[]",), ("at least two players",)),
        (SHAPLEY, ("search.subsets.groups={a: [road]}",), ("players must be classes or groups", "'static'")),
        (SHAPLEY, ("search.subsets.clases=all",), ("unknown key", "'classes'")),
        (SHAPLEY, ("search.subsets.confidence=2.0",), ("search.subsets.confidence", "2.0")),
        (SHAPLEY, ("search.num_trials=null",), ("told how many trials",)),
        (SHAPLEY.replace("200", "151"), (), (":5: search.num_trials", "8 draws of 10 players need 152 trials", "151")),
        (SHAPLEY, ("search.grid={network.unfreeze: [0-2, all]}",), ("need 304 trials",)),
        (SHAPLEY, ("trial.input.mode=rgb+mask", "search.num_trials=159"), ("need 160 trials",)),
        (SHAPLEY, ("search.scheduler=asha",), ("search.scheduler", "train to their end", "'asha'", "Delete")),
        (TAKE, ("search.scheduler=median",), ("search.scheduler", "train to their end")),
        (SHAPLEY.replace("shapley", "optuna"), ("search.scheduler=asha",), ("train to their end",)),
        (SHAPLEY, ("seeds=[0,1]",), ("one seed", "each draw of an order has a seed of its own")),
        (SHAPLEY, ("search.space={train.lr: [0.1, 0.2]}",), ("search.space", "only random and optuna", "`grid`")),
        (SHAPLEY.replace("shapley", "optuna"), ("search.grid={train.lr: [0.1]}",), ("cannot search a grid", "`space`")),
        (SHAPLEY, ("search.grid={input.classes: [static]}",), ("search.grid.input.classes", "Delete the axis")),
        (SHAPLEY, ("search.grid={input.mask_reduce: [sum]}",), ("search.grid.input.mask_reduce", "Delete the axis")),
        (SHAPLEY, ("trial.input.mask_reduce=mean",), ("trial.input.mask_reduce", "darkens", "'mean'")),
        (SHAPLEY.replace("masked", "rgb"), (), (":2: trial.input.mode", "modes with a mask", "'rgb'", "masked")),
        (SHAPLEY, ("search.grid={input.mode: [rgb, masked]}", "search.num_trials=999"),
         ("search.grid.input.mode", "'rgb'")),
        (SHAPLEY, ("search.subsets.take=leave_one_out",), ("either be listed by `take` or proposed by a searcher",)),
        (TAKE, ("search.subsets.take=null",), (":4: search.subsets", "either be listed by `take` or proposed")),
        (TAKE, ("search.subsets.take=leave_one",), ("search.subsets.take", "'leave_one'", "'leave_one_out'")),
        (TAKE, ("search.subsets.take=[[green], [gren]]",), ("no such player: 'gren'", "'green'")),
        (TAKE, ("search.subsets.take=[[green], []]",), ("a subset cannot be empty: it would make an empty mask",)),
        (TAKE, ("search.subsets.take=[]",), ("at least one", "leave_one_out")),
        (TAKE, ("search.subsets.take=[[green, built], [built, green]]",), ("a subset is listed twice",)),
        (TAKE, ("search.subsets.take=[[green, green]]",), ("names a player twice",)),
        (TAKE, ("search.subsets.tie=0.1",), ("only searcher shapley can have ties",)),
        (TAKE, ("search.subsets.groups.green=[vegetation, fence]",), (":5: search.subsets.groups", "named twice")),
        (TAKE, ("search.subsets.groups.green=[]",), ("a group must have at least one class", "'green'")),
        (TAKE.replace("green:", "'':"), (),
         (":5: search.subsets.groups", "a group has no name: ''", "delete the group")),
        (TAKE, ("search.subsets.groups={' ': [road], a: [sky]}",), ("search.subsets.groups", "a group has no name")),
        (TAKE.replace("[0-2, all]", "[0-2, all, 0-2]"), (),
         (":7: search.grid.network.unfreeze", "a grid axis has a value twice: '0-2'", "Delete one of them")),
        (TAKE, ("search.subsets.groups.green=[tree]",), ("one of the 19 classes", "'tree'")),
        (TAKE, ("search.num_trials=5",), ("cannot have another number of trials than of points",)),
        ("search: {searcher: greedy}\n", (), ("greedy needs subsets of classes to search", "Add `subsets:")),
        ("search: {searcher: one_network}\n", (), ("one_network needs subsets of classes to search", "Add `subsets:")),
        (NETWORK, ("search.subsets.placebos=[random, random]",),
         ("search.subsets.placebos", "a placebo is named twice", "Delete one")),
        (NETWORK, ("search.subsets.placebos=[randon]",), ("search.subsets.placebos", "'randon'", "'random'")),
        (NETWORK.replace("random, image", "image, image"), (), (":7: search.subsets.placebos", "named twice")),
        (SHAPLEY, ("search.subsets.classes=all", "search.subsets.placebos=[classes]", "search.num_trials=999"),
         ("search.subsets.placebos", "with all 19 classes there are no others to draw", "Use random and image")),
        (NETWORK, ("search.grid={input.placebo: [none, random]}",),
         ("search.grid.input.placebo", "subsets.placebos names those of every arm", "Delete the axis")),
        (TAKE, ("search.subsets.placebos=[image]", "search.grid={input.placebo: [none, random]}"),
         ("search.grid.input.placebo", "subsets.placebos names those of every arm")),
        (SHAPLEY.replace("shapley", "optuna"), ("search.subsets.placebos=[random]",),
         ("search.subsets.placebos", "optuna cannot compare an arm with another", "['random']", "`take`")),
        (SHAPLEY.replace("shapley", "random"), ("search.subsets.placebos=[random]",),
         ("search.subsets.placebos", "random cannot compare an arm with another")),
        (TAKE.replace("take: leave_one_out", "take: leave_one_out\n    finalists: 4"), (),
         (":7: search.subsets.finalists", "only searcher one_network can have finalists: 4", "Delete `finalists`")),
        (SHAPLEY, ("search.subsets.finalists=2",),
         ("search.subsets.finalists", "only searcher one_network can have finalists", "2", "Delete `finalists`")),
        (TAKE, ("search.subsets.probes=100",),
         ("search.subsets.probes", "only searcher one_network can have probes", "100", "Delete `probes`")),
        (NETWORK, ("search.subsets.finalists=-1",), ("search.subsets.finalists", "-1")),
        (NETWORK, ("search.subsets.probes=0",), ("search.subsets.probes",)),
        (NETWORK, ("trial.train.steps=0",),
         (":8: seeds", "there must be one seed: seeds are one network; found [0, 1, 2]", "one seed")),
        (NETWORK, ("search.grid={train.steps: [0, 9]}",), (":8: seeds", "seeds are one network")),
        (NETWORK, ("trial.train.steps=0", "seeds=[0]", "search.subsets.finalists=2"),
         ("search.subsets.finalists", "no finalist can be trained alone: 2", "Set search.subsets.finalists: 0")),
        (TAKE, ("trial.train.steps=0",), (":8: seeds", "seeds are one network; found [0, 1]")),
        (NETWORK, ("search.subsets.tie=0.1",), ("only searcher shapley can have ties",)),
        (NETWORK, ("search.subsets.take=leave_one_out",), ("either be listed by `take` or proposed by a searcher",)),
        (NETWORK, ("search.scheduler=asha",), ("search.scheduler", "train to their end")),
        (NETWORK, ("search.space={train.lr: [0.1, 0.2]}",), ("search.space", "only random and optuna")),
        (NETWORK, ("trial.input.mask_reduce=mean",), ("trial.input.mask_reduce", "darkens", "'mean'")),
        (NETWORK.replace("masked", "rgb"), (), (":2: trial.input.mode", "arms are masks", "Set trial.input.mode")),
        (NETWORK, ("search.num_trials=14",),
         ("search.num_trials", "must be that of networks and finalists, 15; found 14", "Delete it")),
        (NETWORK, ("search.grid={train.arms: [null]}",),
         ("search.grid.train.arms", "the subsets say which arms there are", "Delete the axis")),
        (TAKE, ("trial.train.arms={players: [[road], [sky]]}", "trial.input.classes=[road, sky]"),
         ("trial.train.arms", "the subsets say which arms there are", "Delete the key")),
        (TAKE, ("trial.input.placebo=random", "search.subsets.placebos=[random]"),
         ("trial.input.placebo", "a placebo cannot be named here: subsets.placebos", "'random'", "Delete the key")),
        (NETWORK, ("trial.input.placebo=random",),
         ("trial.input.placebo", "a placebo cannot be named beside train.arms", "'random'")),
    ],
)  # fmt: skip
def test_a_refusal_says_where_what_and_how_to_mend_it(tmp_path, text, words, parts):
    message = refusal(tmp_path, text, *words)
    for part in parts:
        assert part in message, message
    assert "\n" not in message.strip()


def test_an_untrained_network_may_be_probed(tmp_path):
    words = ("trial.train.steps=0", "seeds=[0]")
    found = sweep(tmp_path, NETWORK, *words)
    assert found.num_trials == 1 and found.search.subsets.finalists == 0, "nobody named finalists: there are none"
    assert [trial.train.arms for trial in found.trials] == [None], "it is the same network, whatever it is asked"
    assert len(sweep(tmp_path, TAKE, *words).trials) == 8
    assert len(sweep(tmp_path, TAKE, words[0], "search.subsets.take=[[green], [built]]").trials) == 8, "claims nothing"


def test_a_search_without_subsets_is_what_it_was():
    assert SearchSpec().domains == {}
    assert SearchSpec().subsets is None
