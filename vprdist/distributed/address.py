"""Where rank 0 of a job may be met: an address of its node, and ports. Nothing here loads torch."""

from __future__ import annotations

import os
import random
import socket


def candidates(ports: tuple[int, int] | None) -> list[int]:
    """Ports to try, in random order so that jobs that start together seldom meet; 0 lets the system choose."""
    if ports is None:
        return [0]
    return random.Random(os.urandom(8)).sample(range(ports[0], ports[1] + 1), ports[1] - ports[0] + 1)


def family(host: str) -> socket.AddressFamily:
    """The kind of an address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def own_address() -> str:
    """The address of this node that its name has for others; where it has none here, that of the way outside."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
        if not address.startswith(("127.0.0.", "127.0.1.")):  # what installers write beside a machine's own name
            return address
    except OSError:
        pass
    for kind, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(kind, socket.SOCK_DGRAM) as probe:
                probe.connect((outside, 9))  # sends nothing: asks which interface leads outside
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return socket.gethostbyname(name)


def free_port(host: str, ports: tuple[int, int] | None) -> int | None:
    """A port of this machine that nobody has at this moment; None: every one that is allowed is taken."""
    for port in candidates(ports):
        try:
            with socket.create_server((host, port), family=family(host)) as door:
                return int(door.getsockname()[1])
        except OSError:
            if port == 0:
                raise
    return None
