"""What version 0.1 left on disks means the same today: every file, every id, every number.

`of_0_1/` is a run folder that version 0.1 made (commit f8a1861, see make_of_0_1.py), cut to text and small tables.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.making import make_cache
from tests.worlds import spread_queries, write_small_tree
from vprdist.attribution.attribute import attribute
from vprdist.console import Console
from vprdist.errors import LaunchError
from vprdist.files import canonical_json, digest_json, read_json
from vprdist.launch.driver_job import driver_script, read_driver
from vprdist.probes.order import PartReport, ProbeOrder
from vprdist.report.publish import leaderboard
from vprdist.search.points import decode, encode
from vprdist.search.subset_rule import families, network_point
from vprdist.semantics.cache.format import read_manifest as read_cache_manifest
from vprdist.semantics.order import CacheOrder
from vprdist.spec.attribution import Form
from vprdist.spec.demo import DemoSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.status.find import find_sweep
from vprdist.status.status import look
from vprdist.store.attribution_file import attribution_path, read_attribution
from vprdist.store.driving import check_wanted
from vprdist.store.manifest import Manifest, baselines_of, read_manifest
from vprdist.store.proposals import Proposals
from vprdist.store.queries import queries_path, read_queries
from vprdist.store.trial_folder import TrialFolder

LEFT = Path(__file__).parent / "of_0_1"
SWEEPS = ("plain", "searched", "tiny")
IDS: dict[str, Any] = read_json(LEFT / "ids.json")
TRIALS = sorted(path.name for path in (LEFT / "trials").iterdir())


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The run folder, as it would lie here: absolute paths in its files name this place."""
    made_in = str(Path(read_json(LEFT / "trials" / TRIALS[0] / "trial.json")["data"]["root"]).parent)
    for part in ("trials", "sweeps"):
        shutil.copytree(LEFT / part, tmp_path / "runs" / part)
    for path in (tmp_path / "runs").rglob("*"):
        if path.suffix in (".json", ".jsonl", ".yaml", ".sbatch"):
            path.write_text(path.read_text().replace(made_in, str(tmp_path)))
    return tmp_path / "runs"


def digests_of(runs: Path, sweep: str) -> Digests:
    """The digests of a sweep's trials: all have the same data, cache and weights; the cache is that of masks alone."""
    trials = [TrialFolder.of(runs, trial).trial() for trial in read_manifest(runs / "sweeps" / sweep)["names"]]
    (digests,) = {trial.digests.model_dump_json() for trial in trials if trial.digests}
    return Digests.model_validate_json(digests)


def sweep_of(runs: Path, name: str) -> SweepSpec:
    """The sweep as its resolved file says: what a queued driver reads."""
    return read_sweep(runs / "sweeps" / name / "sweep.yaml")


def memory_of(runs: Path, name: str) -> Proposals:
    """What the sweep's searcher proposed, read by a driver that starts today."""
    sweep, digests = sweep_of(runs, name), digests_of(runs, name)

    def resolve(point: Point) -> TrialSpec:
        return trial_at(sweep, point).resolved(digests)

    memory = Proposals(runs / "sweeps" / name / "proposals.jsonl", resolve, sweep.objective)
    memory.read()
    return memory


def leaves(value: object, at: str = "") -> Iterator[tuple[str, object]]:
    """Every plain value of a JSON value, by its place."""
    if isinstance(value, (dict, list)):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(below, f"{at}.{key}")
    else:
        yield at, value


