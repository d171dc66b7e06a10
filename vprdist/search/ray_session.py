"""A private, quiet Ray that dies with its driver: no dashboard, no reports home, nothing written outside one folder."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vprdist.errors import RayUnavailable, first_line
from vprdist.machine import pid_start, process_alive
from vprdist.search.ray_folder import OPEN, NoRoom, ray_folder
from vprdist.search.reaper import users_of

OBJECT_STORE_BYTES = 80_000_000
PAUSES_S = (5.0, 10.0, 20.0, 40.0, *(60.0,) * 12)
"""Between two tries to start Ray. Each gives Ray's servers 30 s, which is fixed in Ray's code."""
LEAVE_S = 90.0
"""So long a driver that leaves waits for a Ray that is still starting: to be ended half-way it would take longer."""
SERVERS = ("gcs_server", "raylet")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Heard on Linux too: every server listens on loopback alone. Ray 2.60 takes `_node_ip_address="127.0.0.1"` for a
    # wish to be reached from elsewhere.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # On a busy machine a reader of a trial's folder needs more than Ray's minute to start: 32 started at once starved
    # each other, were ended by Ray as too late, and were started again; after ten minutes five of them lived.
    "RAY_worker_register_timeout_seconds": "900",
    # After a minute without its server Ray ends the whole driver: a dead one is seen before, a starved one comes back.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    # Tune asks how large the cluster is every ten seconds, and would wait for ever for the answer of a dead server.
    "TUNE_STATE_REFRESH_PERIOD": "864000",
    "TUNE_MAX_PENDING_TRIALS_PG": "2",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


class PrivateRay:
    """A Ray that a thread starts, keeps and ends; whoever needs it goes on with other things until it is up.

    One thread has it from start to end: the kernel ends Ray's servers with the thread that started them. Use it as a
    context. Ray's processes end with the block, and when the driver is killed.

    Args:
        num_actors: as many processes as Tune may have at once.
        tell: told one line for each try that failed; called in the thread.
        needed: without Ray nothing can go on, so that to give up is an error.

    Attributes:
        storage: a throw-away folder for Tune, once Ray is up.
    """

    storage: Path

    def __init__(self, num_actors: int, tell: Callable[[str], None], needed: bool = True) -> None:
        self.num_actors, self.tell, self.needed = num_actors, tell, needed
        self._up, self._settled, self._leave = threading.Event(), threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._servers: list[tuple[int, int | None]] = []
        self._thread = threading.Thread(target=self._run, name="vprdist-ray", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.set()
        self._thread.join(LEAVE_S)

    def wait(self, seconds: float) -> bool:
        """Whether it is up, after so long at most.

        Raises:
            RayUnavailable: it has been tried often enough.
        """
        self._settled.wait(seconds)
        if self._error is not None:
            raise self._error
        return self._up.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether its servers, once up, still run."""
        return all(process_alive(pid, start) for pid, start in self._servers)

    def _run(self) -> None:
        try:
            with _environment():
                self._try_often()
        except BaseException as error:  # kept for whoever waits, never swallowed
            self._error = error
        finally:
            self._settled.set()

    def _try_often(self) -> None:
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.tune.tune").addFilter(_says_more_than_no_snapshot)
        # It prints the last twenty lines of a server's log when that dies; what matters is told in one.
        ray._private.worker.print_to_stdstream = lambda *data, **how: None
        why = ""
        for pause_s in (0.0, *PAUSES_S):
            if why:
                self.tell(f"Ray did not start: {why}. Jobs go on; trying again in {pause_s:.0f} s")
            if self._leave.wait(pause_s):
                return
            try:
                with ray_folder(self.tell, OBJECT_STORE_BYTES) as folder:
                    try:
                        self._start(ray, folder)
                        self._leave.wait()
                        return
                    finally:
                        ray.shutdown()
            except NoRoom as error:
                why = f"no room for its files: {error}; free some, or set TMPDIR to a folder that has it"
            except (Exception, SystemExit) as error:  # Ray raises bare Exceptions
                why = _first_sentence(error)
            if self._up.is_set() or self._leave.is_set():
                return
        self._give_up(why)

    def _start(self, ray: Any, folder: Path) -> None:
        ray.init(
            address="local",  # never somebody else's cluster, whatever RAY_ADDRESS says
            num_cpus=self.num_actors,  # also the number of worker processes that Ray starts ahead
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level="error",
            configure_logging=False,
            _temp_dir=str(folder / OPEN),
            _node_ip_address="127.0.0.1",
        )
        pids = [pid for pid in users_of(str(folder), os.getpid()) if _program(pid) in SERVERS]
        self._servers = [(pid, pid_start(pid)) for pid in pids]
        self.storage = folder / "tune"
        self._up.set()
        self._settled.set()

    def _give_up(self, why: str) -> None:
        tries = len(PAUSES_S) + 1
        if self.needed:
            remedy = "Jobs that run go on. The same command again continues where this one ended."
            raise RayUnavailable("Ray", f"it did not start in {tries} tries: {why}", None, remedy)
        self.tell(f"Ray did not start in {tries} tries ({why}); this grid goes on without it")
        self._leave.wait()


def _program(pid: int) -> str:
    """What a process runs; nothing if it has ended."""
    try:
        return Path(os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0])).name
    except OSError:
        return ""


def _says_more_than_no_snapshot(record: logging.LogRecord) -> bool:
    """Where its folder is full Tune shows a whole traceback for a snapshot that nobody would read."""
    return "snapshotting failed" not in record.getMessage()


def _first_sentence(error: BaseException) -> str:
    return first_line(error).split(". ")[0].rstrip(".")


@functools.cache
def _authentication() -> dict[str, str]:
    """Other users of the machine cannot speak to this Ray. Ray reads this once, at its first import in a process."""
    return {} if "ray" in sys.modules else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Ray reads these when it is imported, and its workers inherit them."""
    settings = {**QUIET, **_authentication()}
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
