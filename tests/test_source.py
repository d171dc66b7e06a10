"""Which code runs, told of real copies of the package: a checkout, an installed wheel, and neither."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vprdist import __version__
from vprdist.shipped import INSIDE
from vprdist.source import Source, source_of

PACKAGE = Path(__file__).resolve().parents[1] / "vprdist"
LOSS = "training/losses/gcl.py"
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package as it is, in a folder of its own, which nobody else's repository holds."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "here" / "vprdist", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Runs git without the settings of whoever runs the tests."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.resolve().parent))
    author = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def run(folder: Path, *words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | author).stdout

    return run


@pytest.fixture
def checkout(copy: Path, git: Callable[..., str]) -> Path:
    """The copy, committed."""
    git(copy.parent, "init", "-q")
    git(copy.parent, "add", "-A")
    git(copy.parent, "commit", "-qm", "all of it")
    return copy


def look(package: Path) -> Source:
    found = source_of(package, "0.1.0")
    assert found is not None
    return found


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "# changed by hand\n")


def by_hand(package: Path) -> str:
    """The digest once more, from what `find` says."""
    paths = subprocess.run(
        ["find", ".", "-name", "*.py", "-type", "f"], cwd=package, capture_output=True, text=True, check=True
    ).stdout.split()
    whole = b""
    for name in sorted(path.removeprefix("./") for path in paths):
        data = (package / name).read_bytes()
        whole += name.encode() + b"\0" + str(len(data)).encode() + b"\0" + data
    return hashlib.sha256(whole).hexdigest()[:16]


def test_the_digest_is_that_of_all_python_files_and_of_nothing_else(copy: Path) -> None:
    before = look(copy)
    assert before.digest == by_hand(copy)
    edit(copy / "report/page/style.css")
    (copy / "training/__pycache__").mkdir()
    (copy / "training/__pycache__/run.cpython-311.pyc").write_bytes(b"x")
    (copy / ".#gcl.py").symlink_to("nowhere")  # an editor's lock
    assert look(copy).digest == before.digest
    edit(copy / LOSS)
    assert look(copy).digest == by_hand(copy) != before.digest
    (copy / LOSS).rename(copy / "training/losses/other.py")
    assert len({before.digest, look(copy).digest, by_hand(copy)}) == 2, "names count too"


def test_a_wheel_has_the_digest_of_its_checkout_whatever_is_shipped_inside_it(copy: Path) -> None:
    before = look(copy)
    (copy / INSIDE / "sweeps").mkdir(parents=True)
    (copy / INSIDE / "sweeps" / "your_program.py").write_text("x = 1\n")
    assert look(copy) == before


@needs_git
def test_a_checkout_says_its_commit_and_what_was_changed_since(checkout: Path, git: Callable[..., str]) -> None:
    found = look(checkout)
    assert (found.changed, found.files) == (False, ())
    assert found.commit == git(checkout, "rev-parse", "HEAD").strip()
    edit(checkout / "report/page/style.css")
    assert look(checkout).changed is False, "it computes nothing"
    edit(checkout / LOSS)
    (checkout / "training/losses/mine.py").write_text("x = 1\n")
    (checkout / "tensors.py").unlink()
    found = look(checkout)
    assert (found.changed, found.files) == (True, ("tensors.py", LOSS, "training/losses/mine.py"))
    git(checkout.parent, "add", "-A")
    assert look(checkout).changed is True, "what is staged is not committed"
    git(checkout.parent, "commit", "-qm", "mine")
    assert (look(checkout).changed, look(checkout).digest) == (False, found.digest)


@needs_git
def test_git_is_not_told_to_overlook_a_change_nor_asked_about_another_repository(
    checkout: Path, git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(checkout, "update-index", "--assume-unchanged", LOSS)
    (checkout.parent / ".gitignore").write_text("*_local.py\n")
    (checkout / "training/losses/my_local.py").write_text("x = 1\n")
    edit(checkout / LOSS)
    assert look(checkout).files == (LOSS, "training/losses/my_local.py")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as in a hook of another repository
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert look(checkout).commit is not None


@needs_git
def test_nothing_of_the_users_runs(checkout: Path, git: Callable[..., str], tmp_path: Path) -> None:
    """Hooks, a monitor of files and a filter, each of which would leave a file."""
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    hooks = checkout.parent / ".git" / "hooks"
    for name in ("post-index-change", "pre-auto-gc", "reference-transaction", "post-checkout"):
        (hooks / name).write_text(trap.read_text())
        (hooks / name).chmod(0o755)
    git(checkout, "config", "core.fsmonitor", str(trap))
    git(checkout, "config", "filter.trap.clean", str(trap))
    (checkout.parent / ".gitattributes").write_text("*.py filter=trap\n")
    edit(checkout / LOSS)
    (tmp_path / "sprung").unlink(missing_ok=True)  # making the trap may have sprung it
    assert look(checkout).files == (LOSS,)
    assert not (tmp_path / "sprung").exists()
    git(checkout, "status")
    assert (tmp_path / "sprung").exists(), "the trap works"


@needs_git
def test_ends_of_lines_are_no_change(checkout: Path) -> None:
    (checkout / LOSS).write_bytes((checkout / LOSS).read_bytes().replace(b"\n", b"\r\n"))
    assert look(checkout).changed is False


@needs_git
@pytest.mark.parametrize("ignored", [True, False])
def test_a_copy_that_only_lies_in_somebodys_checkout_is_none(
    copy: Path, git: Callable[..., str], ignored: bool
) -> None:
    """A virtual environment in a project's folder: git would call it unchanged, or all of it new."""
    (copy.parent / "paper.tex").write_text("x")
    (copy.parent / ".gitignore").write_text("vprdist/\n" if ignored else "")
    git(copy.parent, "init", "-q")
    git(copy.parent, "add", "paper.tex")
    git(copy.parent, "commit", "-qm", "a paper")
    assert (look(copy).changed, look(copy).commit) == (None, None)


