"""A plan as a person reads it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from vprdist.console import Console, fitted_table, styled
from vprdist.launch.batches import batch_name, batch_parameters
from vprdist.launch.params import submission_parameters
from vprdist.launch.slurm import MAX_ARRAY_SIZE
from vprdist.plan.budget import gpu_hours
from vprdist.plan.driver_cost import DRIVER_MB, driver_job_gb
from vprdist.plan.estimate import Estimate, total_hours
from vprdist.plan.probe_memory import driver_probe_gb
from vprdist.plan.survey import Plan
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import SweepSpec
from vprdist.store.batch_folder import BatchFolder
from vprdist.store.journal import job_name

MOST_PROGRAMS = 4
SHOWN = 16
"""Trials in the table unless all are asked for."""


def show_plan(plan: Plan, names: Sequence[str], console: Console, full: bool) -> None:
    """Everything but the job's script."""
    _trials(plan, names, console, full)
    for earlier in filter(None, (plan.reused, plan.left_behind)):
        console.print(earlier, style="yellow")
    for title, lines in (
        ("data", iter(plan.looked.facts)),
        ("subsets", _subsets(plan)),
        ("program", _program(plan)),
        ("a job", _job(plan)),
        ("time", _time(plan)),
        ("space", _space(plan)),
        ("driver", _driver(plan)),
        ("what it can tell", plan.power.lines() if plan.power is not None else iter(())),
        ("not done by plan", iter([*plan.looked.notes, *(f"would fall back: {f}" for f in plan.looked.fallbacks)])),
    ):
        text = list(lines)
        if text:
            console.print(f"\n{title}", style="bold")
            for line in text:
                console.print(f"  {line}")


def script_of(plan: Plan) -> str | None:
    """The sbatch script of the first trial that would run; None on this machine."""
    from vprdist.launch.permit import Permit
    from vprdist.launch.slurm import job_script

    first = next(iter(plan.to_run), None)
    if plan.profile.kind != "slurm" or first is None:
        return None
    profile, permit = plan.profile, Permit(plan.profile.trust)
    jobs, tasks = _submissions(plan)
    if tasks > 1 or jobs[0] > 1:
        label = batch_name("TOKEN", tasks)
        parameters = batch_parameters(profile, label, "TOKEN", tasks)
        return job_script(parameters, BatchFolder.of(plan.runs, "TOKEN").path, permit, "pack", tasks)
    trial_id = first.trial_id or "0" * 16
    logs = plan.runs / "trials" / trial_id / "log" / "attempt-1-TOKEN"
    return job_script(submission_parameters(profile, trial_id, "TOKEN"), logs, permit)


def _submissions(plan: Plan) -> tuple[list[int], int]:
    """How many trials each job runs, and the tasks of the first array; 1: jobs are submitted by themselves."""
    size, count = plan.profile.trials_per_job, len(plan.to_run)
    jobs = [min(size, count - begin) for begin in range(0, count, size)]
    has_arrays = plan.profile.kind == "slurm" and plan.profile.arrays and not plan.sweep.search.follows
    return jobs, min(len(jobs), MAX_ARRAY_SIZE) if has_arrays else 1