@pytest.mark.parametrize("trial_id", TRIALS)
def test_every_file_of_a_trial_is_read_and_its_id_is_its_folders_name(trial_id: str) -> None:
    place = TrialFolder.of(LEFT, trial_id)
    trial, job = place.trial(), place.job()
    assert trial.trial_id == trial_id
    assert job is not None and job.model_dump(mode="json").items() >= read_json(place.job_file).items()
    assert (place.failure() is not None) == place.failure_file.exists()
    if (failure := place.failure()) is not None:
        assert failure.model_dump(mode="json").items() >= read_json(place.failure_file).items()
    assert [row["token"] for row in place.starts()] == ([job.token] if place.starts_file.exists() else [])
    assert len(place.rows()[0]) == (place.metrics_file.read_text().count("\n") if place.metrics_file.exists() else 0)
    if place.has_result:
        raw, result = read_json(place.result_file), place.result()
        assert result.trial_id == trial_id and result.trial.trial_id == trial_id
        assert result.metrics == raw["metrics"] and result.final_loss == raw["final_loss"]
    path = queries_path(place.path)
    if path.exists():
        found = read_queries(path)
        assert found is not None and len(found.only("all").query) == 8
        assert found.only("all").metrics["recall@1"].mean() == pytest.approx(place.result().metrics["recall@1"])


def test_the_cache_is_read_and_has_its_digest() -> None:
    held = read_cache_manifest(LEFT / "cache").digest_of(("ada", "bob"))
    digests = [
        TrialFolder.of(LEFT, trial).trial().digests for trial in read_manifest(LEFT / "sweeps" / "tiny")["names"]
    ]
    assert {each.cache for each in digests if each} == {held}


def test_the_resolved_file_of_a_grid_has_the_same_trials(runs: Path) -> None:
    sweep, digests, wanted = (
        sweep_of(runs, "plain"),
        digests_of(runs, "plain"),
        read_manifest(runs / "sweeps" / "plain"),
    )
    trials = [trial.resolved(digests) for trial in sweep.trials]
    book = Manifest(runs / "sweeps" / "again", sweep, ())
    for trial in trials:
        book.add(trial)
    assert book.names == wanted["names"], "the same trials, by the same names"
    assert baselines_of(sweep, trials) == wanted["baselines"]
    assert [TrialFolder.of(runs, trial.trial_id).trial() for trial in trials] == trials, "as they were submitted"


@pytest.mark.parametrize("name", ["searched", "tiny"])
def test_a_search_remembers_what_was_proposed(runs: Path, name: str) -> None:
    rows = [json.loads(line) for line in (runs / "sweeps" / name / "proposals.jsonl").read_text().splitlines()]
    memory, sweep = memory_of(runs, name), sweep_of(runs, name)
    proposed = [row for row in rows if row["kind"] == "proposed"]
    assert [each.trial_id for each in memory.known if each.trial_id] == [row["trial"] for row in proposed]
    assert [each.refused for each in memory.known if each.refused] == [r["why"] for r in rows if r["kind"] == "refused"]
    assert {row["trial"] for row in rows if row["kind"] == "stopped"} == set(memory.stopped)
    assert len(memory.ids) == len(memory.known)
    book = Manifest(runs / "sweeps" / "again", sweep, ())
    for row in proposed:
        book.add(TrialFolder.of(runs, row["trial"]).trial())
    assert book.names == read_manifest(runs / "sweeps" / name)["names"]


def test_a_searcher_knows_the_points_that_it_proposed(runs: Path) -> None:
    """It is told of their results before it proposes anything, and finds their trials by its own spelling of them."""
    memory, search = memory_of(runs, "searched"), sweep_of(runs, "searched").search
    for each in memory.known:
        values = encode(search, each.point)
        assert values is not None, f"outside the space: {each.point}"
        assert memory.ids[canonical_json(decode(search, values))] == each.trial_id


def test_a_rule_of_subsets_knows_the_points_that_it_proposed(runs: Path) -> None:
    memory, sweep = memory_of(runs, "tiny"), sweep_of(runs, "tiny")
    network, everybody, finalist = (each.trial_id for each in memory.known)
    (setting,) = sweep.settings
    (game,) = families(sweep, lambda point: None)[0]
    assert memory.ids[canonical_json(network_point(sweep, setting, 0))] == network
    assert memory.ids[canonical_json(game.point(0b111, 0))] == everybody
    assert memory.ids[canonical_json(game.point(0b101, 0))] == finalist


