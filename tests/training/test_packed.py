"""A trial that reads packed pictures is the trial that reads files: the same id, the same numbers to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broken import BROKEN, break_pictures
from tests.prepare.test_prepare import Listener, looked, prepared, sweep_of
from tests.training.making import TwoRanks, losses, make_cache, make_trial, run_here
from tests.worlds import write_city, write_small_tree
from vprdist.data.layouts import dataset_digest, layout_of, open_layout
from vprdist.data.pack import open_pack
from vprdist.data.pack.making import Wanted, make_pack
from vprdist.errors import UserError
from vprdist.network import inputs
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import LayoutName
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import RunSpec, TrialSpec


def pack_of(root: Path, out: Path, size: tuple[int, int] | None, cities: tuple[str, ...] = ("ada", "bob")) -> Path:
    make_pack(Wanted(open_layout(root), cities, size, 9000, 1), out)
    return out


def reading(trial: TrialSpec, pack: Path, **run: object) -> TrialSpec:
    """The same trial through a pack."""
    data = trial.data.model_copy(update={"pack": str(pack)})
    return trial.model_copy(update={"data": data, "run": RunSpec(log_steps=1, **run)})


def assert_same(one: ResultRow, two: ResultRow) -> None:
    assert (one.trial_id, one.metrics, one.untrained) == (two.trial_id, two.metrics, two.untrained)
    assert (one.final_loss, one.protocol, one.variants) == (two.final_loss, two.protocol, two.variants)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures that are resized."""
    return write_small_tree(tmp_path / "tree", picture_size=(100, 80))


@pytest.mark.parametrize("kept", [{}, {"keep_mb": 0}, {"workers": 2}])
@pytest.mark.parametrize("size", [None, (32, 40)])
def test_the_same_trial_has_the_same_numbers(
    tree: Path, tmp_path: Path, size: tuple[int, int] | None, kept: dict[str, object]
) -> None:
    trial = make_trial(tree, make_cache(tree, tmp_path), "masked", steps=4)
    whitened = trial.evaluate.model_copy(update={"whitening": "train", "dimensions": (8,)})
    trial = trial.model_copy(update={"evaluate": whitened})
    plain = run_here(trial, tmp_path / "files" / "trials" / "a")
    packed = reading(trial, pack_of(tree, tmp_path / "pack", size), **kept)
    row = run_here(packed, tmp_path / "runs" / "trials" / "a")
    assert losses(tmp_path / "files/trials/a") == losses(tmp_path / "runs/trials/a")
    assert_same(plain, row)
    assert row.fallbacks == plain.fallbacks, "nothing is read from files"
    predictions = (Path("predictions") / name for name in ("queries.parquet", "sheet.png"))
    for name in predictions:
        one, two = (tmp_path / folder / "trials" / "a" / name for folder in ("files", "runs"))
        assert one.read_bytes() == two.read_bytes()
    assert not (tmp_path / "runs" / "data" / "resized").exists(), "what is packed is not kept a second time"


def test_no_picture_is_opened(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(path: Path, height: int, width: int, data: object = None) -> None:
        raise AssertionError(f"{path} is decoded")

    trial = reading(make_trial(tree, steps=3), pack_of(tree, tmp_path / "pack", (32, 40)))
    monkeypatch.setattr(inputs, "loader_of", lambda computation: never)
    assert run_here(trial, tmp_path / "t").steps == 3


def test_two_ranks_that_read_one_pack_equal_two_that_read_files(
    tree: Path, tmp_path: Path, two_ranks: TwoRanks
) -> None:
    trial = make_trial(tree, steps=3)
    folders = [tmp_path / "files" / "trials" / "a", tmp_path / "runs" / "trials" / "a"]
    two_ranks.run((trial, folders[0]), (reading(trial, pack_of(tree, tmp_path / "pack", (32, 40))), folders[1]))
    assert losses(folders[0]) == losses(folders[1])
    assert_same(*(ResultRow.model_validate_json((folder / "result.json").read_text()) for folder in folders))


def test_what_the_pack_does_not_hold_is_read_from_files_and_recorded(tree: Path, tmp_path: Path) -> None:
    trial = make_trial(tree, steps=3)
    plain = run_here(trial, tmp_path / "files" / "trials" / "a")
    some = pack_of(tree, tmp_path / "some", (32, 40), ("ada",))
    row = run_here(reading(trial, some), tmp_path / "runs" / "trials" / "a")
    assert_same(plain, row)
    assert "pictures of bob are read from files: the pack some does not hold this city" in row.fallbacks
    other = pack_of(tree, tmp_path / "other", (40, 32))
    row = run_here(reading(trial, other), tmp_path / "runs" / "trials" / "b")
    assert_same(plain, row)
    assert "pictures of 32x40 are read from files: the pack other holds pixels of 40x32" in row.fallbacks
    larger = trial.evaluate.model_copy(update={"image_size": (40, 32)})
    wide = trial.model_copy(update={"evaluate": larger})
    row = run_here(reading(wide, other), tmp_path / "runs" / "trials" / "c")
    assert_same(run_here(wide, tmp_path / "files" / "trials" / "c"), row)
    assert "pictures of 32x40 are read from files: the pack other holds pixels of 40x32" in row.fallbacks


def test_a_job_refuses_a_pack_that_is_not_of_its_data(tree: Path, tmp_path: Path) -> None:
    trial, pack = make_trial(tree, steps=3), pack_of(tree, tmp_path / "pack", None)
    elsewhere = write_small_tree(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"^trial\.data\.pack: .*must be of ada as it is now"):
        run_here(reading(make_trial(elsewhere), pack), tmp_path / "t")
    entry = open_pack(pack).manifest.of_side("bob", "query")[0]
    path = pack / "shards" / entry.file
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"^trial\.data\.pack: .*it was cut or written over"):
        run_here(reading(trial, pack), tmp_path / "t")


