"""What a program is told: the variables of `vprdist.client`, and those by which torch's ranks meet."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from vprdist.distributed.address import free_port, own_address
from vprdist.distributed.world import World
from vprdist.errors import LaunchError
from vprdist.files import write_private_json
from vprdist.store.trial_folder import TrialFolder

MEETING_S = 300.0
"""How long a rank waits for the address of rank 0."""


def stop_file(place: TrialFolder, world: World) -> Path:
    """There once the program should save and leave; of this start of the job alone."""
    start = world.rendezvous.name if world.rendezvous is not None else "alone"
    return place.log / f"stop-{start}"


def variables(place: TrialFolder, world: World, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the program.

    Raises:
        LaunchError: every one of the profile's ports is taken.
        TimeoutError: rank 0 did not say where it is met.
    """
    host, port = _meeting(world)
    ranks = {
        "RANK": world.rank, "LOCAL_RANK": world.local_rank, "WORLD_SIZE": world.world_size,
        "MASTER_ADDR": host, "MASTER_PORT": port,
    }  # fmt: skip
    own = {
        "TRIAL": place.trial_file, "FOLDER": place.path, "CHECKPOINT": place.checkpoint, "METRICS": place.metrics_file,
        "FINISHED": place.finished_file, "STOP": stop_file(place, world), "TRIAL_ID": place.trial_id,
    }  # fmt: skip
    # `python` is the one that runs the job, as long as the profile's set-up lines have not put another before it.
    path = os.pathsep.join(filter(None, (environ.get("PATH"), str(Path(sys.executable).parent))))
    first = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), environ.get("PATH"))))
    in_setup = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX")
    return {
        **environ,
        "PATH": path if in_setup else first,
        "PYTHONUNBUFFERED": "1",
        **{name: str(value) for name, value in ranks.items()},
        **{f"VPRDIST_{name}": str(value) for name, value in {**ranks, **own}.items()},
    }


def _meeting(world: World) -> tuple[str, int]:
    """Where the ranks' own program meets: rank 0 chooses a port that is free at that moment."""
    one_node = os.environ.get("SLURM_JOB_NUM_NODES", "1") == "1"
    if world.rank == 0:
        host = "127.0.0.1" if one_node else own_address()
        if (port := free_port(host, world.ports)) is None:
            remedy = "Widen `ports` in the profile."
            raise LaunchError(f"ports of {host}", "none of the profile's is free", list(world.ports or ()), remedy)
        if world.rendezvous is not None and world.world_size > 1:
            write_private_json(world.rendezvous, {"host": host, "port": port})
        return host, port
    assert world.rendezvous is not None, "ranks of a job have a file to meet by"
    end = time.monotonic() + MEETING_S
    while not world.rendezvous.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"rank 0 did not say in {world.rendezvous} within {MEETING_S:g} s where it is met")
        time.sleep(0.05)
    said = json.loads(world.rendezvous.read_text())
    return str(said["host"]), int(said["port"])
