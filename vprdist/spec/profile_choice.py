"""`cluster: auto`: the profile that says that it is meant for this host, or for the cluster at hand."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch

from vprdist.errors import LaunchError, SweepFileError
from vprdist.machine import host_names, slurm_cluster_name
from vprdist.spec.profile import ClusterProfile, profile_names, read_profile
from vprdist.spec.sweep import SweepSpec

AUTO = "auto"


def settle_cluster(sweep: SweepSpec) -> tuple[SweepSpec, str]:
    """The sweep with the name of the profile that `auto` stands for, and why it is that one; said once.

    The name goes into the sweep's own file, so that a driver on another host takes the same.

    Raises:
        UserError: as `choose_profile`.
    """
    if sweep.cluster != AUTO:
        return sweep, ""
    name, why = choose_profile(sweep.where("cluster"))
    return sweep.model_copy(update={"cluster": name}), why


def choose_profile(where: str) -> tuple[str, str]:
    """The one profile whose `hosts` and `cluster_name`, where it has them, fit; and why.

    Without SLURM's commands, and without such a profile, it is `local`. A profile that is called auto is that profile.

    Args:
        where: what asks, for messages.

    Raises:
        LaunchError: no profile fits, or several.
        SweepFileError: no profile fits, and one breaks a rule.
    """
    if AUTO in profile_names():
        return AUTO, ""
    profiles, broken = _readable(where)
    candidates = {name: each for name, each in profiles.items() if each.hosts or each.cluster_name}
    hosts = host_names()
    cluster = slurm_cluster_name() if any(each.cluster_name for each in candidates.values()) else None
    fitting = [name for name, each in candidates.items() if _fits(each, hosts, cluster)]
    here = f"host {hosts[0]}" + (f", cluster {cluster}" if cluster else "")
    if len(fitting) == 1:
        return fitting[0], _said(f"cluster: auto is {fitting[0]} here ({here})", broken)
    if not fitting and shutil.which("sbatch") is None:
        why = f"cluster: auto is local here: no profile names {here}, and there is no SLURM"
        return "local", _said(why, broken)
    if broken and not fitting:  # it may be the one that is meant
        raise broken[0]
    known = "; ".join(f"{name} ({_conditions(each)})" for name, each in candidates.items())
    if fitting:
        remedy = f"Name one, as in cluster={fitting[0]}, or let one of them say more. They say: {known}."
        raise LaunchError(where, f"several profiles are meant for {here}", ", ".join(fitting), remedy)
    remedy = f"Name one ({', '.join(profiles)}), or give one `hosts` or `cluster_name`."
    remedy += f" These have some: {known}." if known else " None has any so far."
    raise LaunchError(where, f"no profile is meant for {here}", AUTO, remedy)


def _readable(where: str) -> tuple[dict[str, ClusterProfile], list[SweepFileError]]:
    """The profiles by name, and the errors of those that break a rule: somebody's draft stops nobody else's sweep."""
    profiles, broken = {}, []
    for name in profile_names():
        try:
            profiles[name] = read_profile(name, where)
        except SweepFileError as error:
            broken.append(error)
    return profiles, broken


def _said(why: str, broken: list[SweepFileError]) -> str:
    """Why it is that profile, and a line for each that was passed over."""
    return "\n".join([why, *(f"passed over: {' '.join(str(error).split())}" for error in broken)])


def _fits(profile: ClusterProfile, hosts: tuple[str, ...], cluster: str | None) -> bool:
    on_host = not profile.hosts or any(fnmatch(host, pattern) for host in hosts for pattern in profile.hosts)
    return on_host and profile.cluster_name in (None, cluster)


def _conditions(profile: ClusterProfile) -> str:
    hosts = f"hosts {', '.join(profile.hosts)}" if profile.hosts else ""
    return " and ".join(filter(None, (hosts, profile.cluster_name and f"cluster_name {profile.cluster_name}")))
