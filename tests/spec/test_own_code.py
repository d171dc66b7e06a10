"""What a user brings is read without being run, and loaded from the same file."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from vprdist.errors import OwnCodeError, RuleError
from vprdist.spec.own_code import COMPUTED, REQUIRED, checked_parameters, class_name, is_own, read_own, settled
from vprdist.spec.own_load import blamed, load_own

FILE = '''
"""A file that must not be run by reading it."""
from dataclasses import dataclass

open(__file__ + ".was_run", "w").close()
LIMIT = 3

class Plain:
    units = ("stem", "body")
    draws: tuple = (0.5, 0.0, 0.5)
    computed = LIMIT * 2

    def __init__(self, channels, width: int = 32, *, names=("a", "b"), scale: float, limit=LIMIT):
        self.got = (channels, width, names, scale, limit)

@dataclass
class Fields:
    width: int
    share: float = 0.5

class Inherits(Plain):
    pass

class Anything:
    def __init__(self, **more):
        self.more = more

def function(): pass
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("my_pool.py:Pool", True), ("/a b/my.pool.py:Pool", True), ("package.module:Name", True), ("module:Name", True),
        ("gem", False), ("my_pool.py", False), ("my_pool.py:", False), ("a/b:Name", False), ("package.:Name", False),
        ("my_pool.py:not a name", False), ("litert:deep lab.tflite", False), ("", False),
    ],
)  # fmt: skip
def test_two_forms_of_a_name(name: str, own: bool) -> None:
    assert is_own(name) is own


def test_a_relative_path_counts_from_a_folder(tmp_path: Path) -> None:
    assert settled("sub/mine.py:Plain", tmp_path) == f"{tmp_path}/sub/mine.py:Plain"
    assert settled(f"{tmp_path}/mine.py:Plain", Path("/elsewhere")) == f"{tmp_path}/mine.py:Plain"
    assert settled("package.mine:Plain", tmp_path) == "package.mine:Plain"
    assert class_name("/a/mine.py:Plain") == "Plain" and class_name("package.mine:Plain") == "package.mine:Plain"


def test_a_class_is_read_and_its_file_is_not_run(file: Path) -> None:
    own = read_own(f"{file}:Plain")
    assert own.parameters is not None
    defaults = {name: each.default for name, each in own.parameters.items()}
    assert defaults == {"channels": REQUIRED, "width": 32, "names": ("a", "b"), "scale": REQUIRED, "limit": COMPUTED}
    assert own.facts == {"units": ("stem", "body"), "draws": (0.5, 0.0, 0.5)}, "what is computed is no fact"
    assert FILE.splitlines()[own.line - 1].startswith("class Plain")
    assert read_own(f"{file}:Fields").parameters.keys() == {"width", "share"}
    assert read_own(f"{file}:Inherits").parameters is None and read_own(f"{file}:Anything").parameters is None
    assert not Path(f"{file}.was_run").exists()


def test_parameters_are_checked_by_the_signature(file: Path) -> None:
    own = read_own(f"{file}:Plain")
    assert checked_parameters(own, {"scale": 2}, ("channels",)) == {"width": 32, "names": ["a", "b"], "scale": 2}
    for given, field, words in (
        ({"scale": 2, "widht": 3}, "widht", "has no parameter 'widht'"),
        ({}, "scale", "needs the parameter 'scale'"),
        ({"scale": "much"}, "scale", "needs scale: float"),
        ({"scale": 1.0, "width": 1.5}, "width", "needs width: int"),
        ({"scale": True}, "scale", "needs scale: float"),
        ({"scale": 1.0, "channels": 3}, "channels", "given channels by vprdist"),
    ):
        with pytest.raises(RuleError, match=words) as caught:
            checked_parameters(own, given, ("channels",))
        assert caught.value.field == field and f"{file}:{own.line}" in caught.value.fault
    assert checked_parameters(read_own(f"{file}:Anything"), {"x": [1]}, ()) == {"x": [1]}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{file}:Nothing", "has no class Nothing"),
        ("{file}:function", "has no class function"),
        ("{folder}/absent.py:Plain", "no such file"),
        ("no_such_package.module:Plain", "no such module"),
        ("{folder}/broken.py:Plain", "broken.py:2 is no Python"),
        ("{folder}/bytes.py:Plain", "is no Python"),
    ],
)
def test_what_is_not_there_is_one_message(file: Path, name: str, words: str) -> None:
    file.with_name("broken.py").write_text("x = 1\ndef (:\n")
    file.with_name("bytes.py").write_bytes(b"\xff\xfe\0")
    name = name.format(file=file, folder=file.parent)
    with pytest.raises(RuleError) as caught:
        read_own(name)
    assert words in f"{caught.value.fault}: {caught.value.value}" and "\n" not in caught.value.fault
    with pytest.raises(OwnCodeError):
        load_own(name)


def test_a_module_is_found_without_importing_what_is_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "above_all" / "below"
    package.mkdir(parents=True)
    (tmp_path / "above_all" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "mine.py").write_text("class Plain:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_own("above_all.below.mine:Plain").file == package / "mine.py"
    assert "above_all" not in sys.modules


def test_a_class_is_loaded_once_a_text_and_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "beside_mine.py").write_text("WIDTH = 7\n")
    path = tmp_path / "mine.py"
    path.write_text("from beside_mine import WIDTH\n\nclass Wide:\n    width = WIDTH\n")
    name = f"{path}:Wide"
    first = load_own(name)
    assert first.width == 7 and load_own(name) is first
    digest = read_own(name).digest
    path.write_text("class Wide:\n    width = 8\n")
    assert load_own(name).width == 8 and first.width == 7
    with pytest.raises(OwnCodeError, match=f"digest must be {digest}"):
        load_own(name, digest)


def test_what_a_file_imports_from_beside_it_is_its_text_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import json\nfrom helper import WIDTH\n\nclass Mine:\n    pass\n")
    alone = read_own(f"{path}:Mine").digest
    (tmp_path / "helper.py").write_text("from further import WIDTH\n")
    (tmp_path / "further.py").write_text("import helper\nWIDTH = 3\n")
    (tmp_path / "unrelated.py").write_text("")
    both = read_own(f"{path}:Mine").digest
    (tmp_path / "unrelated.py").write_text("changed = True\n")
    assert alone != both == read_own(f"{path}:Mine").digest
    (tmp_path / "further.py").write_text("import helper\nWIDTH = 4\n")
    assert read_own(f"{path}:Mine").digest not in (alone, both)


def failing(tmp_path: Path, body: str) -> Any:
    path = tmp_path / "mine.py"
    path.write_text("class Mine:\n    def call(self, value):\n" + textwrap.indent(body, " " * 8))
    return f"{path}:Mine", load_own(f"{path}:Mine")()


def test_an_error_names_the_last_line_of_the_file(tmp_path: Path) -> None:
    name, mine = failing(tmp_path, "value = value + 1\nreturn json_of(value)\n")
    with pytest.raises(OwnCodeError) as caught, blamed(name):
        mine.call(1)
    assert caught.value.where == f"{tmp_path}/mine.py:4"
    assert "NameError" in caught.value.fault and "json_of" in caught.value.fault
    name, mine = failing(tmp_path, "return value(3)\n")
    with pytest.raises(OwnCodeError) as caught, blamed(name):
        mine.call(json.loads)  # raised below the file: its line called what failed
    assert caught.value.where == f"{tmp_path}/mine.py:3"


def test_what_is_not_the_files_fault_is_left_alone(tmp_path: Path) -> None:
    name, mine = failing(tmp_path, "return value()\n")

    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError), blamed(name):
        mine.call(full)
    with pytest.raises(ZeroDivisionError), blamed(name):
        print(1 / 0)


def test_an_error_while_the_file_is_run_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import no_such_library\n\nclass Mine:\n    pass\n")
    with pytest.raises(OwnCodeError) as caught:
        load_own(f"{path}:Mine")
    assert caught.value.where == f"{path}:1" and "no_such_library" in caught.value.fault
    path.write_text("class Mine:\n    pass\n")
    assert load_own(f"{path}:Mine"), "mended, it loads"


def test_a_default_that_no_trial_file_can_hold_is_left_to_the_class(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    odd = ["{1, 2}", 'b"x"', "1e999", "...", "1j", "{[]: 1}", "{1: 2}", "[{3, 4}]"]
    signature = ", ".join(f"p{index}={text}" for index, text in enumerate(odd))
    path.write_text(
        f"class Odd:\n    draws = {{0.5}}\n    def __init__(self, {signature}, plain={{'a': (1, 2)}}): pass\n"
    )
    own = read_own(f"{path}:Odd")
    assert own.facts == {}
    assert checked_parameters(own, {}, ()) == {"plain": {"a": [1, 2]}}


def test_a_dataclass_has_the_fields_of_those_above_it_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fields.py"
    text = "from dataclasses import dataclass\n"
    text += "@dataclass\nclass Above:\n    a: float = 1.0\n    b: int = 2\n"
    text += "@dataclass\nclass Below(Above):\n    b: int = 3\n    c: int = 4\n"
    path.write_text(text)
    assert checked_parameters(read_own(f"{path}:Below"), {"a": 3.0}, ()) == {"a": 3.0, "b": 3, "c": 4}


@pytest.mark.parametrize("name", ["~nobody-of-that-name/mine.py:Plain", f"/{'x' * 300}/mine.py:Plain"])
def test_a_path_that_cannot_be_is_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuleError, match="no such file"):
        read_own(settled(name, tmp_path))


def test_a_file_that_leaves_goes_away_or_lacks_its_own_files_is_blamed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import sys\nclass A: pass\nsys.exit(0)\n")
    with pytest.raises(OwnCodeError, match=r"mine\.py:3: SystemExit"):
        load_own(f"{path}:A")
    path.write_text("import os\nos.remove(__file__)\nclass A: pass\nraise ValueError('gone')\n")
    with pytest.raises(OwnCodeError, match=r"mine\.py:4: ValueError: gone"):
        load_own(f"{path}:A")
    path.write_text("class A: pass\nopen('/no/such/file')\n")
    with pytest.raises(OwnCodeError, match=r"mine\.py:2: FileNotFoundError"):
        load_own(f"{path}:A")
    path.write_text("class A: pass\nraise OSError('the disk')\n")
    with pytest.raises(OSError, match="the disk"):  # another attempt may mend it
        load_own(f"{path}:A")
    with pytest.raises(OwnCodeError, match=r"mine\.py:2: OSError"), blamed(f"{path}:A", at_once=True):
        load_own(f"{path}:A")


def test_a_module_behind_a_link_is_blamed_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "linked_mine.py").write_text(
        "class A:\n    def __init__(self):\n        raise ValueError('x')\n"
    )
    (tmp_path / "link").symlink_to("real")
    monkeypatch.syspath_prepend(tmp_path / "link")
    with pytest.raises(OwnCodeError, match=r"linked_mine\.py:3: ValueError"), blamed("linked_mine:A"):
        load_own("linked_mine:A")()
    sys.modules.pop("linked_mine")


def test_a_whole_number_for_a_float_is_the_same_experiment(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("class A:\n    def __init__(self, a: float = 2, b: int = 1, c=3): pass\n")
    own = read_own(f"{path}:A")
    found = [json.dumps(checked_parameters(own, given, ())) for given in ({}, {"a": 2}, {"a": 2.0})]
    assert found == ['{"a": 2.0, "b": 1, "c": 3}'] * 3
