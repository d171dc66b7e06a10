"""A private, quiet Ray that dies with its driver: no dashboard, no reports home, nothing written outside one folder."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vprdist.search import reaper

PREFIX = "vprdist-ray-"
OBJECT_STORE_BYTES = 80_000_000
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # On a busy machine a reader of a trial's folder needs more than Ray's minute to start: 32 started at once starved
    # each other, were ended by Ray as too late, and were started again; after ten minutes five of them lived.
    "RAY_worker_register_timeout_seconds": "900",
    "TUNE_MAX_PENDING_TRIALS_PG": "2",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextlib.contextmanager
def private_ray(num_actors: int) -> Iterator[Path]:
    """Run a Ray of our own while the block runs; yields a throw-away folder for Tune's storage.

    Ray's processes end with the block, and when the driver is killed.
    """
    with _environment(), _temporary_folder() as folder:
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            ray.init(
                address="local",  # never somebody else's cluster, whatever RAY_ADDRESS says
                num_cpus=num_actors,  # also the number of worker processes that Ray starts ahead
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="error",
                configure_logging=False,
                _temp_dir=str(folder / "ray"),
                _node_ip_address="127.0.0.1",
            )
            yield folder / "tune"
        finally:
            ray.shutdown()


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


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A short path (Ray's sockets lie in it), and a process that sees to it that nobody is left in it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))
    watcher = subprocess.Popen(
        [sys.executable, "-I", reaper.__file__, str(folder), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C at a terminal is not for it
    )
    assert watcher.stdin is not None
    try:
        yield folder
    finally:
        watcher.stdin.close()
        watcher.wait()
