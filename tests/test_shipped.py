"""What comes with the package is found in a checkout and in an installed wheel alike, after the working folder's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_documents import dead
from vprdist.errors import LaunchError, SweepFileError
from vprdist.shipped import FOLDERS, INSIDE, shipped_files, shipped_root
from vprdist.spec.profile import profile_names, read_profile
from vprdist.spec.sweep_file import read_sweep

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = shutil.ignore_patterns("__pycache__")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the package as a wheel lays it out; `.ci/wheel` installs a real one."""
    for place in ("vprdist", *FOLDERS):
        target = tmp_path / "site" / "vprdist" / ("" if place == "vprdist" else f"{INSIDE}/{place}")
        shutil.copytree(ROOT / place, target, ignore=NOT_OURS)
    return tmp_path / "site"


def test_a_wheel_takes_in_what_lies_beside_the_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == ["vprdist", *FOLDERS]
    assert wheel["sources"] == {folder: f"vprdist/{INSIDE}/{folder}" for folder in FOLDERS}
    assert not (ROOT / "vprdist" / INSIDE).exists(), "there is one copy"


@pytest.fixture
def build_hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """.ci/hatch_build.py, which pip loads where hatchling is installed."""
    for name in ("hatchling", "hatchling.builders", "hatchling.builders.hooks", "hatchling.builders.hooks.plugin"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    interface = ModuleType("hatchling.builders.hooks.plugin.interface")
    vars(interface)["BuildHookInterface"] = type("BuildHookInterface", (), {"__class_getitem__": lambda *_: object})
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / ".ci/hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_a_wheels_documents_lead_to_what_it_holds(installed: Path, build_hook: ModuleType) -> None:
    """In a wheel sweeps and profiles lie inside the package, and nothing lies beside it."""
    for path in build_hook.documents(ROOT):
        target = installed / build_hook.place(path)
        target.write_text(build_hook.for_wheel((ROOT / path).read_text(), path))
    found = sorted(installed.rglob("*.md"))
    assert {path.relative_to(installed).as_posix() for path in found} == {
        build_hook.place(path) for path in build_hook.documents(ROOT)
    }
    assert [(path, target) for path in found for target in dead(path)] == []
    assert dead(ROOT / "slurm/README.md") == [], "those of the checkout stay"
    moved = build_hook.for_wheel(
        "[a](../SECURITY.md) [b](../vprdist/data/README.md#c) [d](https://e.org/f) [g](#h)", "slurm/i.md"
    )
    assert moved == "[a](../SECURITY.md) [b](../../data/README.md#c) [d](https://e.org/f) [g](#h)"


def test_a_sites_own_profile_comes_into_no_commit_and_no_wheel() -> None:
    """It holds an account; hatchling leaves out what git ignores, and what is shipped must not be among it."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no clone")
    shipped = [str(path) for path in shipped_files() if path.name != "mine.yaml"]
    words = ["git", "-C", str(ROOT), "check-ignore", "--no-index", "slurm/profiles/mine.yaml", *shipped]
    ignored = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    known = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "slurm/profiles/mine.yaml" in ignored
    assert set(ignored) & set(known) == set()


def test_in_a_checkout_it_lies_beside_the_package() -> None:
    assert shipped_root() == ROOT
    names = {str(path) for path in shipped_files()}
    assert {"sweeps/table1.yaml", "sweeps/your_program.py", "slurm/profiles/local.yaml", "slurm/devcluster"} <= names
    assert not [name for name in names if name.endswith((".md", ".pyc"))]


def test_a_shipped_sweep_is_read_from_any_folder_and_said(elsewhere: Path) -> None:
    sweep = read_sweep(Path("sweeps/table1.yaml"))
    assert sweep.origin.notes == [
        f"sweeps/table1.yaml is not in this folder: the one that came with vprdist is taken, {ROOT}/sweeps/table1.yaml"
    ]
    assert sweep.trials == read_sweep(ROOT / "sweeps" / "table1.yaml").trials
    own = read_sweep(Path("./sweeps/your_program.yaml")).trial
    assert own.job is not None
    with pytest.raises(SweepFileError, match=r"sweeps/nosuch.yaml: no such file. Check the path; `vprdist init`"):
        read_sweep(Path("sweeps/nosuch.yaml"))


def test_the_working_folder_comes_first(elsewhere: Path) -> None:
    (elsewhere / "sweeps").mkdir()
    (elsewhere / "sweeps" / "table1.yaml").write_text("name: mine\n")
    sweep = read_sweep(Path("sweeps/table1.yaml"))
    assert (sweep.name, sweep.origin.notes) == ("mine", [])
    (elsewhere / "sweeps" / "forms.yaml").symlink_to("nowhere")
    with pytest.raises(SweepFileError, match="no such file"):
        read_sweep(Path("sweeps/forms.yaml"))
    (elsewhere / "slurm" / "profiles").mkdir(parents=True)
    (elsewhere / "slurm" / "profiles" / "local.yaml").write_text("kind: local\nmax_attempts: 7\n")
    assert read_profile("local").max_attempts == 7


def test_shipped_profiles_are_found_from_any_folder(elsewhere: Path) -> None:
    assert profile_names() == sorted(path.stem for path in (ROOT / "slurm" / "profiles").glob("*.yaml"))
    assert read_profile("local").kind == "local"
    with pytest.raises(LaunchError, match=r"no such file of slurm/profiles: 'nosuch'. Valid: .*local"):
        read_profile("nosuch")


def test_an_installed_package_has_all_of_it(installed: Path, elsewhere: Path) -> None:
    def vprdist(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vprdist", *words], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"},
        )  # fmt: skip

    planned = vprdist("plan", "sweeps/your_program.yaml")
    assert planned.returncode == 0, planned.stderr
    shipped = installed / "vprdist" / INSIDE
    assert planned.stdout.count(f"the one that came with vprdist is taken, {shipped}/sweeps/your_program.yaml") == 1
    made = vprdist("init")
    assert made.returncode == 0, made.stderr
    found = {str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*") if path.is_file()}
    assert found == {str(path) for path in shipped_files()}
    shutil.rmtree(shipped / "slurm")
    shutil.rmtree(elsewhere / "slurm")
    broken = vprdist("plan", "sweeps/table1.yaml")
    assert broken.returncode == 2 and "cluster: no such file of slurm/profiles: 'local'." in broken.stderr
