"""What this process may use of its machine."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TextIO

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""What numerical libraries take the number of their threads from; they look when they are loaded."""
SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux' prctl(2)."""
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Where torch looks, once, whether large tensors are to lie in huge pages."""
MAPPED_FROM, GIVEN_BACK_FROM = (-3, 32 << 20), (-1, 512 << 20)
"""M_MMAP_THRESHOLD, at the most that glibc takes, and M_TRIM_THRESHOLD of mallopt(3), with bytes."""
GIVEN_BACK_AFTERWARDS = 64 << 20
"""M_TRIM_THRESHOLD then, as glibc itself has it once blocks of the largest kind were freed."""
MALLOC_SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
"""Whoever sets one of these has said when memory is given back."""
_LIBC = ctypes.CDLL(None)
"""Found before anything is forked: between a fork and an exec nothing may be loaded."""

_answers: list[TextIO] = []


def keep_stdout_for_answers() -> None:
    """From here on standard output is what `answers` writes; whatever else prints there goes to standard error.

    A process that answers another calls it first: a user's class may print, and so may what it calls, in C as well.
    """
    _answers[:] = [os.fdopen(os.dup(1), "w", encoding="utf-8")]
    os.dup2(2, 1)


def answers() -> TextIO:
    """Where a process answers the one that started it."""
    return _answers[0] if _answers else sys.stdout


def leave_with_parent() -> None:
    """In a process of a pool: leave when the one that asked for the work is gone, which, killed, calls nobody off."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which calls the work off
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def die_with_parent() -> None:
    """From here on the kernel kills this process when the thread that started it ends; it holds over an exec."""
    _LIBC.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def load_for_good(name: str) -> ModuleType:
    """The module, imported as Python does, with all that it imports; Python looks for no cycles in that, now or later.

    Where it imports torch that is more than a second of a core: half of it while modules are loaded, where some objects
    are looked at many times, and half when the process ends.

    Raises:
        ImportError: there is no such module.
    """
    if name in sys.modules:
        return sys.modules[name]
    was_on = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def end_quickly() -> None:
    """When this process ends Python does not look for cycles once more in all that was imported: a fifth of a short
    command's time."""
    end_in_full()
    atexit.register(gc.freeze)


def end_in_full() -> None:
    """It does: objects of somebody else are here, and a file that they left open in a cycle is written to its end."""
    atexit.unregister(gc.freeze)


def use_huge_pages() -> None:
    """From here on large tensors lie in huge pages, if torch was not loaded yet and the environment says nothing else.

    The kernel hands out memory page by page, zeroed, and large tensors give theirs back at once: with pages of 4 KB
    that is up to half of a training step on a CPU.
    """
    os.environ.setdefault(HUGE_PAGES, "1")


@contextlib.contextmanager
def kept_memory(device: str) -> Iterator[None]:
    """Within it up to 512 MB that are freed stay with this process, for its next tensors of less than 32 MB.

    At the end all is given back. C libraries other than glibc are left as they are, and so is what the environment says
    of it (`MALLOC_SETTINGS`).

    Args:
        device: on which it computes, `torch.device.type`; nothing is kept for another than `cpu`.
    """
    mallopt = getattr(_LIBC, "mallopt", None)
    if device != "cpu" or mallopt is None or any(name in os.environ for name in MALLOC_SETTINGS):
        yield
        return
    mallopt(*MAPPED_FROM)
    mallopt(*GIVEN_BACK_FROM)
    try:
        yield
    finally:
        mallopt(GIVEN_BACK_FROM[0], GIVEN_BACK_AFTERWARDS)
        _LIBC.malloc_trim(0)


def signal_name(number: int) -> str:
    """SIGKILL, SIGSEGV, …; by its number where it has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 by itself; others emulate it, slowly."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and its control group's share."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def usable_memory_gb() -> float:
    """The memory of this machine, or of its control group where that is less."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return min(pages, pages if limit == "max" else int(limit)) / 1e9


@functools.cache
def visible_gpus() -> tuple[int, ...]:
    """NVIDIA GPUs of this machine, by index, that CUDA_VISIBLE_DEVICES does not hide; found without torch."""
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    every = range(sum(line.startswith("GPU ") for line in answer.stdout.splitlines()))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    words = [str(gpu) for gpu in every] if visible is None else visible.replace(" ", "").split(",")
    return tuple(int(word) for word in words if word.isdecimal() and int(word) in every)


def machine_name() -> str:
    """This boot of this machine: elsewhere, or after a reboot, a pid names another process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        boot = "unknown"
    return f"{socket.gethostname()}:{boot}"


def host_names() -> tuple[str, ...]:
    """This host's own name, and its name with the domain where that is another."""
    return tuple(dict.fromkeys((socket.gethostname(), socket.getfqdn())))


def slurm_cluster_name() -> str | None:
    """What SLURM's own configuration calls the cluster at hand; None where there is none, or no answer."""
    if (name := os.environ.get("SLURM_CLUSTER_NAME")) is not None:  # in a job
        return name
    environment = {key: value for key, value in os.environ.items() if key != "SLURM_CLUSTERS"}
    command = ["scontrol", "show", "config"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.partition("=") for line in done.stdout.splitlines())
    return next((value.strip() for key, _, value in rows if key.strip() == "ClusterName"), None)


def pid_start(pid: int) -> int | None:
    """The kernel's start time of a live process in clock ticks; None when there is none, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def process_alive(pid: int | None, start: int | None) -> bool:
    """Whether that very process is alive."""
    return pid is not None and start is not None and pid_start(pid) == start


def current_user() -> str:
    """The user whose jobs are ours, as SLURM names it."""
    return user_name(os.getuid())


def user_name(uid: int) -> str:
    """The user's name; in containers there is often none, and the number does as well for SLURM and for people."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def settle_home() -> None:
    """Where a container's user has no home, name one that is not there, for this process and those that it starts.

    Libraries look for one when they are imported, Ray's among them, and raise. A folder that others may write to would
    be worse: Python loads code from a home.
    """
    if os.path.expanduser("~") == "~":  # noqa: PTH111 (expanduser raises there)
        os.environ["HOME"] = "/nonexistent"
