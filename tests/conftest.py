"""What every suite shares: the real data where it is at hand, and a small MSLS tree made on the spot."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import in_memory, warm
from tests.warm import OfTests
from tests.workers import Nursery
from tests.worlds import write_deeplab, write_small_tree
from vprdist.files import locked
from vprdist.launch.warm import use
from vprdist.machine import THREAD_VARIABLES


def _set_environment() -> None:
    """Before torch is loaded here; and again in a worker, which was forked from a process that has loaded it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Workers share the cores: threads of libraries that load from here on would wait for each other's turns.
        os.environ.update({name: os.environ.get(name, "1") for name in THREAD_VARIABLES})
    if "VPRDIST_TEST_GPU" not in os.environ:
        # Tests compare with the CPU, start two ranks, and build networks there: only those of tests/gpu want a GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    in_memory.write_there()
    # Nothing of a person's own cache is read or written; each test has another one, see `_own_cache`.
    os.environ["VPRDIST_CACHE"] = str(Path(tempfile.gettempdir()) / f"vprdist-tests-{os.getpid()}" / "shared")


_set_environment()

TOGETHER = tuple(
    tuple(f"tests/{file}" for file in files.split())
    for files in (
        "slurm/test_preemption.py slurm/test_packs.py slurm/test_array.py slurm/test_first_job.py",
        "slurm/test_jobs.py slurm/test_trial_arrays.py slurm/test_devcluster.py slurm/test_check.py",  # accounting
        "slurm/",
        "training/test_ranks_and_resume.py",
        "test_imports.py test_messages.py store/test_one_parser.py",  # sources that are parsed
    )
)
"""Tests that share something dear, a cluster, ranks that have started, parsed sources: with `-n` those of a line go to
one worker. SLURM's wait more than they compute, so that several lines of them run beside the others."""


def pytest_configure(config: pytest.Config) -> None:
    """Thousands of processes of ours start below the tests; without this, those where PYTHONDONTWRITEBYTECODE is set
    compile a hundred modules each."""
    _set_environment()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        here = Path(__file__).resolve().parent
        for folder in (here.parent / "vprdist", here):
            compileall.compile_dir(folder, quiet=2)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    in_memory.clear(passed=exitstatus == 0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Any) -> None:
    """Workers are forked from a process that has collected what they collect."""
    from execnet import XSpec

    nursery = Nursery(config.args, {**dict.fromkeys(THREAD_VARIABLES, "1"), **warm.environment(), "PYTEST_ADDOPTS": ""})
    config.add_cleanup(nursery.close)
    specs[:] = [XSpec(f"{spec}//id={spec.id}//python={nursery.command}") for spec in specs]


@pytest.fixture(autouse=True, scope="session")
def _warm() -> None:
    use(OfTests())  # type: ignore[arg-type]


@pytest.hookimpl(optionalhook=True)  # there without xdist too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Groups by path, the largest first: while tests of SLURM wait, another worker has the machine.

    xdist's own `loadgroup` goes by a mark that it hides in the test's id, which pytest 9 no longer lets it do: the
    marked tests were spread over all workers, each with clusters of its own, and nothing said so.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((group[0] for group in TOGETHER if nodeid.startswith(group)), nodeid)

    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def _caches() -> Iterator[Path]:
    """Where the caches of tests lie, which are removed with it."""
    place = Path(os.environ["VPRDIST_CACHE"]).parent
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_cache(_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test knows what a process with torch told another one."""
    monkeypatch.setenv("VPRDIST_CACHE", str(_caches / uuid.uuid4().hex))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures and activations; skips where it is absent."""
    named = os.environ.get("VPRDIST_SHARED")
    folder = (Path(named) if named else Path(__file__).resolve().parents[2] / "shared") / "data"
    if not (folder / "lip6").is_dir():
        pytest.skip(f"no real data at {folder}: set VPRDIST_SHARED to the folder that holds data/lip6")
    return folder


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every user of the machine can reach, unlike `tmp_path`, which lies in one of ours alone."""
    with tempfile.TemporaryDirectory(prefix="vprdist-open-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """A tree of `ada` and `bob` that a test may change: see worlds.py."""
    return write_small_tree(tmp_path / "tree")


@pytest.fixture(scope="session")
def shared_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of the tests: what is dear to make is made once for all of xdist's workers, under a lock."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def deeplab_weights(shared_by_workers: Path) -> Path:
    """The file of a DeepLabV3+, 236 MB; nobody changes it."""
    path = shared_by_workers / "deeplab" / "weights.pth"
    path.parent.mkdir(exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            write_deeplab(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes file systems of so many bytes: real ones (tmpfs), which takes a right that not everybody has."""
    made: list[Path] = []

    def make(size: int, *options: str) -> Path:
        place = tmp_path / f"disk-{len(made)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no `mount` here to make a small disk with")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
