"""What the keys of a profile must not say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vprdist.errors import RuleError
from vprdist.spec.gres import num_gpus

if TYPE_CHECKING:
    from vprdist.spec.profile import ClusterProfile


def check_profile(profile: ClusterProfile) -> None:
    """Refuse a profile that contradicts itself.

    Raises:
        RuleError: the first contradiction, at one of its keys.
    """
    if profile.ports and profile.ports[0] > profile.ports[1]:
        raise RuleError("ports", "the first port must not be above the last", list(profile.ports))
    if bool(profile.mail_user) != bool(profile.mail_types):
        raise RuleError("mail_user", "mail needs both mail_user and mail_types", None, "Set both, or none.")
    if profile.signal_lead_s >= 60 * profile.time_limit_min:
        most = f"less than the time limit, {60 * profile.time_limit_min} s"
        raise RuleError("signal_lead_s", f"the warning must come after the start: {most}", profile.signal_lead_s)
    if profile.kind == "local" and profile.memory_gb == 0:
        fault, remedy = "all memory of a node is a word of SLURM", "Leave it out: the machine's memory is found out."
        raise RuleError("memory_gb", fault, 0, remedy)
    _check_packs(profile)
    _check_gpus(profile)
    _check_cpus_and_memory(profile)
    _check_start(profile)


def _check_packs(profile: ClusterProfile) -> None:
    if profile.side_by_side > profile.trials_per_job:
        fault = f"it must not be more than a job has trials, {profile.trials_per_job} (`trials_per_job`)"
        raise RuleError("side_by_side", fault, profile.side_by_side, "Set `trials_per_job` too.")
    if profile.trials_per_job > 1 and profile.nodes * profile.ranks > 1:
        fault = f"a job of several trials has one rank, not {profile.nodes} node(s) of {profile.ranks}"
        remedy = "Set `nodes: 1` and `ranks: 1`, or leave it out."
        raise RuleError("trials_per_job", fault, profile.trials_per_job, remedy)


def _check_gpus(profile: ClusterProfile) -> None:
    each, in_gres = profile.gpus_per_task, num_gpus(profile.gres or "")
    if in_gres and (profile.gpus_per_node or each):
        key = "gpus_per_task" if each else "gpus_per_node"
        fault = f"it must not stand beside GPUs in `gres`, {in_gres} a node"
        raise RuleError(key, fault, getattr(profile, key), "Ask for GPUs by one key.")
    if each and profile.gpus_per_node not in (0, each * profile.ranks):
        fault = f"it must be {profile.ranks} rank(s) of {each} GPU(s) each (`gpus_per_task`)"
        raise RuleError("gpus_per_node", fault, profile.gpus_per_node, "Leave one of both out.")
    if 0 < profile.num_node_gpus < profile.ranks:
        key = "gres" if in_gres else "gpus_per_node"
        fault = f"every rank needs a GPU of its own: {profile.ranks} ranks a node"
        raise RuleError(key, fault, getattr(profile, key), "Ask for as many, or lower `ranks`.")
    if profile.gpu_type and not (profile.gpus_per_node or each):
        remedy = "Write it into `gres`: gpu:TYPE:COUNT." if in_gres else "Set `gpus_per_node` too."
        raise RuleError("gpu_type", "no key beside it says how many GPUs there are", profile.gpu_type, remedy)


def _check_cpus_and_memory(profile: ClusterProfile) -> None:
    if profile.cpus_per_gpu and profile.cpus_per_task:
        fault = "sbatch does not take both cpus_per_gpu and cpus_per_task"
        raise RuleError("cpus_per_gpu", fault, profile.cpus_per_gpu, "Leave one of both out.")
    sizes = [key for key in ("memory_gb", "mem_per_cpu", "mem_per_gpu") if getattr(profile, key) is not None]
    if len(sizes) > 1:
        fault = f"sbatch does not take both {' and '.join(sizes[:2])}"
        raise RuleError(sizes[1], fault, getattr(profile, sizes[1]), "Leave one of them out.")
    for key in ("cpus_per_gpu", "mem_per_gpu"):
        if getattr(profile, key) and not profile.num_node_gpus:
            remedy = "Set `gpus_per_node`, `gpus_per_task` or `gres`, or leave it out."
            raise RuleError(key, "the profile asks for no GPU", getattr(profile, key), remedy)


def _check_start(profile: ClusterProfile) -> None:
    if profile.use_srun:
        return
    if profile.nodes * profile.ranks > 1:
        fault = f"without srun nobody starts more than one rank: {profile.nodes} node(s) of {profile.ranks}"
        raise RuleError("use_srun", fault, False, "Set `nodes: 1` and `ranks: 1`, or leave it out.")
    for key in ("srun_args", "teardown"):
        if getattr(profile, key):
            # The rank takes the shell's place, so that the warning before the end reaches it.
            why = "there is no srun" if key == "srun_args" else "no shell is left"
            fault = f"it does nothing with `use_srun: false`: {why}"
            raise RuleError(key, fault, list(getattr(profile, key)), "Leave one of both out.")
