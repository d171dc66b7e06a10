"""Ranks meet alone: where rank 0 listens, what its file holds, and what becomes of strangers."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from torch._C._distributed_c10d import TCPStore

from tests.waiting import until
from vprdist.distributed.address import own_address
from vprdist.distributed.meeting import connections_at, meet
from vprdist.distributed.ranks import join
from vprdist.distributed.world import World
from vprdist.errors import LaunchError
from vprdist.files import read_json, write_json, write_private_json

SPAWN = multiprocessing.get_context("spawn")


def own_listeners() -> set[str]:
    """The addresses, as the kernel writes them, at which this process listens."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:")}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}


def second_rank(place: Path, nodes: str, told: multiprocessing.Queue) -> None:
    os.environ["SLURM_JOB_NUM_NODES"] = nodes
    with join(World(rank=1, world_size=2, rendezvous=place), place) as ranks:
        told.put((ranks.any(False, True), sorted(own_listeners())))
        ranks.barrier()


def first_rank(place: Path, nodes: str, told: multiprocessing.Queue, go: multiprocessing.Event) -> None:
    os.environ["SLURM_JOB_NUM_NODES"] = nodes
    with join(World(rank=0, world_size=2, rendezvous=place), place) as ranks:
        told.put((ranks.any(True, False), sorted(own_listeners())))
        go.wait(300)
        ranks.barrier()


@pytest.mark.parametrize("nodes", ["1", "2"])
def test_ranks_listen_at_one_address_and_let_nobody_else_in(tmp_path: Path, nodes: str) -> None:
    place, told, go = tmp_path / "place", SPAWN.Queue(), SPAWN.Event()
    others = [
        SPAWN.Process(target=first_rank, args=(place, nodes, told, go)),
        SPAWN.Process(target=second_rank, args=(place, nodes, told)),
    ]
    for other in others:
        other.start()
    try:
        seen = [told.get(timeout=300) for _ in others]
        said = read_json(place)
        assert [flags for flags, _ in seen] == [(True, True)] * 2
        addresses = {address.split(":")[0] for _, listeners in seen for address in listeners}
        assert addresses
        assert not {address for address in addresses if set(address) == {"0"}}, "none listens to everybody"
        if nodes == "1":
            assert addresses == {"0100007F"}, "127.0.0.1, byte by byte"
        with pytest.raises(OSError), socket.create_connection((said["host"], said["port"]), timeout=1):
            pass
        assert place.stat().st_mode & 0o777 == 0o600
    finally:
        go.set()
        for other in others:
            other.join(60)
    assert [other.exitcode for other in others] == [0, 0]


def with_a_guest(tmp_path: Path, visit: Callable[[TCPStore], object]) -> tuple[Path, TCPStore]:
    """What a stranger does at the door of a first rank that still waits for the second; it stays there."""
    place = tmp_path / "place"
    until(place.exists)
    said = read_json(place)
    guest = TCPStore(said["host"], said["port"], 2, is_master=False)
    visit(guest)
    return place, guest


def meets(place: Path, rank: int, told: multiprocessing.Queue) -> None:
    try:
        meet(World(rank=rank, world_size=2), place)
        told.put("met")
    except Exception as error:  # it is what the test looks at
        told.put(f"{type(error).__name__}: {error}")


def test_a_stranger_who_came_before_the_door_was_shut_ends_the_job(tmp_path: Path) -> None:
    told = SPAWN.Queue()
    first = SPAWN.Process(target=meets, args=(tmp_path / "place", 0, told))
    first.start()
    place, guest = with_a_guest(tmp_path, lambda store: store.set("stranger", "was here"))
    second = SPAWN.Process(target=meets, args=(place, 1, told))
    second.start()
    said = {told.get(timeout=120), told.get(timeout=120)}
    assert any("StrangerError: port" in each and "3 connections, and 2 ranks" in each for each in said), said
    assert "met" not in said
    del guest
    for each in (first, second):
        each.join(30)


def test_a_stranger_who_says_that_it_is_a_rank_is_not_believed(tmp_path: Path) -> None:
    told = SPAWN.Queue()
    first = SPAWN.Process(target=meets, args=(tmp_path / "place", 0, told))
    first.start()
    _, guest = with_a_guest(tmp_path, lambda store: store.set("here/1", "I am"))
    assert "not a rank of this job said 'here/1'" in told.get(timeout=120)
    del guest
    first.join(30)


def test_a_planted_file_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "place"
    write_json(place, {"host": "127.0.0.1", "port": 9, "secret": "x"})
    words = "rank 0 must have written this file, for its user alone"
    place.chmod(0o644)
    with pytest.raises(LaunchError, match=words):
        meet(World(rank=1, world_size=2), place)
    place.unlink()
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LaunchError, match=words):
        meet(World(rank=1, world_size=2), place)
    place.unlink()
    write_private_json(place, {"host": "127.0.0.1", "port": 9, "secret": "x"})
    if os.geteuid() == 0:
        os.chown(place, 54321, -1)
        with pytest.raises(LaunchError, match=f"{words}; found '-rw------- of user 54321'"):
            meet(World(rank=1, world_size=2), place)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connections_to_one_address_are_counted(host: str) -> None:
    """The same port of another address is others'."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"{host} is no address here: {error}")
    with server:
        port = server.getsockname()[1]
        assert connections_at(host, port) == 0
        with socket.create_connection((host, port)), socket.create_connection((host, port)):
            assert connections_at(host, port) == 2
            with socket.create_server(("127.0.0.2", port)), socket.create_connection(("127.0.0.2", port)):
                assert connections_at("127.0.0.2", port) == 1
                assert connections_at(host, port) == 2


def test_a_name_that_means_loopback_is_not_where_others_find_this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.1.2.3")
    assert own_address() == "10.1.2.3"
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    outside = own_address()
    assert outside == "127.0.1.1" or not outside.startswith("127."), "unless there is no way outside at all"