@needs_git
def test_before_the_first_commit_nothing_is_known(copy: Path, git: Callable[..., str]) -> None:
    git(copy.parent, "init", "-q")
    assert (look(copy).changed, look(copy).commit) == (None, None)


@needs_git
def test_somebody_elses_checkout_fails_nothing(checkout: Path) -> None:
    """git refuses it: "detected dubious ownership"."""
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    for path in (checkout.parent, checkout.parent / ".git", checkout):
        os.chown(path, 12345, 12345)
    assert (look(checkout).changed, look(checkout).commit) == (None, None)
    assert look(checkout).digest == by_hand(checkout)


def test_without_git_nothing_is_known_and_nothing_fails(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(copy))
    assert (look(copy).changed, look(copy).commit) == (None, None)


def test_a_git_that_hangs_is_not_waited_for(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("vprdist.source.GIT_S", 0.2)
    assert look(copy).changed is None


def write_record(package: Path) -> None:
    """What pip leaves beside a package that it installed from a wheel."""
    rows = []
    for path in sorted(package.rglob("*")):
        if path.is_file():
            found = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
            rows.append(f"{path.relative_to(package.parent).as_posix()},sha256={found},{path.stat().st_size}")
    folder = package.parent / "vprdist-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vprdist\nVersion: 0.1.0\n")
    rows += ["../../../bin/vprdist,sha256=x,1", "vprdist-0.1.0.dist-info/RECORD,,", "tests/elsewhere.py,sha256=x,1"]
    (folder / "RECORD").write_text("\n".join(rows) + "\n")


def test_an_installed_wheel_is_compared_with_what_was_installed(copy: Path) -> None:
    write_record(copy)
    assert (look(copy).changed, look(copy).files, look(copy).commit) == (False, (), None)
    edit(copy / LOSS)
    (copy / "tensors.py").unlink()
    (copy / "mine.py").write_text("x = 1\n")
    assert (look(copy).changed, look(copy).files) == (True, ("mine.py", "tensors.py", LOSS))


def test_a_development_install_elsewhere_says_nothing_of_this_copy(copy: Path) -> None:
    write_record(copy)
    text = (copy.parent / "vprdist-0.1.0.dist-info" / "RECORD").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("vprdist/")]
    (copy.parent / "vprdist-0.1.0.dist-info" / "RECORD").write_text("\n".join(kept) + "\n")
    assert look(copy).changed is None


def test_files_that_cannot_be_read_make_no_source(tmp_path: Path) -> None:
    assert source_of(tmp_path / "nowhere", "0.1.0") is None


def test_a_process_speaks_of_its_own_code_and_looks_once(copy: Path) -> None:
    """However its files change while it runs."""
    edit(copy / LOSS)
    code = (
        "import pathlib, vprdist.source as s; a = s.running_source();"
        "pathlib.Path(s.__file__).with_name('files.py').write_text('');"
        "print(a.digest, s.running_source() is a, a.version)"
    )
    expected = by_hand(copy)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=os.environ | {"PYTHONPATH": str(copy.parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [expected, "True", __version__]


def test_a_source_of_another_version_is_unknown() -> None:
    source = Source(version="0.1.0", digest="ab", changed=True, files=("x.py",), commit=None)
    known = {"version": "0.1.0", "digest": "ab", "changed": True, "files": ["x.py"], "commit": None}
    assert Source.of_json(known) == source
    assert Source.of_json(None) is None and Source.of_json("ab") is None
    assert Source.of_json(known | {"machine": "x"}) is None and Source.of_json({"version": "1"}) is None