@pytest.mark.parametrize("name", SWEEPS)
def test_the_leaderboard_shows_the_same_rows(runs: Path, name: str) -> None:
    folder = runs / "sweeps" / name
    with (folder / "leaderboard.csv").open() as stream:
        before = list(csv.DictReader(stream))
    (folder / "leaderboard.csv").unlink()
    with Path("/dev/null").open("w") as nowhere:
        assert leaderboard(folder, runs, Console(file=nowhere)) == 0
    with (folder / "leaderboard.csv").open() as stream:
        after = list(csv.DictReader(stream))
    assert before and [row["trial"] for row in after] == [row["trial"] for row in before]
    for old, new in zip(before, after, strict=True):
        for column, value in old.items():
            if column.endswith(("_low", "_high")):  # chance is judged better than it was
                assert new[column] != "" or value == ""
                continue
            if column in ("group", "p", "p_holm"):
                assert new[column] == "", "one seed a row"
                continue
            assert new[column] == value or float(new[column]) == pytest.approx(float(value), abs=2e-6), column


@pytest.mark.parametrize(
    ("name", "states"),
    [("plain", {"done": 2, "failed": 2}), ("searched", {"done": 2, "stopped": 1}), ("tiny", {"done": 3})],
)
def test_status_says_what_became_of_each_trial(runs: Path, name: str, states: dict[str, int]) -> None:
    seen = look(find_sweep(runs, name))
    found = [each.state for each in seen.facts]
    assert {state: found.count(state) for state in found} == states
    assert seen.problems == () and not seen.driven


def test_what_was_said_of_classes_is_read_and_would_be_said_again(runs: Path, tmp_path: Path) -> None:
    spread_queries(write_small_tree(tmp_path / "tree"), "bob")
    make_cache(tmp_path / "tree", tmp_path)
    said = read_attribution(attribution_path(runs / "sweeps" / "tiny"))
    sweep, digests, ids = sweep_of(runs, "tiny"), digests_of(runs, "tiny"), memory_of(runs, "tiny").ids
    results = {trial: TrialFolder.of(runs, trial).result() for trial in ids.values() if trial}
    again = attribute(sweep, [trial.resolved(digests) for trial in sweep.trials], ids, results, runs)
    assert said is not None and again is not None
    assert (said.version, again.version) == (3, 4) and again.settings[0].form == Form(fill="black", reduce="sum")
    bare = tuple(row.model_copy(update={"form": None}) for row in again.settings)
    again = again.model_copy(update={"version": 3, "settings": bare})
    found, wanted = dict(leaves(again.model_dump(mode="json"))), dict(leaves(said.model_dump(mode="json")))
    assert found.keys() == wanted.keys()
    for place, value in wanted.items():
        assert found[place] == (pytest.approx(value) if isinstance(value, float) else value), place


def test_probes_are_found_where_they_were_left(runs: Path) -> None:
    (part,) = runs.glob("trials/*/probes/*/*.parquet")
    report = PartReport.model_validate(read_json(part.with_suffix(".json")), strict=False)
    players = tuple(sweep_of(runs, "tiny").search.subsets.players.values())  # type: ignore[union-attr]
    order = ProbeOrder(trial=str(part.parents[2]), players=players, probes=report.probes)
    assert list(order.parts) == [part] and order.missing == []


