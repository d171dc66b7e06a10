"""Broken pictures of a data set: refused, or left out by name, which makes other trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broken import BROKEN, break_pictures, without
from tests.prepare.test_prepare import Listener, looked, prepared, sweep_of
from tests.training.making import run_here
from tests.worlds import write_activations
from vprdist.errors import UserError
from vprdist.prepare.folders import with_data
from vprdist.semantics.cache import open_cache
from vprdist.semantics.importing import import_cache
from vprdist.semantics.segmenting import orders_of
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.profile import read_profile
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]{more}}}
  input: {{mode: {mode}}}
  network: {{backbone: resnet18, weights: none}}
  train: {{image_size: [32, 40], steps: 5, batch_pairs: 4, micro_pairs: 4}}
"""


def asked(folder: Path, root: Path, more: str = "", mode: str = "rgb") -> SweepSpec:
    return sweep_of(folder, SWEEP.format(root=root, more=more, mode=mode))


def test_broken_pictures_are_refused_and_the_remedy_is_named(small_tree: Path, tmp_path: Path) -> None:
    break_pictures(small_tree)
    with pytest.raises(UserError, match=r"ada_q003\.jpg: .*this one is empty.*data\.leave_out.*broken: leave_out"):
        prepared(asked(tmp_path, small_tree), tmp_path / "runs")


def test_what_is_broken_is_found_once_and_left_out_by_name(small_tree: Path, tmp_path: Path) -> None:
    break_pictures(small_tree)
    sweep, runs, heard = asked(tmp_path, small_tree, ", broken: leave_out"), tmp_path / "runs", Listener()
    made = prepared(sweep, runs, heard)
    (trial,) = made.trials
    assert trial.data.leave_out == tuple(sorted(BROKEN))
    titles = ["looking for broken pictures", "noting what pictures hold"]
    assert heard.titles == titles, "none is opened twice to see whether it is whole"
    assert tuple(fact for fact in made.facts if "left out" in fact) == (
        "ada is read without 1 of 12 query images and 1 of 20 database images: they are left out",
        "bob is read without 1 of 8 query images and 1 of 16 database images: they are left out",
    )
    again = looked(sweep, runs)
    assert again.trials == made.trials and again.facts == made.facts
    prepared(sweep, runs, heard)
    assert heard.titles == titles
    assert made.resolve(sweep.trials[0]) == trial, "what a search proposes later leaves out the same"
    names = ", ".join(sorted(BROKEN))
    listed = prepared(asked(tmp_path, small_tree, f", leave_out: [{names}]"), runs)
    assert listed.trials[0].trial_id == trial.trial_id


def test_a_look_before_the_sweep_knows_what_a_listing_shows(small_tree: Path, tmp_path: Path) -> None:
    break_pictures(small_tree)
    sweep = asked(tmp_path, small_tree, ", broken: leave_out")
    first = looked(sweep, tmp_path / "runs")
    assert set(first.trials[0].data.leave_out) == {
        name for name, what in BROKEN.items() if what in ("is empty", "is missing")
    }
    assert any("leaves out what cannot be read, which makes other trials" in note for note in first.notes)
    assert not (tmp_path / "runs").exists()


def test_a_trial_that_leaves_out_nothing_keeps_its_id(small_tree: Path, tmp_path: Path) -> None:
    plain = looked(asked(tmp_path, small_tree), tmp_path / "runs").trials[0]
    for more in (", broken: leave_out", ", leave_out: [nobody, zoe/query/k]"):
        (trial,) = prepared(asked(tmp_path, small_tree, more), tmp_path / "runs").trials
        assert trial.trial_id == plain.trial_id
    (other,) = looked(asked(tmp_path, small_tree, ", leave_out: [bob_q005]"), tmp_path / "runs").trials
    assert other.trial_id != plain.trial_id
    assert other.hashed()["data"].keys() == plain.hashed()["data"].keys(), "the digest of the cities says it"


