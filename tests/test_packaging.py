"""What pip is told, and what documents and messages say of it, are one thing: extras, versions, Pythons."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import vprdist
from vprdist.spec import doors
from vprdist.spec.named import Door

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_TESTS = {"dev", "bench"}
"""Extras of this repository's own tests and benchmarks: their newest versions do."""
SAID = re.compile(r"(?:\bvprdist|['\s]\.)\[([a-z, …]+)\]['\s]")
"""`vprdist[cpu,demo]` or, of a checkout, `.[cpu,demo]`."""
PYTHONS = ["3.11", "3.12", "3.13"]


def texts(*suffixes: str) -> list[Path]:
    """What people read, and messages."""
    rooms = ("vprdist", "sweeps", "slurm", "tests", ".ci", ".github")
    found = [*ROOT.glob("*"), *(path for room in rooms for path in (ROOT / room).rglob("*"))]
    return [path for path in found if path.is_file() and path.suffix in suffixes and path != Path(__file__)]


def extras_in(text: str) -> set[str]:
    return {name.strip() for found in SAID.findall(text) for name in found.split(",")} - {"…"}


def test_every_extra_that_is_named_exists() -> None:
    named: dict[str, Path] = {}
    for path in texts(".py", ".md", ".yaml", ".ipynb", ".def", ".txt", ""):
        text = path.read_text()
        named |= dict.fromkeys(extras_in(text) | set(re.findall(r"\(extra `(\w+)`\)", text)), path)
    assert {name: path for name, path in named.items() if name not in EXTRAS} == {}
    assert {"cpu", "gpu", "demo", "plots", "timm", "notebooks", "litert"} <= set(named), "they are found at all"


def test_extras_of_built_in_names_exist() -> None:
    every = [each for each in vars(doors).values() if isinstance(getattr(each, "door", None), Door)]
    found = {built_in.extra for each in every for built_in in each.door.built_in.values()} - {""}
    assert {"wandb", "metric"} <= found <= set(EXTRAS)


def test_messages_say_what_is_true_of_a_wheel_too() -> None:
    """`pip install '.[EXTRA]'` needs a checkout; of an installed one, or of a wheel, `vprdist[EXTRA]` is known."""
    wrong = [path for path in (ROOT / "vprdist").rglob("*") if path.suffix in (".py", ".md") and
             re.search(r"install (-\w )?'?\.\[", path.read_text())]  # fmt: skip
    assert wrong == []


def test_an_unknown_extra_is_seen() -> None:
    assert extras_in("pip install 'vprdist[cpu, nosuch]', or -e '.[dev]' and 'vprdist[…]'") == {"cpu", "nosuch", "dev"}


def lowest() -> dict[str, str]:
    lines = (ROOT / ".ci" / "lowest.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_constraints_file_holds_every_lower_bound() -> None:
    used = {name: needed for name, needed in EXTRAS.items() if name not in FOR_TESTS}
    every = [
        Requirement(each) for each in [*PROJECT["dependencies"], *(each for some in used.values() for each in some)]
    ]
    bounds = {each.name: {Version(spec.version) for spec in each.specifier if spec.operator == ">="} for each in every}
    assert {name: {Version(version)} for name, version in lowest().items()} == bounds


def test_a_dependency_that_stands_twice_has_one_bound() -> None:
    bounds: dict[str, set[str]] = {}
    for each in map(Requirement, [*PROJECT["dependencies"], *(each for some in EXTRAS.values() for each in some)]):
        bounds.setdefault(each.name, set()).add(str(each.specifier))
    assert {name: said for name, said in bounds.items() if len(said) > 1} == {}


def test_the_version_stands_in_one_place_and_the_others_agree() -> None:
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == vprdist.__version__
    released = re.findall(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    if released:
        assert released[0] == (vprdist.__version__, str(cited["date-released"]))
        assert all(date.fromisoformat(day) for _, day in released)


def test_the_same_pythons_everywhere() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    named = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", each)]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yaml").read_text())
    assert named == workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == PYTHONS
    assert f"for version in {' '.join(PYTHONS)}; do" in (ROOT / ".ci" / "wheel").read_text()


@pytest.mark.parametrize(
    "said", ["%files", "%post", "%runscript", "%test", "apptainer build vprdist.sif slurm/vprdist.def"]
)
def test_the_container_profile_runs_what_the_recipe_builds(said: str) -> None:
    recipe = (ROOT / "slurm" / "vprdist.def").read_text()
    profile = yaml.safe_load((ROOT / "slurm" / "profiles" / "example-container.yaml").read_text())
    assert said in recipe
    assert profile["python"][0] == "apptainer" and profile["python"][-2].endswith("/vprdist.sif")
