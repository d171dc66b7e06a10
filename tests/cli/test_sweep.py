"""What a driver does before and after Tune: signals while it prepares, and the sweep's list of trials."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest

from tests.launch.toy import toy_result, toy_trials
from vprdist.console import Console, guarded
from vprdist.driver import start as driver
from vprdist.errors import LaunchError, UserError
from vprdist.files import read_json, write_json, write_text
from vprdist.prepare.prepare import Prepared
from vprdist.report.publish import leaderboard
from vprdist.search.book import Book
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.search import SearchSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.manifest import Manifest, read_manifest
from vprdist.store.proposals import Proposals
from vprdist.store.trial_folder import TrialFolder

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "table1.yaml"


@pytest.fixture
def requeued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(driver, "requeue_self", lambda: asked.append("requeue"))
    return asked


def test_a_driver_job_that_still_prepares_goes_back_into_the_queue_at_usr2(
    requeued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", "vprdist-driver-mine")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    before = signal.getsignal(signal.SIGUSR2)
    reached = []

    def prepare() -> None:
        with driver._requeued_at_usr2(Console(quiet=True)):
            os.kill(os.getpid(), signal.SIGUSR2)
            reached.append("what the driver was doing goes on")

    try:
        with pytest.raises(KeyboardInterrupt):
            prepare()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert requeued == ["requeue"]
    assert reached == []


def test_sigterm_ends_a_driver_as_ctrl_c_does(capsys: pytest.CaptureFixture[str]) -> None:
    before, reached = signal.getsignal(signal.SIGTERM), []

    def work(console: Console) -> int:
        with driver._left_at_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                reached.append("what the driver was doing goes on")
            finally:
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "a second one ends at once"
        return 0

    assert guarded(work) == 130
    assert "Interrupted. What was made is kept; the same command again continues." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    assert reached == []


def test_a_driver_that_slurm_starts_again_while_slurm_is_silent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cluster can do was asked when the driver was submitted; after an outage nobody starts it once more."""

    def silent(*asked: object) -> tuple[str, ...]:
        raise LaunchError("sinfo", "no answer within 10 s")

    def reached(*told: object) -> Prepared:
        raise LaunchError("reached", "nothing is asked before", None)

    monkeypatch.setattr(driver, "check_cluster", silent)
    monkeypatch.setattr(driver, "prepare", reached)
    sweep, profile, quiet = read_sweep(SWEEP), ClusterProfile(kind="slurm"), Console(quiet=True)
    with pytest.raises(LaunchError, match="sinfo: "):
        driver._run(sweep, profile, tmp_path, quiet, None, False)
    monkeypatch.setenv("SLURM_JOB_NAME", "vprdist-driver-table1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(LaunchError, match="reached: "):
        driver._run(sweep, profile, tmp_path, quiet, None, False)


def test_elsewhere_usr2_is_left_alone(requeued: list[str]) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with driver._requeued_at_usr2(Console(quiet=True)):
        assert signal.getsignal(signal.SIGUSR2) == before
    assert requeued == []


def test_a_manifest_keeps_the_trials_that_it_knows_until_others_are_known(tmp_path: Path) -> None:
    sweep = read_sweep(SWEEP)
    trials = [t.resolved(Digests(dataset="d", cache="c", weights="w")) for t in sweep.trials[:2]]
    first = Manifest(tmp_path, sweep, ())
    for trial in trials:
        first.add(trial)
    first.write()
    again = Manifest(tmp_path, sweep, ())
    again.keep_known()
    again.write()
    assert list(read_manifest(tmp_path)["names"]) == [trial.trial_id for trial in trials]


def test_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Two checkpoints of one segmenter: on the page a row is known by its name."""
    segmenters = ["{name: deeplabv3plus, weights: a.pth}", "{name: deeplabv3plus, weights: b.pth}"]
    axis = f"search.grid={{input.mode: [masked], input.segmenter: [{', '.join(segmenters)}]}}"
    sweep = read_sweep(SWEEP, [axis, "baseline=first", "seeds=[0,1]"])
    caches = [trial.input.segmenter.weights for trial in sweep.trials]
    trials = [
        t.resolved(Digests(dataset="d", cache=cache, weights="w"))
        for t, cache in zip(sweep.trials, caches, strict=True)
    ]
    book = Manifest(tmp_path, sweep, ())
    for trial in (*trials, trials[0]):
        book.add(trial)
    assert list(book.names.values()) == [
        *["masked deeplabv3plus"] * 2,
        *[f"masked deeplabv3plus {trials[2].trial_id[:6]}"] * 2,
    ]


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("null", [0] * 4),
        ("first", [0] * 4),
        ("{network.unfreeze: 0-2}", [0, 0, 2, 2]),
        ("{input.mode: masked}", [2, 3, 2, 3]),
        ("best", None),
    ],
)
def test_a_manifest_names_the_trial_that_each_is_compared_with(tmp_path: Path, baseline, expected) -> None:
    words = [f"baseline={baseline}", "search.grid.network.unfreeze=[0-2, all]", "seeds=[0,1]"]
    sweep = read_sweep(SWEEP, words)
    trials = [t.resolved(Digests(dataset="d", cache="c", weights="w")) for t in sweep.trials]
    book = Manifest(tmp_path, sweep, ())
    for trial in trials:
        book.add(trial)
    book.compare(trials)
    book.write()
    found = read_manifest(tmp_path)["baselines"]
    if expected is None:
        assert found is None
    else:
        ids = [trial.trial_id for trial in trials]
        assert found == {ids[2 * i + s]: ids[2 * e + s] for i, e in enumerate(expected) for s in (0, 1)}
    again = Manifest(tmp_path, sweep, ())
    again.keep_known()
    again.write()
    assert read_manifest(tmp_path)["baselines"] == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value["trials"][0].pop("seed"), "found \"no 'seed'\""),
        (lambda value: value["trials"][0].update(seed="one"), "a seed must be a whole number"),
        (lambda value: value.update(objective=7), "7 is no metric"),
        (lambda value: value.update(direction="down"), "'down' is no direction"),
    ],
)
def test_a_manifest_that_lacks_something_is_one_message(tmp_path: Path, change, message) -> None:
    sweep = read_sweep(SWEEP)
    book = Manifest(tmp_path, sweep, ())
    book.add(sweep.trials[0].resolved(Digests(dataset="d", cache="c", weights="w")))
    book.write()
    value = read_json(tmp_path / "manifest.json")
    change(value)
    write_json(tmp_path / "manifest.json", value)
    with pytest.raises(UserError, match=f"a manifest must be readable; .*{message}"):
        read_manifest(tmp_path)


def test_a_leaderboard_leaves_out_results_of_another_version_and_says_so(tmp_path: Path) -> None:
    from tests.report.making import result

    sweep, rows = read_sweep(SWEEP), [result(0.5), result(0.6, unfreeze="all")]
    book = Manifest(tmp_path / "sweeps" / "table1", sweep, ())
    for number, row in enumerate(rows):
        book.add(row.trial)
        text = row.model_dump_json(by_alias=True)
        path = tmp_path / "trials" / row.trial_id / "result.json"
        write_text(path, text if number else text.replace('"version":', '"version":9'))
    book.write()
    out = io.StringIO()
    assert leaderboard(book.folder, tmp_path, Console(file=out, width=200)) == 0
    told = out.getvalue()
    assert f"left out: {tmp_path / 'trials' / rows[0].trial_id / 'result.json'}: a result must have version" in told
    assert "1 of 2 trials, 1 unreadable or of another version left out" in told
    assert "0.600" in told and "0.500" not in told


def test_a_result_that_comes_while_its_trial_is_looked_at_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search of subsets asks for the values of trials that run: one that it took for failed would be passed over."""
    (trial,) = toy_trials(1)
    search = SearchSpec.model_validate_json(
        '{"space": {"seed": {"values": [0]}}, "searcher": "random", "num_trials": 1}'
    )
    memory = Proposals(tmp_path / "proposals.jsonl", lambda point: trial, "recall@1")
    memory.propose({"seed": 0})
    book = Book(tmp_path, (), search, Proposals(memory.path, memory.resolve, "recall@1"))
    folder = book.folders[trial.trial_id]
    write_json(folder.result_file, toy_result(trial).model_dump(mode="json", by_alias=True))

    def comes_after_the_first_look() -> None:
        looks = iter([False])
        monkeypatch.setattr(TrialFolder, "has_result", property(lambda folder: next(looks, True)))

    comes_after_the_first_look()
    assert book.value_of({"seed": 0}) == 0.0
    memory.stop(trial.trial_id, 1, 0.1)
    again = Book(tmp_path, (), search, Proposals(memory.path, memory.resolve, "recall@1"))
    comes_after_the_first_look()
    assert not again.outcome().failures


def test_retry_of_a_search_runs_what_failed_and_proposes_nothing(tmp_path: Path) -> None:
    def resolve(point: dict[str, float]) -> TrialSpec:
        trial = TrialSpec(train=TrainSpec(lr=point["train.lr"]))
        return trial.resolved(Digests(dataset="d", cache=None, weights="w"))

    search = SearchSpec.model_validate_json(
        '{"space": {"train.lr": {"kind": "uniform", "low": 0.1, "high": 1.0}}, "searcher": "random", "num_trials": 9}'
    )
    first = Proposals(tmp_path / "proposals.jsonl", resolve, "recall@1")
    ids = [first.propose({"train.lr": rate}).trial_id for rate in (0.2, 0.3, 0.4)]
    everything = Book(tmp_path, (), search, Proposals(first.path, resolve, "recall@1"))
    assert everything.pending() == ids and everything.wants_more and everything.size == 9
    some = Book(tmp_path, (), search, Proposals(first.path, resolve, "recall@1"), frozenset([str(ids[1])]))
    assert some.pending() == [ids[1]]
    assert not some.wants_more
    assert some.proposals is not None
    assert [known.trial_id for known in some.proposals.known] == [ids[1]]
