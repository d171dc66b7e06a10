"""Every key of the files that ship, spoilt in every way that comes to mind: one message, at the line of the key."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vprdist.errors import SweepFileError
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
PROFILES = sorted((ROOT / "slurm/profiles").glob("*.yaml"))
PYDANTIC = re.compile(
    r"input should|inputs? (is|are) not|not permitted|valid (string|integer|number|boolean|tuple|list|dictionary|array)"
    r"|field required|items? after validation|value error|validated data|pydantic|should (be|have|match)",
    re.IGNORECASE,
)
VALUES: dict[str, Any] = {
    "null": None, "a number": 3.25, "a large number": 10**30, "text": "qqq", "no": "no", "a list": ["qqq"],
    "a deep list": [["qqq"]], "an empty list": [], "a mapping": {"qqq": 1}, "an empty mapping": {}, "true": True,
    "brackets": {"a[0]": 1}, "the reader's own words": {"str": 1, "int": 2},
}  # fmt: skip
NAMES: dict[str, Any] = {
    "misspelt": lambda name: f"{name[:1]}q{name[1:]}", "brackets": lambda name: f"{name}[0]",
    "a dot more": lambda name: f"{name}.str",
}  # fmt: skip


def paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key."""
    for name, below in value.items() if isinstance(value, dict) else ():
        yield (*above, name)
        yield from paths(below, (*above, name))


def spoilt(value: dict[str, Any], path: tuple[str, ...], name: str | None, put: Any) -> dict[str, Any]:
    """The same with a key called otherwise, or with another value."""
    out = {}
    for key, below in value.items():
        if key != path[0]:
            out[key] = below
        elif len(path) > 1:
            out[key] = spoilt(below, path[1:], name, put)
        elif name is not None:
            out[name] = below
        else:
            out[key] = put
    return out


def line_of(text: str, path: tuple[str, ...]) -> int:
    """The line of a key in a file without inline mappings, found by its indentation."""
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.lstrip()
        if len(line) - len(words) == 2 * depth and words.startswith((f"{path[depth]}:", f"'{path[depth]}':")):
            depth += 1
            if depth == len(path):
                return number
    raise AssertionError(path)


def check(text: str, path: tuple[str, ...], file: Path, read: Any, *, strict: bool) -> int:
    """Read a file that may be wrong; returns whether it was refused."""
    file.write_text(text)
    try:
        read(file)
    except SweepFileError as error:
        message = str(error)
        assert not PYDANTIC.search(message), message
        lines = [int(number) for number in re.findall(rf"{re.escape(str(file))}:(\d+): ", message)]
        assert lines, message
        if strict:
            assert {line_of(text, path[:depth]) for depth in range(1, len(path) + 1)} & set(lines), (path, message)
        return 1
    return 0


def both(path: Path, beside: list[Path]) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """(a spoilt file, the path of what was spoilt, whether that must be blamed): keys that no earlier file has."""
    whole = yaml.safe_load(path.read_text())
    earlier = {each for other in beside[: beside.index(path)] for each in paths(yaml.safe_load(other.read_text()))}
    for each in paths(whole):
        if each in earlier:
            continue
        for change in NAMES.values():
            name = change(each[-1])
            yield dump(spoilt(whole, each, name, None)), (*each[:-1], name), True
        for put in VALUES.values():
            yield dump(spoilt(whole, each, None, put)), each, False


def dump(values: dict[str, Any]) -> str:
    """Every mapping in lines of its own."""
    return yaml.safe_dump(values, sort_keys=False, width=10_000)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_spoilt_sweep_is_refused_at_its_line(tmp_path, monkeypatch, path):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    for script in path.parent.glob("*.py"):  # a sweep's own program lies beside it
        shutil.copy(script, tmp_path)
    refused = [check(*each[:2], tmp_path / path.name, read_sweep, strict=each[2]) for each in both(path, SWEEPS)]
    assert sum(refused) >= len(refused) / 2


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_spoilt_profile_is_refused_at_its_line(tmp_path, path):
    def read(file: Path) -> None:
        read_profile(str(file))

    refused = [check(*each[:2], tmp_path / path.name, read, strict=each[2]) for each in both(path, PROFILES)]
    assert sum(refused) >= len(refused) / 2
