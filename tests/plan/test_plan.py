"""`vprdist plan` as a person runs it: it says what would happen, and leaves everything as it was."""

from __future__ import annotations

import io
import re
import shutil
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.launch.toy import toy_result
from tests.worlds import spread_queries, write_activations, write_side
from vprdist.cli import main
from vprdist.console import Console
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.errors import UserError
from vprdist.files import append_json_line, locked, write_json
from vprdist.plan.noise import Noise
from vprdist.plan.power import power_of
from vprdist.plan.show import show_plan
from vprdist.plan.survey import Plan, _once, survey
from vprdist.prepare.prepare import Prepared, prepare
from vprdist.semantics.importing import import_cache
from vprdist.spec.profile import ClusterProfile, read_profile
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests
from vprdist.store.queries import queries_path
from vprdist.store.trial_folder import TrialFolder

SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  network: {{backbone: resnet18, weights: none}}
  train: {{image_size: [32, 40], steps: 5, batch_pairs: 4, micro_pairs: 4}}
search: {{grid: {{network.unfreeze: [0-2, 2-2, all]}}}}
"""


@pytest.fixture
def sweep_file(small_tree: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP.format(root=small_tree))
    return path


def everything_below(*roots: Path) -> dict[str, tuple[int, int]]:
    paths = [path for root in roots for path in root.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


def plan_of(path: Path, runs: Path, profile: ClusterProfile | None = None, *words: str) -> Plan:
    sweep = read_sweep(path, words)
    return survey(sweep, profile or read_profile(sweep.cluster), runs)


def leave_result(runs: Path, trial_id: str, row: ResultRow) -> None:
    write_json(TrialFolder.of(runs, trial_id).path / "result.json", row.model_dump(mode="json", by_alias=True))


def quiet(sweep: SweepSpec, runs: Path) -> Prepared:
    return prepare(
        sweep, read_profile("local"), runs, lambda text: None, lambda title: nullcontext(lambda done, total: None)
    )


def ids(sweep: SweepSpec, runs: Path) -> list[str]:
    return [trial.trial_id for trial in quiet(sweep, runs).trials]


def test_nothing_is_written_and_the_words_say_so(sweep_file, small_tree, tmp_path, capsys):
    runs = tmp_path / "runs"
    before = everything_below(tmp_path, small_tree)
    assert main(["plan", str(sweep_file), "--runs", str(runs)]) == 0
    text = capsys.readouterr().out
    assert everything_below(tmp_path, small_tree) == before
    assert not runs.exists()
    for words in ("3 trials (3 new)", "no earlier result", "MB in one process here", "counted; no trial is done yet"):
        assert words in text, text
    assert text.rstrip().endswith("To run it: the same words after `vprdist sweep`.")


def test_ids_are_those_that_the_sweep_will_have(sweep_file, tmp_path):
    runs = tmp_path / "runs"
    planned = [each.trial_id for each in plan_of(sweep_file, runs).trials]
    assert planned == ids(read_sweep(sweep_file), runs)


def test_each_state_is_told_from_the_trials_folder(sweep_file, tmp_path):
    runs = tmp_path / "runs"
    trials = plan_of(sweep_file, runs, None, "seeds=[0,1]").trials
    folders = [TrialFolder.of(runs, each.trial_id or "") for each in trials]
    leave_result(runs, folders[0].trial_id, toy_result(trials[0].trial))
    for folder in folders[1:5]:
        folder.log.mkdir(parents=True)
    write_json(folders[3].failure_file, {})
    write_json(folders[4].job_file, {})
    with locked(folders[1].running_lock), locked(folders[2].driver_lock):
        states = [each.state for each in plan_of(sweep_file, runs, None, "seeds=[0,1]").trials]
    assert states == ["done", "running", "watched by another driver", "failed before", "begun", "new"]


def test_hours_and_gpu_hours_come_from_earlier_results(sweep_file, tmp_path, capsys):
    runs = tmp_path / "runs"
    profile = ClusterProfile(kind="slurm", partition="gpu", gpus_per_node=2, ranks=2, time_limit_min=60)
    first = plan_of(sweep_file, runs, profile).trials[0]
    row = toy_result(first.trial, num_ranks=2)
    values = {"train_s": 3600.0, "wall_s": 3600.0, "steps": 5, "device": "NVIDIA H100"}
    leave_result(runs, first.trial_id or "", row.model_copy(update=values))
    sweep = tmp_path / "mine.yaml"
    sweep.write_text(sweep.read_text() + "budget: {gpu_hours: 3.9}\n")
    plan = plan_of(sweep, runs, profile)
    assert [each.state for each in plan.trials] == ["done", "new", "new"]
    assert [each.estimate.hours for each in plan.to_run] == [1.0, 1.0]
    assert plan.over_budget is not None
    assert "at most 3.9 GPU-hours (estimated); found 4" in str(plan.over_budget)


@pytest.mark.parametrize("known", [True, False])
def test_gpu_hours_of_trials_and_probes_add_up_to_what_the_budget_counts(spread_file, tmp_path, known):
    profile = ClusterProfile(kind="slurm", partition="gpu", gpus_per_node=2, ranks=2, time_limit_min=90)
    search = "search={searcher: one_network, subsets: {classes: [building, sky, pole]}}"
    words = (search, "seeds=[0,1,2]", "budget.gpu_hours=0.5")
    if known:
        first = plan_of(spread_file, tmp_path / "runs", profile, *words).looked.trials[0]
        row = toy_result(first, num_ranks=2)
        values = {"train_s": 720.0, "wall_s": 1080.0, "steps": 5, "device": "NVIDIA H100"}
        leave_result(tmp_path / "runs", first.trial_id, row.model_copy(update=values))
    plan = plan_of(spread_file, tmp_path / "runs", profile, *words)
    told = io.StringIO()
    show_plan(plan, {}, Console(file=told, width=200), full=False)
    found = re.search(r"(about|at most) (\S+) GPU-hours: (\S+) of trials and (\S+) of probes", told.getvalue())
    assert found, told.getvalue()
    total, trials, probes = map(float, found.groups()[1:])
    # Networks, everybody and three finalists, three seeds each, on two GPUs; of probes one job a network at its limit.
    assert trials == pytest.approx(15 * 2 * (0.3 if known else 1.5))
    assert probes == (pytest.approx(plan.probes.device_s / 3600, rel=1e-3) if known else 2 * 2 * 1.5)
    assert total == pytest.approx(trials + probes, rel=1e-3)
    assert found[1] == ("about" if known else "at most")
    assert "trials and probes still to run must take at most 0.5 GPU-hours" in str(plan.over_budget)
    assert f"; found {total}." in str(plan.over_budget)


def test_a_sweep_above_its_budget_is_refused_by_plan_and_by_the_sweep(sweep_file, tmp_path, capsys):
    runs = tmp_path / "runs"
    words = [str(sweep_file), "budget.trials=2", "--runs", str(runs)]
    assert main(["plan", *words]) == 2
    planned = capsys.readouterr()
    assert "3 trials (3 new)" in planned.out, "the plan is shown all the same"
    assert main(["sweep", *words]) == 2
    assert capsys.readouterr().err == planned.err
    assert "budget.trials: the sweep must have at most 2 trials; found 3" in planned.err
    assert not (runs / "trials").exists()


def test_the_same_experiment_under_two_names_is_planned_once(sweep_file, tmp_path):
    words = "search.grid.network.unfreeze=[all, 0-2, [layer3, layer4]]"
    assert len(plan_of(sweep_file, tmp_path / "runs", None, words).trials) == 2


def test_a_searchers_trials_are_not_known_before(sweep_file, tmp_path, capsys):
    words = ["search={searcher: random, num_trials: 7, space: {train.lr: {loguniform: [0.001, 0.1]}}}"]
    assert main(["plan", str(sweep_file), "--runs", str(tmp_path / "runs"), *words]) == 0
    text = capsys.readouterr().out
    assert "7 trials (7 not proposed yet)" in text
    assert "random proposes them over train.lr" in text
    assert not (tmp_path / "runs").exists()


def test_a_users_own_searcher_is_planned_and_made_once_to_see_that_it_can_be(sweep_file, tmp_path, capsys):
    mine = tmp_path / "mine.py"
    words = [f"search={{searcher: {mine}:Mine, num_trials: 7, space: {{train.lr: {{loguniform: [0.001, 0.1]}}}}}}"]
    plan = ["plan", str(sweep_file), "--runs", str(tmp_path / "runs"), *words]
    mine.write_text("class Mine:\n    def __init__(self, space, seed): self.n = 1\n    def propose(self, told): pass\n")
    assert main(plan) == 0
    text = capsys.readouterr().out
    assert "7 trials (7 not proposed yet)" in text
    assert "Mine proposes them over train.lr" in text
    mine.write_text("class Mine:\n    def __init__(self, space, seed): self.n = 1 / 0\n")
    for command in (plan, ["sweep", *plan[1:]]):
        assert main(command) == 2
        assert f"{mine}:2: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "trials").exists()


def test_what_a_search_has_proposed_already_is_counted_and_costs_nothing_again(sweep_file, tmp_path, capsys):
    runs, limit = tmp_path / "runs", ClusterProfile(kind="slurm", partition="gpu", gpus_per_node=1, time_limit_min=60)
    words = "search={searcher: random, num_trials: 7, space: {train.lr: {loguniform: [0.001, 0.1]}}}"
    sweep = read_sweep(sweep_file, [words])
    prepared = quiet(sweep, runs)
    trials = [prepared.resolve(trial_at(sweep, {"train.lr": lr})) for lr in (0.01, 0.02, 0.03)]
    journal = runs / "sweeps" / sweep.name / "proposals.jsonl"
    for lr, trial in zip((0.01, 0.02, 0.03), trials, strict=True):
        append_json_line(journal, {"kind": "proposed", "trial": trial.trial_id, "point": {"train.lr": lr}})
    append_json_line(journal, {"kind": "stopped", "trial": trials[1].trial_id, "step": 1, "value": 0.1})
    append_json_line(journal, {"kind": "refused", "point": {"train.lr": 0.04}, "why": "no"})
    append_json_line(journal, {"kind": "proposed", "trial": "of-other-data", "point": {"train.lr": 0.05}})
    leave_result(runs, trials[0].trial_id, toy_result(trials[0]))
    plan = plan_of(sweep_file, runs, limit, words)
    states = Counter(each.state for each in plan.trials)
    assert states == {"done": 1, "stopped early": 1, "new": 1, "not proposed yet": 3}
    assert [each.trial_id for each in plan.trials][:3] == [trial.trial_id for trial in trials]
    assert len(plan.to_run) == 4
    assert plan_of(sweep_file, runs, limit, words, "budget.gpu_hours=4").over_budget is None
    four = [str(sweep_file), words, "--runs", str(runs)]
    assert main(["plan", *four]) == 0
    assert "6 trials (1 done, 1 stopped early, 1 new, 3 not proposed yet)" in capsys.readouterr().out
    longer = plan_of(sweep_file, runs, limit, words, "trial.train.steps=6").trials
    assert [each.state for each in longer] == ["not proposed yet"] * 6, "what was proposed of other trials is gone"


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("{searcher: shapley, num_trials: 80, subsets: {classes: [building, sky, pole]}}",
         ("at most 80 trials (80 not proposed yet)", "5 trials a draw", "it stops at 8 draws (40 trials) or later")),
        ("{searcher: greedy, subsets: {classes: [building, sky, pole]}, grid: {network.unfreeze: [0-2, all]}}",
         ("at most 12 trials", "3 trials, then one less each time at each of 2 settings")),
        ("{subsets: {classes: [building, sky, pole], take: leave_one_out}}",
         ("subsets: 4 trials (4 new)", "of 3 players: building, sky, pole", "one seed claims nothing")),
    ],
)  # fmt: skip
def test_what_a_search_of_subsets_takes_at_most(masked_file, tmp_path, capsys, search, words):
    assert main(["plan", str(masked_file), "name=subsets", f"search={search}", "--runs", str(tmp_path / "runs")]) == 0
    text = capsys.readouterr().out
    for part in (*words, "8 queries in 1 cluster: differences in recall@1 of two trials from 0.628 on are found"):
        assert part in " ".join(text.split()), text
    assert text.count("are found") == 1, "one smallest difference, not two"
    refused = [str(masked_file), f"search={search}", "budget.trials=3", "--runs", str(tmp_path / "runs")]
    assert main(["plan", *refused]) == main(["sweep", *refused]) == 2
    assert "budget.trials: the sweep must have at most 3 trials; found " in capsys.readouterr().err
    assert not (tmp_path / "runs" / "trials").exists()


@pytest.mark.parametrize(
    ("search", "seeds", "is_said"),
    [
        ("{subsets: {classes: [building, sky], take: add_one_in}}", "[0]", True),
        ("{searcher: one_network, subsets: {classes: [building, sky]}}", "[0]", True),
        ("{subsets: {classes: [building, sky], take: leave_one_out}}", "[0, 1]", False),
        ("{subsets: {classes: [building, sky], take: [[sky], [building]]}}", "[0]", False),  # claims nothing ever
        ("{searcher: greedy, subsets: {classes: [building, sky]}}", "[0]", False),  # an order, whatever the seeds
    ],
)
def test_that_one_seed_claims_nothing_is_said_where_it_matters(spread_file, tmp_path, search, seeds, is_said):
    plan = plan_of(spread_file, tmp_path / "runs", None, f"search={search}", f"seeds={seeds}")
    told = io.StringIO()
    show_plan(plan, {}, Console(file=told, width=200), full=False)
    assert "of 2 players" in told.getvalue()
    assert ("one seed claims nothing" in told.getvalue()) == is_said


@pytest.mark.parametrize("command", ["plan", "sweep"])
def test_too_few_queries_for_any_claim_are_refused(masked_file, tmp_path, capsys, command):
    search = "search={subsets: {classes: [building, sky], take: leave_one_out, confidence: 0.999}}"
    assert main([command, str(masked_file), search, "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert "bob: claims at confidence 0.999 need 11 queries" in error
    assert "found 8. Validate on more cities" in error
    assert not (tmp_path / "runs" / "trials").exists()


@pytest.mark.parametrize("command", ["plan", "sweep"])
def test_too_few_clusters_for_probes_to_claim_anything_are_refused(masked_file, tmp_path, capsys, command):
    search = "search={searcher: one_network, subsets: {classes: [building, sky]}}"
    assert main([command, str(masked_file), search, "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert "bob: claims at confidence 0.95 need 6 clusters of neighbouring queries" in error
    assert "found 1. Validate on more cities" in error
    assert not (tmp_path / "runs" / "trials").exists()


@pytest.mark.parametrize("command", ["plan", "sweep"])
@pytest.mark.parametrize(
    "search",
    [
        "{grid: {input.placebo: [none, image]}}",
        "{subsets: {classes: [building, sky], take: leave_one_out, placebos: [random, image]}}",
        "{searcher: one_network, subsets: {classes: [building, sky], placebos: [image]}}",
        "{searcher: greedy, subsets: {classes: [building, sky], placebos: [image]}}",
        "{searcher: random, num_trials: 2, space: {input.placebo: [none, image]}}",
    ],
)
def test_the_mask_of_another_picture_needs_another_picture(lonely_file, small_tree, tmp_path, capsys, command, search):
    assert main([command, str(lonely_file), f"search={search}", "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert f"{small_tree}/train_val/bob/query: placebo `image` takes the mask of another picture" in error
    assert "found 1. Take `image` out of the placebos, or another city." in error
    assert not (tmp_path / "runs" / "trials").exists()


def test_of_other_placebos_one_picture_is_enough(lonely_file, tmp_path):
    for words in ("search={grid: {input.placebo: [none, random]}}", "trial.input={mode: rgb, placebo: image}"):
        assert plan_of(lonely_file, tmp_path / "runs", None, words).trials


@pytest.fixture
def masked_file(sweep_file: Path, small_tree: Path, tmp_path: Path) -> Path:
    """The same sweep with masks from a cache of made-up activations."""
    return with_masks(sweep_file, small_tree, tmp_path / "cache")


@pytest.fixture
def lonely_file(sweep_file: Path, small_tree: Path, tmp_path: Path) -> Path:
    """As `masked_file`, but one query is all that is asked."""
    query = small_tree / "train_val" / "bob" / "query"
    shutil.rmtree(query)
    write_side(query, ["only"], [(500_000.0, 5_000_000.0)])
    return with_masks(sweep_file, small_tree, tmp_path / "cache")


@pytest.fixture
def spread_file(sweep_file: Path, small_tree: Path, tmp_path: Path) -> Path:
    """As `masked_file`, each query in a cluster of its own."""
    spread_queries(small_tree, "bob")
    return with_masks(sweep_file, small_tree, tmp_path / "cache")


def with_masks(sweep_file: Path, tree: Path, cache: Path) -> Path:
    write_activations(tree, ("ada", "bob"), cache.with_name("activations"))
    import_cache(cache.with_name("activations"), tree, cache, segmenter="test")
    masks = f"trial:\n  input: {{mode: masked, mask_reduce: sum, cache: {cache}}}\n"
    sweep_file.write_text(sweep_file.read_text().replace("trial:\n", masks))
    return sweep_file


def test_on_a_cluster_the_script_is_shown_though_there_is_no_slurm_here(sweep_file, tmp_path, capsys, monkeypatch):
    bare = tmp_path / "bin"
    bare.mkdir()
    monkeypatch.setenv("PATH", str(bare))
    before = everything_below(tmp_path)
    assert main(["plan", str(sweep_file), "cluster=example-gpu", "--runs", str(tmp_path / "runs")]) == 0
    text = capsys.readouterr().out
    assert "#SBATCH --job-name=vprdist-" in text
    assert "there is no SLURM here" in text
    assert "--detach would run it as a job of" in text
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize(
    ("keys", "said", "line"),
    [
        ("trials_per_job: 2", "2 trials a job, one after another: 3 job(s)", "--job-name=vprdist-pack-TOKEN"),
        ("arrays: true", "6 job(s) in 1 job array(s) of up to 6 tasks", "--array=0-5%6"),
        ("arrays: true\nmax_concurrent: 1", "at most 1 tasks of an array at once", "--array=0-5%1"),
        (
            "arrays: true\ntrials_per_job: 2\nside_by_side: 2",
            "2 trials a job, 2 at once: 3 job(s)",
            "--job-name=vprdist-array-TOKEN",
        ),
    ],
)
def test_the_script_is_that_of_a_pack_or_an_array_where_that_is_what_is_submitted(
    sweep_file, tmp_path, capsys, monkeypatch, keys, said, line
):
    bare = tmp_path / "bin"
    bare.mkdir()
    monkeypatch.setenv("PATH", str(bare))
    (tmp_path / "site.yaml").write_text(f"kind: slurm\n{keys}\n")
    words = ["plan", str(sweep_file), f"cluster={tmp_path / 'site.yaml'}", "search.grid.train.lr=[0.1,0.2]"]
    assert main([*words, "--runs", str(tmp_path / "runs")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert said in text
    assert line in text
    assert f" pack {tmp_path}/runs/batches/TOKEN" in text


def test_the_demo_city_is_not_made_by_a_plan(tmp_path, capsys):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `demo`")
    repo = Path(__file__).resolve().parents[2]
    assert main(["plan", str(repo / "sweeps" / "table1.yaml"), "--runs", str(tmp_path / "runs")]) == 0
    text = capsys.readouterr().out
    assert "8 not resolved yet" in text
    assert "demo" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "count"), [("learnt_mask", 18), ("forms_beside_rgb", 21)])
def test_before_the_data_are_there_settings_that_are_one_trial_are_planned_once(name, count):
    trials = read_sweep(Path(__file__).resolve().parents[2] / "sweeps" / f"{name}.yaml").trials
    told = _once(trials)
    assert all(trial.digests is None for trial in told) and len(told) == count
    known = {trial.resolved(Digests(dataset="d", cache="c", weights="w")).trial_id for trial in trials}
    assert len(known) == count, "as many as there will be"


def test_what_the_sweep_would_refuse_the_plan_refuses(sweep_file, tmp_path, capsys):
    assert main(["plan", str(sweep_file), "trial.data.train=[nowhere]", "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "Traceback" not in error
    with pytest.raises(UserError):
        plan_of(sweep_file, tmp_path / "runs", None, "trial.data.train=[nowhere]")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "tree"]


def test_the_plan_says_what_the_sweep_could_tell(sweep_file, tmp_path, capsys):
    assert main(["plan", str(sweep_file), "seeds=[0,1]", "--runs", str(tmp_path / "runs")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "what it can tell" in told and "Holm over 2 comparisons" in told and "2 seeds a row" in told
    assert "assumed: no earlier trials" in told and "the least difference that is found: with 3 seeds 0." in told
    assert main(["plan", str(sweep_file), "seeds=[0]", "--runs", str(tmp_path / "runs")]) == 0
    one = " ".join(capsys.readouterr().out.split())
    assert "the least difference that is found (80 % power at 5 %): with 3 seeds 0." in one
    power = plan_of(sweep_file, tmp_path / "runs", None, "seeds=[0,1]").power
    tree = read_sweep(sweep_file).trials[0].data
    assert power.num_queries == len(
        build_tasks([read_city(Path(tree.root), "bob")], read_sweep(sweep_file).trials[0])[0].queries
    )
    assert power.effect(10) < power.effect(2)


def test_comparisons_are_those_that_the_leaderboard_will_make(sweep_file, tmp_path):
    """With a baseline of its own for each row, three of six rows have a p-value, and Holm corrects three."""
    words = ("search.grid.train.margin=[0.4,0.5]", "baseline={train.margin: 0.5}")
    own = plan_of(sweep_file, tmp_path / "runs", None, *words).power
    first = plan_of(sweep_file, tmp_path / "runs", None, words[0]).power
    assert (own.num_comparisons, first.num_comparisons) == (3, 5)
    assert own.effect(1) < first.effect(1)
    best = plan_of(sweep_file, tmp_path / "runs", None, words[0], "baseline=best", "seeds=[0,1]").power
    assert best.num_comparisons == 6 * 5 // 2, "the best is chosen after looking, and pays for all pairs of six rows"
    assert "all 15 pairs" in next(iter(best.lines()))
    (promise,) = [line for line in own.lines() if "1 seed a row" in line]
    assert "without p and groups" in promise and "are found" not in promise, "one seed tells nothing of settings"


def test_a_plan_of_one_row_compares_nothing(sweep_file, tmp_path):
    assert plan_of(sweep_file, tmp_path / "runs", None, "search.grid.network.unfreeze=[all]").power is None


def test_noise_comes_from_the_same_cities_and_from_files_that_can_be_read(sweep_file, tmp_path):
    sweep = read_sweep(sweep_file)
    row = toy_result(plan_of(sweep_file, tmp_path / "runs").trials[0].trial)
    same, other = (
        row.model_copy(update={"protocol": row.protocol.model_copy(update={"cities": (city,)})})
        for city in ("bob", "eve")
    )
    path = queries_path(tmp_path / "trials" / same.trial_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut")
    count = same.protocol.num_queries
    power = power_of(sweep, count, 3, [same], tmp_path)
    assert power.noise == Noise() and "must be readable" in "".join(power.lines())
    assert power_of(sweep, count, 3, [other], tmp_path).left_out == ()
