"""How the ranks of a job meet: at a port of rank 0, through a file on shared storage, without anybody else.

torch's store knows no password: whoever reaches its port reads and writes what the ranks tell each other. So rank 0
listens at one address alone (loopback where the job has one node), and shuts the door once all are there: the kernel
then drops whatever else comes to that port. The file, which its user alone can read, holds a secret. With it each rank
shows that it is one, and from it come the names under which they talk afterwards, so that nothing counts that was
written before the door was shut. Somebody who came in meanwhile is counted, and ends the job.
"""

from __future__ import annotations

import ctypes
import hmac
import json
import os
import secrets
import socket
import stat
import struct
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from vprdist.distributed.address import candidates, family, own_address
from vprdist.distributed.world import World
from vprdist.errors import LaunchError
from vprdist.files import write_private_json

MEETING_S = 300
"""How long ranks wait for each other before the job is given up."""
GUEST_S = 5.0
"""How long a guest may take to leave: sites look which ports are open."""
SO_ATTACH_FILTER = 26
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A socket filter of one instruction: return 0 bytes of every packet."""
ESTABLISHED = "01"
ONE_NODE = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""The ranks' own connections stay on loopback too, unless the site has set these."""


class LostRankError(RuntimeError):
    """Another rank of the job is gone; what it said is in its own log. Another attempt resumes from the checkpoint."""

    def __init__(self, rank: int) -> None:
        super().__init__(
            f"rank {rank}: another rank of this job died or left with an error of its own; its log says why. "
            "This rank leaves; the last checkpoint is kept."
        )