def test_a_driver_in_the_queue_is_found_and_work_that_was_cancelled_stays_so(runs: Path) -> None:
    sweep = runs / "sweeps" / "searched"
    record = read_driver(sweep)
    assert record is not None and record.job_id == "4711" and record.name == "vprdist-driver-searched"
    with pytest.raises(LaunchError, match="cancelled by somebody"):
        check_wanted(sweep)
    # The mark that tells drivers of one name apart is made of the folder, so the place is that of then.
    written = (LEFT / "sweeps" / "searched" / "driver" / "driver.sbatch").read_text().splitlines()
    folder = Path(read_json(LEFT / "sweeps" / "searched" / "driver" / "job.json")["log"]).parents[1]
    today = driver_script(folder, folder.parents[1], ClusterProfile(kind="slurm"), 1.5).splitlines()
    for word in ("job-name", "comment"):
        (line,) = (line for line in written if line.startswith(f"#SBATCH --{word}="))
        assert line in today, "the queue's rows of it are known by this"
    words = [line.split()[-3:] for line in (today[-1], written[-1])]
    assert words[0] == words[1], "it drives the same file into the same folder"


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as sections with keys."""
    out: dict[str, Any] = {}
    for key, value in dotted.items():
        *sections, last = key.split(".")
        place = out
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return out


@pytest.mark.parametrize("entry", IDS["trials"], ids=lambda entry: ", ".join(entry["values"]) or "nothing")
def test_a_trial_has_the_id_that_version_0_1_gave_it(entry: dict[str, Any]) -> None:
    values = nested({**IDS["base"], **entry["values"]})
    digests = Digests(**{**IDS["digests"], **values.pop("digests", {})})
    trial = TrialSpec.model_validate_json(json.dumps(values)).resolved(digests)
    assert trial.trial_id == entry["id"]
    assert TrialSpec.model_validate_json(json.dumps(trial.to_json())).trial_id == entry["id"], "as today writes it"
    written = nested({**IDS["written"], **entry.get("apart", entry["values"])})
    assert TrialSpec.model_validate_json(json.dumps(written)).trial_id == entry["id"], "as version 0.1 wrote it"


def test_the_pinned_ids_are_worth_something() -> None:
    assert len(IDS["trials"]) >= 40 and len({entry["id"] for entry in IDS["trials"]}) > 50
    changed = {key for entry in IDS["trials"] for key in entry["values"]}
    neither = {"data.demo", "data.root", "data.train", "data.validate", "input.cache", "train.arms", "seed"}
    for section in ("data", "input", "network", "train", "evaluate"):
        for key in IDS["written"]:
            assert key.split(".")[0] != section or key in changed | neither, f"{key} is at its default in every pin"


@pytest.mark.parametrize("entry", IDS["sweeps"], ids=lambda entry: str(entry["name"]))
def test_a_sweep_file_of_version_0_1_has_the_same_trials(
    entry: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    (tmp_path / "mine.yaml").write_text(entry["text"])
    (tmp_path / "resolved.yaml").write_text(json.dumps(entry["resolved"]))
    digests = Digests(**IDS["digests"])
    sweeps = [read_sweep(tmp_path / "mine.yaml", entry["overrides"])]
    sweeps += [read_sweep(tmp_path / "resolved.yaml")] if entry["resolved"] else []
    for sweep in sweeps:
        book = Manifest(tmp_path, sweep, ())
        for trial in sweep.trials:
            book.add(trial.resolved(digests))
        assert [trial.resolved(digests).trial_id for trial in sweep.trials] == entry["ids"]
        assert list(book.names.values()) == entry["rows"]
        for each in entry["proposed"]:
            assert trial_at(sweep, each["point"]).resolved(digests).trial_id == each["id"]


def test_folders_and_job_arrays_are_named_as_before() -> None:
    def read(model: type[Any], values: dict[str, Any]) -> Any:
        return model.model_validate_json(json.dumps(values))

    for entry in IDS["demo"]:
        assert digest_json(read(DemoSpec, entry["values"]).model_dump(mode="json"), 8) == entry["id"]
    for entry in IDS["segmenters"]:
        spec = read(SegmenterSpec, entry["values"])
        found = [digest_json(spec.identity("w", device)) for device in ("cpu", "cuda")]
        # Exported networks were taken to answer in cells then: what they say now is another cache.
        assert (found == entry["id"]) != spec.facts.exported
    for entry in IDS["orders"]:
        assert read(CacheOrder, entry["values"]).digest == entry["id"]
    order = read(ProbeOrder, IDS["probes"]["values"])
    assert order.digest == IDS["probes"]["id"]
    assert [str(path) for path in order.parts] == IDS["probes"]["parts"]