def test_mixed_data_sets_are_packed_as_one(tmp_path: Path) -> None:
    write_small_tree(tmp_path / "first")
    write_city(tmp_path / "new", "bob", num_query=9, num_database=13, seed=12)
    mixed = LayoutName.of("mixed", sets={"old": {"folder": "first"}, "new": {}, "again": {"folder": "first"}})
    cities = ("old.bob", "new.bob", "again.bob")
    data = DataSpec(root=str(tmp_path), layout=mixed, train=("old.ada",), validate_cities=cities)
    trial = make_trial(tmp_path / "first", steps=2).model_copy(update={"data": data})
    assert trial.digests is not None
    digests = trial.digests.model_copy(update={"dataset": dataset_digest(data, ("old.ada", *cities))})
    trial = trial.model_copy(update={"digests": digests})
    plain = run_here(trial, tmp_path / "files" / "trials" / "a")
    make_pack(Wanted(layout_of(data), ("old.ada", "old.bob", "new.bob"), (32, 40), 9000, 1), tmp_path / "pack")
    row = run_here(reading(trial, tmp_path / "pack"), tmp_path / "runs" / "trials" / "a")
    assert_same(plain, row)
    assert plain.others == row.others and len(row.others) == 2
    missing = set(row.fallbacks) - set(plain.fallbacks)
    assert missing == {"pictures of again.bob are read from files: the pack pack does not hold this city"}


SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob], pack: {pack}{more}}}
  network: {{backbone: resnet18, weights: none}}
  train: {{image_size: [32, 40], steps: 5, batch_pairs: 4, micro_pairs: 4}}
"""


def test_a_sweep_looks_at_the_pack_before_anything_starts(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, pack = tmp_path / "runs", pack_of(tree, tmp_path / "pack", (32, 40))
    monkeypatch.chdir(tmp_path)  # as for the root, a path counts from where the command is given
    sweep = sweep_of(tmp_path, SWEEP.format(root=tree, pack="pack", more=""))
    made = prepared(sweep, runs, Listener())
    assert made.trials[0].data.pack == str(pack)
    assert made.trials == looked(sweep, runs).trials
    plain = prepared(sweep_of(tmp_path, SWEEP.format(root=tree, pack="null", more="")), runs)
    assert plain.trials[0].trial_id == made.trials[0].trial_id and plain.facts == made.facts
    some = pack_of(tree, tmp_path / "some", (32, 40), ("bob",))
    made = prepared(sweep_of(tmp_path, SWEEP.format(root=tree, pack=some, more="")), runs)
    (fact,) = set(made.facts) - set(plain.facts)
    assert fact == "pictures of ada are read from files: the pack some does not hold this city"
    picture = tree / "train_val/ada/database/images/ada_d003.jpg"
    good = picture.read_bytes()
    picture.write_bytes(bytes((*good[:-9], good[-9] ^ 1, *good[-8:])))
    with pytest.raises(UserError, match=r"ada_d003\.jpg: a picture of ada was changed since it was packed"):
        prepared(sweep, tmp_path / "other runs")
    for name, words in (
        ("nowhere", "a pack must be a folder with a manifest"),
        ("tree", "a pack must be a folder with"),
    ):
        wrong = sweep_of(tmp_path, SWEEP.format(root=tree, pack=name, more=""))
        for look in (looked, prepared):
            with pytest.raises(UserError, match=rf"^trial\.data\.pack: .*{words}"):
                look(wrong, tmp_path / "more runs")


def test_broken_pictures_are_left_out_of_the_pack_and_of_the_trial(small_tree: Path, tmp_path: Path) -> None:
    break_pictures(small_tree)
    make_pack(Wanted(open_layout(small_tree, leave_out=tuple(BROKEN)), ("ada", "bob"), (32, 40)), tmp_path / "pack")
    text = SWEEP.format(root=small_tree, pack=tmp_path / "pack", more=", broken: leave_out")
    (trial,) = prepared(sweep_of(tmp_path, text), tmp_path / "runs").trials
    without = trial.model_copy(update={"data": trial.data.model_copy(update={"pack": None})})
    assert_same(run_here(trial, tmp_path / "runs/trials/a"), run_here(without, tmp_path / "runs/trials/b"))