def test_a_file_names_them_line_by_line(small_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "gone.txt").write_text("# withdrawn\n\nbob_q005  # by its owner\nada/ada_d000\n")
    sweep = asked(tmp_path, small_tree, f", leave_out: {tmp_path / 'gone.txt'}")
    (trial,) = looked(sweep, tmp_path / "runs").trials
    assert trial.data.leave_out == ("ada/database/ada_d000", "bob/query/bob_q005")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (", leave_out: [ada/ada_q999]", r"trial\.data\.leave_out: ada has no such picture: 'ada/ada_q999'"),
        (", leave_out: [ada/query/ada_q999]", r"trial\.data\.leave_out: ada has no such picture"),
        (", leave_out: nowhere.txt", r"nowhere\.txt: the list of pictures to leave out cannot be read: 'No such file"),
        (", broken: maybe", r"trial\.data\.broken"),
    ],
)
def test_a_wrong_list_is_one_message(small_tree: Path, tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        looked(asked(tmp_path, small_tree, more), tmp_path / "runs")


def test_a_name_of_the_wrong_side_or_of_no_side_is_refused(small_tree: Path, tmp_path: Path) -> None:
    for name in ("ada/databse/ada_q003", "ada/database/ada_q003"):
        with pytest.raises(UserError, match="ada has no such picture"):
            looked(asked(tmp_path, small_tree, f", leave_out: [{name}]"), tmp_path / "runs")


def test_an_import_of_another_source_is_not_taken_for_the_old_one(small_tree: Path, tmp_path: Path) -> None:
    old, new, cache = (tmp_path / name for name in ("old", "new", "cache"))
    for folder, seed in ((old, 0), (new, 1)):
        write_activations(small_tree, ["ada"], folder, seed)
    import_cache(old, small_tree, cache, cities=["ada"])
    found = import_cache(new, small_tree, cache, cities=["ada"], leave_out=("ada/ada_q003",), replace=True)
    alone = import_cache(new, small_tree, tmp_path / "alone", cities=["ada"])
    key = found.keys("ada", "query")[0]
    assert (found.activations("ada", "query", key) == alone.activations("ada", "query", key)).all()


def test_a_cache_that_holds_more_fits_and_one_that_holds_less_does_not(small_tree: Path, tmp_path: Path) -> None:
    write_activations(small_tree, ("ada", "bob"), tmp_path / "npz")
    whole = import_cache(tmp_path / "npz", small_tree, tmp_path / "whole")
    names = ("ada/query/ada_q003", "bob/database/bob_d011")
    less = import_cache(tmp_path / "npz", small_tree, tmp_path / "less", leave_out=names)
    assert less.manifest.cities == whole.manifest.cities
    assert "ada_q003" not in less.keys("ada", "query") and len(less.keys("ada", "query")) == 11
    stamp = (tmp_path / "whole" / "manifest.json").stat().st_mtime_ns
    import_cache(tmp_path / "npz", small_tree, tmp_path / "whole", leave_out=names)
    assert (tmp_path / "whole" / "manifest.json").stat().st_mtime_ns == stamp, "it is made already"
    assert len(open_cache(tmp_path / "whole").keys("ada", "query")) == 12
    import_cache(tmp_path / "npz", small_tree, tmp_path / "grows", ["ada"])
    grown = import_cache(tmp_path / "npz", small_tree, tmp_path / "grows", leave_out=names)
    assert len(grown.keys("ada", "query")) == 12 and len(grown.keys("bob", "database")) == 15
    assert grown.manifest.digest_of(["ada"]) == whole.manifest.digest_of(["ada"]), "trials that use it keep their ids"
    runs = tmp_path / "runs"
    for leave_out, cache, fits in ((names, whole, True), (names, less, True), ((), whole, True), ((), less, False)):
        mode = f"masked, cache: {cache.path}"
        sweep = asked(tmp_path, small_tree, f", leave_out: [{', '.join(leave_out)}]", mode)
        if fits:
            assert looked(sweep, runs).trials[0].digests is not None
        else:
            with pytest.raises(UserError, match=r"the cache lacks 1 pictures of ada/query that.*ada_q003"):
                looked(sweep, runs)


def test_training_and_evaluation_are_those_of_a_tree_that_never_had_them(small_tree: Path, tmp_path: Path) -> None:
    """Masked, by a cache that holds more; broken pictures are never opened."""
    write_activations(small_tree, ("ada", "bob"), tmp_path / "npz")
    import_cache(tmp_path / "npz", small_tree, tmp_path / "cache")
    never = without(small_tree, tmp_path / "never", BROKEN)
    break_pictures(small_tree)
    mode = "masked, placebo: image, mask_reduce: sum"
    rows = []
    for root in (small_tree, never):
        cache = tmp_path / f"cache-{root.name}"
        import_cache(tmp_path / "npz", root, cache, leave_out=tuple(BROKEN))
        sweep = asked(tmp_path, root, ", broken: leave_out", f"{mode}, cache: {cache}")
        (trial,) = prepared(sweep, tmp_path / "runs").trials
        rows.append(run_here(trial, tmp_path / "runs" / "trials" / trial.trial_id))
    ours, theirs = rows
    assert ours.metrics == theirs.metrics and ours.final_loss == theirs.final_loss
    assert ours.untrained == theirs.untrained and ours.protocol.num_left_out == 2
    assert "ada is read without 1 of 12 query images" in " ".join(ours.fallbacks)


def test_with_data_reads_a_list_once_for_all(small_tree: Path, tmp_path: Path) -> None:
    """A job on a node gets names, never the path of a list that somebody may change."""
    (tmp_path / "gone.txt").write_text("bob_q005\n")
    (trial,) = asked(tmp_path, small_tree, f", leave_out: {tmp_path / 'gone.txt'}").trials
    assert with_data(trial, tmp_path / "runs").data.leave_out == ("bob/query/bob_q005",)


def test_a_cache_for_several_trials_lacks_what_none_of_them_reads(small_tree: Path, tmp_path: Path) -> None:
    """Trials of other cities name nothing of these; who reads a picture that another leaves out, gets it."""
    segmenter = SegmenterSpec(name="deeplabv3plus", weights=str(tmp_path / "w.pth"))

    def order(train: str, validate: str, *leave_out: str) -> TrialSpec:
        data = DataSpec(root="/d", train=(train,), validate_cities=(validate,), leave_out=leave_out)
        shown = InputSpec(mode="masked", cache="/c", segmenter=segmenter)
        return TrialSpec(data=data, input=shown)

    trials = [
        order("ada", "bob", "ada/query/1", "bob/query/2", "bob/query/3"),
        order("cyd", "bob", "bob/query/2", "cyd/query/4"),
    ]
    (found,) = orders_of(trials, read_profile("local"))
    assert found.cities == ("ada", "bob", "cyd")
    assert found.leave_out == ("ada/query/1", "bob/query/2", "cyd/query/4")
