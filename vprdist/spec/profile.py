"""A profile: the facts of one cluster, or of this machine. Site facts live here, intent in sweep files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from vprdist.errors import LaunchError, nearest
from vprdist.spec.base import Spec
from vprdist.spec.read import read_yaml, validate

PLAIN = re.compile(r"[A-Za-z0-9_.,:@%+=/-]*")


class ClusterProfile(Spec):
    """How a job is launched. Values are plain words; only `setup` lines are shell, by purpose."""

    kind: Literal["local", "slurm"]
    ranks: int = Field(default=1, ge=1, description="tasks a node, one rank each")
    nodes: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=0, ge=0)
    cpus_per_task: int | None = Field(default=None, ge=1, description="null on this machine: its share of the cores")
    memory_gb: float | None = Field(default=None, gt=0)
    time_limit_min: int = Field(default=24 * 60, ge=1)
    signal_lead_s: int = Field(default=120, ge=1, description="seconds of warning before the time limit")
    max_concurrent: int | None = Field(default=None, ge=1, description="trials at once; null: what the machine bears")
    max_attempts: int = Field(default=3, ge=1, description="submissions of one trial before it is given up")
    poll_s: float = Field(default=1.0, gt=0, description="seconds between two looks at the queue")
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: tuple[str, ...] = ()
    setup: tuple[str, ...] = Field(default=(), description="shell lines before Python starts: modules, containers")

    @field_validator("partition", "account", "qos", "constraint", "exclude")
    @classmethod
    def _plain(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for word in value if isinstance(value, tuple) else [value or ""]:
            if not PLAIN.fullmatch(word):
                raise ValueError("a plain word is expected here; shell belongs into `setup`")
        return value


def profile_folders() -> tuple[Path, ...]:
    """Where profiles are looked for: the working folder's slurm/profiles, then the checkout's."""
    checkout = Path(__file__).resolve().parents[2] / "slurm" / "profiles"
    return (Path("slurm/profiles"), checkout)


def read_profile(name: str) -> ClusterProfile:
    """The profile of that name, or at that path.

    Raises:
        LaunchError: no such profile.
        SweepFileError: the file breaks a rule.
    """
    candidates = [Path(name)] if name.endswith((".yaml", ".yml")) else [f / f"{name}.yaml" for f in profile_folders()]
    for path in candidates:
        if path.is_file():
            return validate(ClusterProfile, *read_yaml(path))
    known = sorted({p.stem for folder in profile_folders() for p in folder.glob("*.yaml")})
    raise LaunchError(f"cluster: {name}", "a cluster is a file of slurm/profiles", name, nearest(name, known))
