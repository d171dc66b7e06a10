"""A user without name or home (a container has often such) is no KeyError; freed memory is kept while it is used."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vprdist import machine
from vprdist.console import guarded
from vprdist.files import at_home
from vprdist.launch.endings import who
from vprdist.launch.queue_rows import squeue_command

PACKAGE = Path(machine.__file__).parent


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> str:
    """This process's user loses name and home; its number."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    return str(os.getuid())


def test_a_user_without_a_name_is_a_number(nameless: str) -> None:
    assert machine.current_user() == nameless
    assert f"--user={nameless}" in squeue_command(machine.current_user(), ["a"])
    assert who("54321") == "54321"


def test_a_user_without_a_home_has_one_that_is_not_there(nameless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's import raises where there is none."""
    assert at_home("~/data") == Path("~/data"), "as it is: then it is said that there is no such folder"
    monkeypatch.setenv("HOME", "restored after the test")
    monkeypatch.delenv("HOME")
    seen: list[Path] = []
    assert guarded(lambda console: seen.append(Path("~/ray_results").expanduser()) or 0) == 0
    assert seen == [Path("/nonexistent/ray_results")]


def test_nobody_asks_for_a_name_or_a_home_in_another_way() -> None:
    asks = re.compile(r"getpwuid|getpass|getlogin|expanduser\(|Path\.home|\.owner\(")
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if asks.search(path.read_text())}
    assert found == {"machine.py", "files.py", "private.py"}


ALLOCATES = """
import resource
import torch
from vprdist.machine import kept_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        [torch.ones(4 << 20) for _ in range(16)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def held():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() >> 20
begin, before = held(), faults()
with kept_memory("cpu"):
    faults()
    within, holds = faults(), held()
left = held()
print(before, within, faults(), holds - begin, left - begin)
"""
LIES = """
import re
from vprdist.machine import use_huge_pages
use_huge_pages()
import torch
tensor = torch.ones(16 << 20)
middle = tensor.data_ptr() + tensor.nbytes // 2
with open("/proc/self/smaps") as smaps:
    for line in smaps:
        if found := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            begin, end = (int(number, 16) for number in found.groups())
        elif begin <= middle < end and line.startswith("VmFlags:"):
            print("hg" in line.split())
"""
HUGE = Path("/sys/kernel/mm/transparent_hugepage")
glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")


def said_by(program: str, **settings: str) -> list[str]:
    """What a Python prints in whose environment nothing else is said of memory."""
    unsaid = (*machine.MALLOC_SETTINGS, machine.HUGE_PAGES)
    environment = {key: value for key, value in os.environ.items() if key not in unsaid} | settings
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


@glibc
def test_freed_memory_is_kept_for_what_comes_next_and_given_back_in_the_end() -> None:
    before, within, after, held_mb, left_mb = map(int, said_by(ALLOCATES))
    assert within * 4 < before
    assert within * 4 < after
    assert held_mb > 200
    assert left_mb < 100


@glibc
def test_what_the_environment_says_of_freed_memory_holds() -> None:
    before, within, *_ = map(int, said_by(ALLOCATES, MALLOC_MMAP_THRESHOLD_="1000000"))
    assert within * 2 > before


@pytest.mark.skipif(not HUGE.exists(), reason="this kernel has no huge pages")
def test_large_tensors_ask_for_huge_pages_unless_the_environment_says_no() -> None:
    assert said_by(LIES) == ["True"]
    assert said_by(LIES, **{machine.HUGE_PAGES: "0"}) == ["False"]


LOADED = """
import gc, json, sys
from vprdist.machine import load_for_good

class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("collected")

module = load_for_good("json.tool")
assert module is sys.modules["json.tool"] and gc.isenabled()
frozen = gc.get_freeze_count()
Cycle()
assert load_for_good("json.tool") is module and gc.get_freeze_count() == frozen > 0
gc.disable()
try:
    load_for_good("json.nothing")
except ImportError as error:
    assert error.name == "json.nothing" and not gc.isenabled()
    gc.enable()
    gc.unfreeze()
    gc.collect()
"""


def test_what_is_loaded_for_good_is_frozen_and_what_is_made_later_is_collected() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "collected\n", "")


@pytest.mark.parametrize("own", [False, True])
def test_a_command_with_code_of_a_users_ends_as_python_does(tmp_path: Path, own: bool) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    code = f"""
from vprdist.console import guarded
from vprdist.spec.own_load import load_own

class Cycle:
    def __init__(self):
        self.itself, self.file = self, open("words", "w")
        self.file.write("all of it")

def work(console):
    global kept
    if {own}:
        load_own("{tmp_path}/mine.py:Mine")
    kept = Cycle()
    return 0

raise SystemExit(guarded(work))
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "words").read_text() == ("all of it" if own else "")