def _trials(plan: Plan, names: Sequence[str], console: Console, full: bool) -> None:
    states = Counter(planned.state for planned in plan.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    method = plan.sweep.search.method
    most = "at most " if method.searches_subsets else ""
    size = f"{most}{len(plan.trials)} trials ({counts})"
    console.print(styled((plan.sweep.name, "bold"), f": {size}, cluster {plan.sweep.cluster}"))
    if method.proposes:
        axes = ", ".join(plan.sweep.axes)
        console.print(f"  {method.title} proposes them over {axes}; those of earlier runs are kept")
        return
    shown = plan.trials if full else plan.trials[:SHOWN]
    lines = []
    for planned, what in zip(shown, names, strict=False):
        hours = "?" if planned.estimate.hours is None else f"{planned.estimate.hours:.3g}"
        lines.append((planned.trial_id or "-", what, str(planned.trial.seed), planned.state, hours))
    console.print(fitted_table(console, ("trial", "what", "seed", "state", "hours"), lines, words=(1,)))
    if len(shown) < len(plan.trials):
        console.print(f"  … and {len(plan.trials) - len(shown)} more (--full shows all)")


def _subsets(plan: Plan) -> Iterator[str]:
    """What a search of subsets asks for, and what the queries can show."""
    sweep, method, subsets = plan.sweep, plan.sweep.search.method, plan.sweep.search.subsets
    if subsets is None:
        return
    yield f"of {subsets.num_players} players: {', '.join(subsets.players)}"
    if plan.probes is not None:
        yield from plan.probes.lines()
    yield from method.lines(sweep)
    if subsets.placebos:
        yield f"each arm comes with its placebos too: {_placebos(sweep, subsets)}"
    trains = all(map(sweep.trains, sweep.settings))
    if len(sweep.seeds) == 1 and trains and method.claims_by_seeds(subsets):
        yield "one seed claims nothing: luck of training looks like an effect; 'seeds=[0,1,2]' tells them apart"
    yield from plan.queries


def _program(plan: Plan) -> Iterator[str]:
    """What is run in the place of vprdist's training, as it would be typed."""
    jobs = {job.title: job for planned in plan.trials if (job := planned.trial.job) is not None}
    for job in list(jobs.values())[:MOST_PROGRAMS]:
        yield job.function if job.function is not None else shlex.join(job.command or ())
    if len(jobs) > MOST_PROGRAMS:
        yield f"… and {len(jobs) - MOST_PROGRAMS} more"
    if jobs:
        yield "it finds its parameters in the file that VPRDIST_TRIAL names"


def _placebos(sweep: SweepSpec, subsets: SubsetSpec) -> str:
    """Those of every setting, and where those are that only some forms of a mask have."""
    found = [sweep.subsets_at(at).placebos for at in sweep.settings]
    text = ", ".join(placebo for placebo in subsets.placebos if all(placebo in some for some in found))
    having = sum("outline" in some for some in found)
    if "outline" not in subsets.placebos or having == len(found):
        return text
    where = f"outline where a mask hides pixels, {having} of {len(found)} settings"
    return f"{text}; {where}" if text else where


def _job(plan: Plan) -> Iterator[str]:
    profile, room = plan.profile, plan.capacity
    ranks = f"{profile.nodes} node(s) x {profile.ranks} rank(s)"
    if profile.kind == "local":
        gpus = f"{room.gpus_per_trial} GPU(s)" if room.gpus_per_trial else "no GPU"
        yield f"{ranks} on this machine, {room.threads} thread(s) a rank, {gpus}"
    else:
        cpus = f"{profile.rank_cpus or 'the default'} CPU(s) a rank"
        requeue = "requeued when preempted or out of time" if profile.requeue else "not requeued"
        yield f"{ranks}, {profile.num_node_gpus} GPU(s) a node, {cpus}, {_memory(profile)}"
        yield f"time limit {profile.time_limit_min} min, USR2 {profile.signal_lead_s} s before it; {requeue}"
    yield from _packing(plan)
    if _submissions(plan)[1] > 1:
        most = profile.max_concurrent or profile.array_limit
        yield f"at most {most} tasks of an array at once, {profile.max_attempts} attempts of each trial"
    else:
        what = "trials" if profile.trials_per_job == 1 else "jobs"
        each = "each" if profile.trials_per_job == 1 else "of each trial"
        yield f"at most {room.concurrent} {what} at once, {profile.max_attempts} attempts {each}"


def _packing(plan: Plan) -> Iterator[str]:
    """How trials become jobs, and jobs arrays."""
    profile, (jobs, tasks) = plan.profile, _submissions(plan)
    if profile.trials_per_job > 1 and jobs:
        beside = profile.side_by_side
        how = f"{beside} at once" if beside > 1 else "one after another"
        share = f", each with 1/{beside} of its memory" if beside > 1 and profile.num_node_gpus else ""
        yield f"{profile.trials_per_job} trials a job, {how}{share}: {len(jobs)} job(s)"
        yield from _crowded(plan)
    if tasks > 1:
        arrays = -(-len(jobs) // MAX_ARRAY_SIZE)
        most = "the site's own limit of an array's size may make it more"
        yield f"{len(jobs)} job(s) in {arrays} job array(s) of up to {tasks} tasks; {most}"


def _crowded(plan: Plan) -> Iterator[str]:
    """Where trials side by side would need more memory than their job has, for all that is known."""
    profile, beside = plan.profile, plan.profile.side_by_side
    peaks = [planned.estimate.peak_gb for planned in plan.to_run if planned.estimate.peak_gb is not None]
    room = profile.memory_gb
    if beside > 1 and room and peaks and beside * max(peaks) > room:
        need = f"{beside} trials of {max(peaks):.3g} GB each, as trials of their kind took, in a job of {room:g} GB"
        yield f"WARNING: side_by_side may be too much: {need}. One that memory ends is tried again in a job of its own."


def _memory(profile: ClusterProfile) -> str:
    if profile.memory_gb is not None:
        return f"{profile.memory_gb:g} GB a node" if profile.memory_gb else "all memory of a node"
    if profile.mem_per_cpu:
        return f"{profile.mem_per_cpu} a CPU"
    return f"{profile.mem_per_gpu} a GPU" if profile.mem_per_gpu else "default memory"


def _time(plan: Plan) -> Iterator[str]:
    todo = plan.to_run
    estimates = [planned.estimate for planned in todo]
    if not todo:
        yield "nothing is left to run: the leaderboard is all that the sweep would make"
        return
    hours = total_hours(estimates)
    if hours is None:
        unknown = sum(each.hours is None for each in estimates)
        yield f"{unknown} of {len(todo)} trials have no earlier result to tell from: run one of them, then plan again"
    else:
        told = {each.basis for each in estimates}
        basis = next(iter(told)) if told in ({"the same recipe"}, {"the same program"}) else "similar trials, scaled"
        wall = hours / min(_at_once(plan) * plan.profile.side_by_side, len(todo))
        yield f"about {hours:.3g} h of trials, {wall:.3g} h at full concurrency, from {basis}"
    if plan.profile.num_node_gpus:
        yield _gpu_hours(plan, estimates)
    limit = plan.profile.time_limit_min / 60
    late = [planned for planned in todo if (planned.estimate.hours or 0) > limit]
    if late and plan.profile.kind == "slurm":
        then = "they are requeued and resume" if plan.profile.requeue else "they are submitted again and resume"
        yield f"{len(late)} trial(s) take longer than the time limit of {limit:g} h: {then}"
    budget = plan.sweep.budget
    if budget.gpu_hours is not None or budget.trials is not None:
        yield f"budget: {budget.gpu_hours or '-'} GPU-hours, {budget.trials or '-'} trials"


def _at_once(plan: Plan) -> int:
    """Jobs."""
    is_array = _submissions(plan)[1] > 1
    return plan.profile.array_limit if is_array and not plan.profile.max_concurrent else plan.capacity.concurrent


def _gpu_hours(plan: Plan, estimates: Sequence[Estimate]) -> str:
    """What the budget counts: trials, and probes beside them."""
    probes = plan.probes.estimates(plan.profile) if plan.probes else []
    cost = gpu_hours(plan.profile, [*estimates, *probes])
    text = f"{'at most' if cost.bound else 'about'} {cost.text} GPU-hours"
    if probes:
        parts = [gpu_hours(plan.profile, some).text for some in (estimates, probes)]
        text += f": {parts[0]} of trials and {parts[1]} of probes"
    return f"{text} (what is of unknown length at its time limit)" if cost.bound else text


def _space(plan: Plan) -> Iterator[str]:
    room, count = plan.space, len(plan.to_run)
    if plan.sweep.trial.job is not None and not room.measured:
        yield "unknown: a program leaves what it likes, and no trial of one is done"
        yield f"free there: {_bytes(room.free_bytes or 0)}"
        return
    how = "measured on done trials" if room.measured else "counted; no trial is done yet"
    size = f"{room.files * count} files, {_bytes(room.bytes * count)}"
    yield f"{size} in {plan.runs} ({room.files} files, {_bytes(room.bytes)} a trial, {how})"
    free = "unknown" if room.free_files is None else f"{room.free_files}"
    yield f"free there: {_bytes(room.free_bytes or 0)}, {free} inodes"
    short_files = room.free_files is not None and room.free_files < room.files * count
    if short_files or (room.free_bytes is not None and room.free_bytes < room.bytes * count):
        yield "WARNING: that is not enough. `vprdist prune` removes what no leaderboard needs."


def _driver(plan: Plan) -> Iterator[str]:
    concurrent = min(_at_once(plan) * plan.profile.trials_per_job, max(1, len(plan.to_run)))
    yield f"about {DRIVER_MB:.0f} MB in one process here, with {concurrent} trials at once"
    if plan.sweep.track:
        yield f"it sends the sweep to {', '.join(choice.title for choice in plan.sweep.track)}, each by a process"
    if plan.profile.kind == "slurm":
        yield f"one squeue every {plan.profile.poll_s:g} s, whatever the number of jobs"
        memory_gb = driver_job_gb(driver_probe_gb(plan.sweep, plan.looked.trials[0]))
        yield f"--detach would run it as a job of {plan.profile.driver.cpus} CPUs and {memory_gb:g} GB"


def example_name(plan: Plan) -> str:
    """The job that the printed script would be."""
    first = next(iter(plan.to_run))
    jobs, tasks = _submissions(plan)
    if tasks > 1 or jobs[0] > 1:
        return job_name(batch_name("…", tasks))
    return job_name(first.trial_id or "…")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
