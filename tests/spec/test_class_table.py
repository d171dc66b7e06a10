"""Class tables in sweep files: which names they are, what they do to ids, orders and players, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from vprdist.errors import RuleError, SweepFileError
from vprdist.files import digest_json
from vprdist.spec.arms import MOST_PLAYERS, ArmsSpec
from vprdist.spec.class_table import FILES, WORDS, check_names, settled_table, table_of
from vprdist.spec.input import InputSpec
from vprdist.spec.row_name import row_name
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.spec.vocabulary import CLASS_GROUPS, CLASSES
from vprdist.store.manifest import resolved_file

DIGESTS = Digests(dataset="d", cache="c", weights="w")
NAMES = ("tall house", "a/b", "x, y", 'it\'s "q"', "Straße", "木")


def read(tmp_path: Path, values: dict[str, Any], *words: str) -> SweepSpec:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True))
    return read_sweep(path, words)


def sweep(table: Any, mode: str = "masked", **more: Any) -> dict[str, Any]:
    return {"trial": {"input": {"mode": mode, "class_table": table, **more}}}


def refusal(tmp_path: Path, values: dict[str, Any]) -> str:
    with pytest.raises(SweepFileError) as caught:
        read(tmp_path, values)
    return str(caught.value)


def test_the_known_tables_are_those_that_trials_were_hashed_with() -> None:
    """A name that changes here changes what every trial and cache of the table is."""
    assert (table_of("cityscapes").classes, table_of("cityscapes").groups) == (CLASSES, CLASS_GROUPS)
    found = {word: digest_json(list(table_of(word).classes), 8) for word in FILES}
    assert found == {"vistas65": "7aeb58cd", "ade20k": "427b67fd"}
    assert [len(table_of(word).classes) for word in WORDS] == [19, 65, 150]
    for word in WORDS:
        check_names(table_of(word).classes)
        for names in table_of(word).groups.values():
            assert names == table_of(word).ordered(names)
    vistas = table_of("vistas65")
    assert (vistas.classes[0], vistas.classes[13], vistas.classes[-1]) == ("Bird", "Road", "Ego Vehicle")
    assert {"Building", "Pole", "Vegetation"} < set(vistas.groups["static"])
    assert not {"Sky", "Car", "Person", "Bird", "Ego Vehicle", "Snow"} & set(vistas.groups["static"])
    assert "static" not in table_of("ade20k").groups


@pytest.mark.parametrize("form", ["txt", "crlf", "json", "manifest", "folder", "id2label"])
def test_a_file_is_its_names(tmp_path: Path, form: str) -> None:
    path = tmp_path / "some file"
    if form in ("txt", "crlf"):
        end = "\r\n" if form == "crlf" else "\n"
        path.write_bytes(("# ours" + end + end + end.join(NAMES) + end).encode())
    elif form == "json":
        path.write_text(json.dumps(NAMES))
    elif form == "id2label":
        path.write_text(json.dumps({"id2label": {str(index): name for index, name in enumerate(NAMES)}, "x": 1}))
    else:
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps({"classes": NAMES}))
        path = tmp_path if form == "folder" else path
    assert settled_table(str(path)) == NAMES


def test_names_that_have_a_word_are_the_word(tmp_path: Path) -> None:
    for word in WORDS:
        path = tmp_path / word
        path.write_text(json.dumps(table_of(word).classes))
        assert settled_table(str(path)) == settled_table(table_of(word).classes) == word


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1 to 1024 classes; found 0"),
        ("a\na\n", "name each class once"),
        ("[1, 2]", "the file must hold class names"),
        ('{"names": ["a"]}', "the file must hold class names"),
        ('{"id2label": {"1": "a"}}', "count from 0"),
        ("[", "the file must hold class names"),
        ("a\x07b\n", "no control characters"),
        ("a" * 101, "1 to 100 characters"),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "table").write_text(text)
    with pytest.raises(RuleError) as caught:
        settled_table(str(tmp_path / "table"))
    assert words in f"{caught.value.fault}; found {caught.value.value!r}"


def test_ids_are_of_names_and_those_of_the_19_stay(tmp_path: Path) -> None:
    """Neither the path of a file nor its form is part of what a trial is."""
    (tmp_path / "one").write_text("\n".join(NAMES))
    (tmp_path / "two").write_text(json.dumps(NAMES))

    def trial_id(**given: Any) -> str:
        return TrialSpec(input=InputSpec(mode="masked", **given)).resolved(DIGESTS).trial_id

    usual = trial_id()
    assert usual == trial_id(class_table="cityscapes") == trial_id(class_table=CLASSES)
    others = {
        trial_id(classes="all", class_table=table) for table in (NAMES, *(str(tmp_path / n) for n in ("one", "two")))
    }
    assert len(others) == 1 and usual not in others
    assert trial_id(classes="all", class_table=NAMES[::-1]) not in others
    rgb = {TrialSpec(input=InputSpec(class_table=t)).resolved(DIGESTS).trial_id for t in ("cityscapes", "ade20k")}
    assert len(rgb) == 1, "a trial without masks knows no table"
    assert "class_table" not in InputSpec(mode="masked").hashed()
    arms = ArmsSpec(players=(("sky",), ("car",)))
    assert "class_table" not in arms.hashed()


def test_classes_stand_in_the_order_of_the_table(tmp_path: Path) -> None:
    (trial,) = read(tmp_path, sweep(list(NAMES), classes=["木", "a/b", "tall house"])).trials
    assert trial.input.class_names == ("tall house", "a/b", "木")
    assert trial.input.num_added == 0
    assert TrialSpec.model_validate_json(json.dumps(trial.to_json())) == trial
    beside = InputSpec(mode="rgb+semantics", class_table="ade20k")
    assert (beside.num_added, InputSpec(mode="rgb+mask").num_added) == (150, 1)
    (vistas,) = read(tmp_path, sweep("vistas65")).trials
    assert vistas.input.class_names == table_of("vistas65").groups["static"]
    assert row_name(vistas, ["input.class_table", "input.classes"]) == "vistas65 static"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (sweep("vistas"), "'vistas'. Use vistas65"),
        (sweep("ade20k"), "no group of that name (the 150 classes of ade20k): 'static'"),
        (sweep("ade20k", classes=["biulding"]), "one of the 150 classes of ade20k; found 'biulding'. Use building"),
        (sweep("vistas65", classes=["building"]), "one of the 65 classes of vistas65; found 'building'. Use Building"),
        (sweep("ade20k", classes="all", placebo="classes"), "with all 150 classes there are no others to draw"),
        (sweep("ade20k", classes="all", segmenter={"name": "deeplabv3plus", "weights": "a"}), "has the 19 classes"),
        (sweep("ade20k", classes="all", top_k=151), "of each pixel 150 activations at most"),
        (sweep(["a", "a"], classes="all"), "must name each class once; found 'a'"),
    ],
)  # fmt: skip
def test_what_a_table_does_not_have_is_refused(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    found = refusal(tmp_path, values)
    assert all(word in found for word in words.split(". Use ")), found


def searched(table: Any, subsets: dict[str, Any], searcher: str = "shapley") -> dict[str, Any]:
    more: dict[str, Any] = {"num_trials": 1000} if searcher == "shapley" else {}
    return {**sweep(table), "search": {"searcher": searcher, "subsets": subsets, **more}, "seeds": [0]}


def test_players_are_classes_and_groups_of_the_table(tmp_path: Path) -> None:
    """In the order of the table, whatever the file says; what is written down reads as the same search."""
    groups = {"built": ["house", "building"], "green": ["tree", "grass", "plant"], "sky": ["sky"]}
    spec = read(tmp_path, searched("ade20k", {"groups": groups}, "one_network"))
    subsets = spec.search.subsets
    assert subsets is not None and subsets.class_names(0b011) == ["building", "tree", "grass", "plant", "house"]
    arms = spec.trials[0].train.arms
    assert arms is not None and arms.classes_of(0b101) == ("building", "sky", "house")
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(resolved_file(spec), sort_keys=False))
    again = read_sweep(tmp_path / "again.yaml")
    assert (again.search, again.trials, again.points) == (spec.search, spec.trials, spec.points)
    one = read(tmp_path, searched("vistas65", {}))
    assert one.search.subsets is not None and one.search.subsets.num_players == 44


@pytest.mark.parametrize(
    ("table", "subsets", "words"),
    [
        ("ade20k", {}, "no group of that name"),
        ("ade20k", {"classes": "all"}, f"there must be {MOST_PLAYERS} players at most; found 150"),
        ("vistas65", {"classes": "all"}, f"there must be {MOST_PLAYERS} players at most; found 65"),
        ("ade20k", {"groups": {"a": ["sky", "tree"], "b": ["tree"]}}, "a class is named twice: 'tree'"),
        ("ade20k", {"groups": {"a": ["sky"], "b": ["vegetation"]}}, "one of the 150 classes of ade20k"),
        ("cityscapes", {"groups": {"a": ["sky"], "b": ["tree"]}}, "one of the 19 classes; found 'tree'"),
    ],
)  # fmt: skip
def test_players_that_the_table_does_not_have_are_refused(
    tmp_path: Path, table: str, subsets: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, searched(table, subsets))


def test_a_table_is_no_axis_of_a_search_of_subsets(tmp_path: Path) -> None:
    values = searched("cityscapes", {"classes": "static"})
    values["search"]["grid"] = {"input.class_table": ["cityscapes", "vistas65"]}
    assert "no axis of a search of subsets" in refusal(tmp_path, values)


def test_sixty_two_players_are_drawn_and_weighed() -> None:
    """Every subset of the most players there may be is a number that arrays of numbers hold."""
    from vprdist.game.draws import backward_subsets, draw_orders, forward_subsets, subsets_of_draw

    orders = draw_orders(MOST_PLAYERS, 2, 0)
    everybody = (1 << MOST_PLAYERS) - 1
    assert forward_subsets(orders)[:, -1].tolist() == [everybody] * 2
    assert backward_subsets(orders)[:, 0].tolist() == [everybody] * 2
    slow = [sum(1 << int(player) for player in orders[0, :size]) for size in range(MOST_PLAYERS + 1)]
    assert forward_subsets(orders)[0].tolist() == slow
    assert len(subsets_of_draw(orders[0])) == 2 * MOST_PLAYERS - 1