class StrangerError(RuntimeError):
    """Somebody who is no rank had a hand in the meeting. Another attempt meets at another port, often elsewhere."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where}: {what}. This attempt ends. If the next does too, tell the operators of the cluster."
        )


def meet(world: World, rendezvous: Path) -> Store:
    """A store of the ranks alone, once all are there.

    Rank 0 chooses a free port, any or one that `world` has, and publishes it in the file, so that jobs that share a
    node never clash. The file must be of this start of the job alone.

    Raises:
        TimeoutError: rank 0 or another did not appear in time.
        LaunchError: every one of the profile's ports is taken, or the file is somebody else's.
        StrangerError: somebody else came in.
        LostRankError: another rank died.
    """
    timeout = timedelta(seconds=MEETING_S)
    one_node = os.environ.get("SLURM_JOB_NUM_NODES", "1") == "1"
    if one_node:
        for name, value in ONE_NODE.items():
            os.environ.setdefault(name, value)
    if world.rank == 0:
        secret = secrets.token_hex(32)
        door, store = _open_door("127.0.0.1" if one_node else own_address(), world, timeout)
        with door:
            write_private_json(rendezvous, {"host": store.host, "port": store.port, "secret": secret})
            _await_all(store, world, secret, timeout)
            _shut(door, store, world)
        store.set("shut", _word(secret, "shut"))
    else:
        place = _await_address(rendezvous)
        secret = str(place["secret"])
        store = TCPStore(str(place["host"]), int(place["port"]), world.world_size, is_master=False, timeout=timeout)
        _await_all(store, world, secret, timeout)
        _compare(store, "shut", secret, world)
    return PrefixStore(_word(secret, "names"), store)


def _open_door(host: str, world: World, timeout: timedelta) -> tuple[socket.socket, TCPStore]:
    """A socket of ours that listens at that address alone, and the store behind it."""
    for port in candidates(world.ports):
        try:
            door = socket.create_server((host, port), family=family(host), backlog=max(128, world.world_size))
        except OSError:
            if port == 0:
                raise
            continue  # somebody else has it
        store = TCPStore(
            host, door.getsockname()[1], world.world_size, is_master=True, timeout=timeout, wait_for_workers=False,
            master_listen_fd=os.dup(door.fileno()),
        )  # fmt: skip
        return door, store
    assert world.ports is not None
    remedy = "Widen `ports` in the profile, or leave it out: then any free port will do."
    raise LaunchError(f"ports of {socket.gethostname()}", "none of the profile's is free", list(world.ports), remedy)


def _shut(door: socket.socket, store: TCPStore, world: World) -> None:
    """From here on nobody else comes in; those who are in are the ranks.

    Connections that are there already go on: the kernel asks the filter of the listening socket alone.

    Raises:
        StrangerError: there are more.
    """
    code = ctypes.create_string_buffer(DROP_ALL, len(DROP_ALL))
    program = struct.pack("HL", 1, ctypes.addressof(code))
    door.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    end, address = time.monotonic() + GUEST_S, door.getsockname()
    while (inside := connections_at(address[0], address[1])) > world.world_size and time.monotonic() < end:
        time.sleep(0.1)
    if inside > world.world_size:
        where = f"port {store.port} of {socket.gethostname()}"
        raise StrangerError(where, f"{inside} connections, and {world.world_size} ranks")


def connections_at(host: str, port: int) -> int:
    """Connections to a port of one address of this machine, as the kernel lists them.

    Other addresses of the machine have the same port for others: a job on loopback, somebody's way out.
    """
    packed = socket.inet_pton(family(host), host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)  # as the kernel prints an address
    local = "".join(f"{word:08X}" for word in words) + f":{port:04X}"
    lines = Path("/proc/net/tcp6" if ":" in host else "/proc/net/tcp").read_text().splitlines()[1:]
    return sum(row[1] == local and row[3] == ESTABLISHED for row in map(str.split, lines))


def _word(secret: str, text: str) -> str:
    """What only ranks can say."""
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()


def _compare(store: TCPStore, name: str, secret: str, world: World) -> None:
    try:
        said = store.get(name).decode(errors="replace")
    except RuntimeError:  # rank 0, which keeps the store, is gone
        raise LostRankError(world.rank) from None
    if not hmac.compare_digest(said.encode(), _word(secret, name).encode()):
        raise StrangerError(f"rank {world.rank}", f"not a rank of this job said {name!r}")


def _await_all(store: TCPStore, world: World, secret: str, timeout: timedelta) -> None:
    """Every rank is there. A process group waits for absent ones as long as for slow ones in a collective."""
    names = [f"here/{rank}" for rank in range(world.world_size)]
    try:
        store.set(names[world.rank], _word(secret, names[world.rank]))
        store.wait(names, timeout)
    except RuntimeError:
        try:
            absent = [str(rank) for rank, name in enumerate(names) if not store.check([name])]
        except RuntimeError:  # rank 0, which keeps the store, is gone
            raise LostRankError(world.rank) from None
        here, late = world.world_size - len(absent), f"within {MEETING_S} s, without rank {', '.join(absent)}"
        raise TimeoutError(f"{here} of {world.world_size} ranks came {late}; see its log") from None
    if world.rank == 0:
        for name in names:
            _compare(store, name, secret, world)


def _await_address(rendezvous: Path) -> dict[str, Any]:
    end = time.monotonic() + MEETING_S
    while time.monotonic() < end:
        try:
            return _read_address(rendezvous)
        except FileNotFoundError:
            time.sleep(0.05)
    # No mistake of the user's: another attempt may find a healthier node.
    raise TimeoutError(f"rank 0 did not publish its address in {rendezvous} within {MEETING_S} s; see its log")


def _read_address(rendezvous: Path) -> dict[str, Any]:
    try:
        descriptor = os.open(rendezvous, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _planted(rendezvous, error.strerror) from None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        # A file server that does not know root gives what root writes to the owner of nothing, as its folder.
        owners = (os.geteuid(), rendezvous.parent.stat().st_uid)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in owners or stat.S_IMODE(found.st_mode) & 0o077:
            raise _planted(rendezvous, f"{stat.filemode(found.st_mode)} of user {found.st_uid}")
        place: dict[str, Any] = json.loads(stream.read())
    return place


def _planted(rendezvous: Path, found: str | None) -> LaunchError:
    remedy = "Look who else may write to its folder, and delete it."
    return LaunchError(rendezvous, "rank 0 must have written this file, for its user alone", found, remedy)
