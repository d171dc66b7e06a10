"""The words of the package: messages state a fault, comments are sentences, modules are called by their names.

The form of a message is `where: fault: value. remedy` (`vprdist.errors`). A fault that reads as a rule ("every file
exists") says the opposite of what happened.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import sources, warm
from vprdist.cli.control import _agreed
from vprdist.console import Console
from vprdist.errors import DataError, LaunchError, UserError

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "vprdist").rglob("*.py"))
STATES_A_FAULT = re.compile(
    r"\b(must|needs?|should|cannot|can only|could not|may not|not|no|none|nobody|nothing|without|only .*\bcan"
    r"|missing|unknown|lacks?|twice|second|several|already|gone|failed|died|refuses?|incomplete|impossible|cancelled"
    r"|changed|outside)\b"
)
"""What a fault says: that something must be (and is not), cannot be, is not there, is there twice, or went wrong."""
NAMES = ("SLURM's", "TensorBoard", "PNGs", "X-Y", "BatchNorm")
"""Faults begin in lower case but for these names."""
PASSED_ON = re.compile(r"\w*\.?fault|str\(\w+\)|first\['msg'\]|finding\['msg'\]\[.*|first_line\(error\)|said\['rule'\]")
"""What else may stand for a fault: that of another error, or a library's words."""


def kinds() -> set[str]:
    """The names of all errors whose message a user reads."""
    found = {"UserError", "RuleError"}
    for node in sources.tree(ROOT / "vprdist/errors.py").body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) in found for base in node.bases):
            found.add(node.name)
    return found


def texts(node: ast.expr, file: Path, above: tuple[ast.expr, ...] = ()) -> Iterator[str | ast.expr]:
    """What an expression may say: literals with `…` for what is filled in, or the expression where none is found."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.BinOp):
        yield from texts(node.left, file, above)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body, file, above)
        yield from texts(node.orelse, file, above)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        yield from texts(node.func.value, file, above)
    elif isinstance(node, ast.Name) and (values := list(assigned(node.id, file))):
        for value in values:
            if value not in above:
                yield from texts(value, file, (*above, value))
    else:
        yield node


def assigned(name: str, file: Path) -> Iterator[ast.expr]:
    """Every value that a file gives a variable, alone or in a tuple; a constant that is imported too."""
    for node in sources.nodes(file):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    yield node.value
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=True)
                    yield from (value for each, value in pairs if isinstance(each, ast.Name) and each.id == name)
        elif isinstance(node, ast.ImportFrom) and name.isupper() and name in {alias.name for alias in node.names}:
            yield from assigned(name, ROOT / f"{str(node.module).replace('.', '/')}.py")


def faults(path: Path) -> Iterator[tuple[int, str | ast.expr]]:
    """Every fault of a file: of its errors, of what it calls `fault`, and of the ValueErrors of specs."""
    shown = kinds()
    for node in sources.nodes(path):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            place = {**dict.fromkeys(shown, 1), "_error": -1, "_unfit": 1, "load_tensors": 1, "wrong": 0}.get(name)
            if name == "_error":
                place = 2 if "batch" in {getattr(each, "id", "") for each in node.args} else 0
            if name == "ValueError" and "spec" in path.parts:
                place = 0
            if place is not None:
                given = node.args[place] if len(node.args) > place else None
                by_name = [word.value for word in node.keywords if word.arg == "fault"]
                for value in [given] if given is not None else by_name:
                    if ast.unparse(value) != "fault":  # what the file calls so is read where it is set
                        yield from ((node.lineno, text) for text in texts(value, path))
        elif isinstance(node, ast.Assign) and any(ast.unparse(target) == "fault" for target in node.targets):
            yield from ((node.lineno, text) for text in texts(node.value, path))


def wrong_with(fault: str) -> str | None:
    """What is wrong with the words of a fault; None where it has the form."""
    if fault.endswith((".", ":", ";")):
        return "the full stop is added, and what was found comes after it"
    if not STATES_A_FAULT.search(fault.replace("…", " ")):
        return "it reads as a rule that holds"
    if fault[0].isupper() and fault.split()[0] not in NAMES:
        return "it begins with a capital"
    return None


def test_every_message_states_a_fault() -> None:
    seen, mistakes = 0, []
    for path in FILES:
        for line, fault in faults(path):
            where = f"{path.relative_to(ROOT)}:{line}"
            if isinstance(fault, str):
                seen += 1
                # `…` alone or after a subject: the words are given elsewhere, and are read there.
                wrong = None if re.fullmatch(r"(the class )?…[… :()]*", fault) else wrong_with(fault)
            else:
                wrong = None if PASSED_ON.fullmatch(ast.unparse(fault)) else "nobody can read it here"
                fault = ast.unparse(fault)
            mistakes += [f"{where}: {fault!r}: {wrong}"] if wrong else []
    assert not mistakes, "\n" + "\n".join(mistakes)
    assert seen > 300, "the messages are found at all"


@pytest.mark.parametrize(
    "fault",
    [
        "SLURM's commands are there", "every file exists", "somebody can be asked, or has said yes",
        "the cluster accepts the job", "a city is named once", "a cache is a folder", "it answers within 10 s",
        "no such trial.", "The trial is missing", "the profile's partition:", "a scheduler stops trials",
    ],
)  # fmt: skip
def test_rules_full_stops_and_capitals_are_found(fault: str) -> None:
    assert wrong_with(fault) is not None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LaunchError("runs", "no such sweep", "nosuch", "Valid: a."), "runs: no such sweep: 'nosuch'. Valid: a."),
        (DataError("a.csv", "a column must be numbers", "x"), "a.csv: a column must be numbers; found 'x'."),
        (UserError("batch", "training needs two ranks", 1, "Ask."), "batch: training needs two ranks; found 1. Ask."),
        (LaunchError("--yes", "nobody can be asked", None, "Add it."), "--yes: nobody can be asked. Add it."),
        (LaunchError("sbatch", "it failed"), "sbatch: it failed."),
    ],
)  # fmt: skip
def test_a_message_reads_well_with_and_without_a_value(error: UserError, text: str) -> None:
    assert str(error) == text
    again = type(error).from_json(error.to_json())
    assert (str(again), type(again)) == (text, type(error))


def test_an_error_that_an_earlier_version_left_is_read() -> None:
    """Job arrays leave what a node found wrong as a file; one of version 0.1 may wait for its driver."""
    left = {"where": "a", "rule": "a city is named once", "value": 3, "remedy": "Mend it."}
    assert UserError.from_json(left).to_json() == left


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messages")
    (folder / "good.yaml").write_text("name: good\n")
    (folder / "key.yaml").write_text("name: key\ntrial: {input: {mod: rgb}}\n")
    (folder / "city.yaml").write_text("name: city\ntrial: {data: {train: [a], validate: [b]}}\n")
    (folder / "text.yaml").write_text("only words\n")
    (folder / "class.yaml").write_text("name: class\ntrial:\n  input: {mode: masked, classes: [rode]}\n")
    (folder / "runs/sweeps/mine").mkdir(parents=True)
    (folder / "runs/sweeps/mine/manifest.json").write_text('{"objective": "map@5", "trials": [], "names": {}}')
    (folder / "a.txt").write_text("a b\n")
    return folder


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("status nosuch", "runs: no such sweep: 'nosuch'. Valid: mine."),
        ("leaderboard nosuch", "sweeps/nosuch: no such sweep. Sweeps in "),
        ("logs nosuch", "runs/trials: no such trial: 'nosuch'. Give an id or its beginning"),
        ("cancel mine nosuch", "sweep mine: no such trial: 'nosuch'. "),
        ("plan nosuch.yaml", "nosuch.yaml: no such file. Check the path"),
        ("plan key.yaml", "key.yaml:2: trial.input.mod: unknown key. Did you mean 'mode'? "),
        ("plan text.yaml", "text.yaml: the file must be a mapping of keys. See "),
        ("plan class.yaml", "yaml:3: trial.input.classes: every entry must be one of the 19 classes; found 'rode'"),
        ("plan good.yaml trial.train.steps=many", "trial.train.steps: this must be a whole number; found 'many'."),
        ("plan good.yaml trial.train.lr=-1", "trial.train.lr: this must be above 0; found -1."),
        ("plan city.yaml trial.data.root=/no", "/no: an MSLS tree must have train_val/"),
        ("plan good.yaml cluster=nosuch", "cluster: no such file of slurm/profiles: 'nosuch'. Valid: "),
        ("evaluate a.txt nosuch.txt --data .", "nosuch.txt: there is no such file. Name files alone, or one trial."),
        ("evaluate a.txt", "--data and --cities: files need the cities of a data set. Say --data ROOT"),
        ("cache info nosuch", "nosuch: a cache must be a folder with a manifest.json"),
        ("leaderboard mine --watch --every 0", "--every: a page can be written every second, not more often: 0.0."),
    ],
)  # fmt: skip
def test_the_first_line_of_a_refusal(folder: Path, words: str, line: str) -> None:
    done = warm.run(
        [sys.executable, "-m", "vprdist", *words.split()], cwd=folder, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert line in done.stderr.splitlines()[0]


def test_a_question_without_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(LaunchError) as caught:
        _agreed(argparse.Namespace(yes=False), Console(), "Remove 3 files?")
    assert str(caught.value) == "--yes: nobody can be asked (no terminal). Add --yes."


@cache
def written(path: Path) -> tuple[tuple[int, str], ...]:
    """Every docstring and comment of a file, the lines of one comment put together."""
    return tuple(_written(path))


def _written(path: Path) -> Iterator[tuple[int, str]]:
    for node in sources.nodes(path):
        for part in getattr(node, "body", None) if isinstance(getattr(node, "body", None), list) else []:
            value = part.value if isinstance(part, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield part.lineno, value.value
    above: tuple[int, int] | None = None
    block, first = "", 0
    for token in tokenize.generate_tokens(io.StringIO(sources.text(path)).readline):
        if token.type == tokenize.COMMENT:
            if above != (token.start[0] - 1, token.start[1]):
                if block:
                    yield first, block
                block, first = "", token.start[0]
            block, above = f"{block} {token.string.lstrip('# ')}", token.start
    if block:
        yield first, block


@pytest.mark.parametrize("room", ["vprdist", "tests"])
def test_docstrings_and_comments_begin_with_a_subject(room: str) -> None:
    """ "Of every loss" and "Who builds here" are no sentences: the subject is missing."""
    mistakes = []
    for path in sorted((ROOT / room).rglob("*.py")):
        for line, text in written(path):
            sentences = re.split(r"(?<=[.!?])\s+|\n\s*\n", text.strip())
            found = [" ".join(each.split()) for each in sentences if re.match(r"(Of|Who|Whose)\b", each.strip())]
            mistakes += [f"{path.relative_to(ROOT)}:{line}: {each[:100]}" for each in found]
    assert not mistakes, "\n" + "\n".join(mistakes)


MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
ROOMS = {name.split(".")[1] for name in MODULES if name.count(".")}
SECTIONS = ("search", "data", "network", "evaluate", "sweep")
"""Rooms and modules that are sections of a sweep file, or variables, too: `search.subsets` is a key."""
LEFT = ("attribute", "steer", "drive", "caches", "detach", "probed", "board", "pictures", "parts", "resolve")
"""Rooms and files of earlier versions, which lie elsewhere now."""


def stands(dotted: str) -> bool:
    """Whether a dotted name is a module of the tree, or a name that one of its modules or classes has."""
    parts = dotted.removeprefix("vprdist.").split(".")
    for depth in range(len(parts), 0, -1):
        module = ".".join(["vprdist", *parts[:depth]])
        if module in MODULES:
            path = ROOT / module.replace(".", "/")
            text = sources.text(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
            rest = parts[depth:]
            return not rest or re.search(rf"\b{rest[0]}\b", text) is not None
    return False


def called(text: str) -> Iterator[str]:
    """The names in backticks that say where something lies: `room.module`, `room/module`, `vprdist.room.module`."""
    for name in re.findall(r"`([\w./:]+)`", text):
        dotted = name.removesuffix(".py").strip("/").replace("/", ".").replace(":", ".")
        first, dot, rest = dotted.removeprefix("vprdist.").partition(".")
        is_file = rest.endswith(("json", "yaml", "parquet", "csv", "md", "html"))
        if dot and not is_file and first in {*ROOMS, *LEFT}.difference(SECTIONS):
            yield dotted


def test_modules_are_called_by_their_names() -> None:
    rooms = (".", "slurm", "sweeps", "vprdist/*")
    documents = [path for room in rooms for path in sorted(ROOT.glob(f"{room}/README.md"))]
    said = [(path, 0, path.read_text()) for path in documents]
    for room in ("vprdist", "tests"):
        said += [(path, line, text) for path in sorted((ROOT / room).rglob("*.py")) for line, text in written(path)]
    names = [(path, line, name) for path, line, text in said for name in called(text)]
    mistakes = [f"{path.relative_to(ROOT)}:{line}: `{name}`" for path, line, name in names if not stands(name)]
    assert not mistakes, "\n" + "\n".join(mistakes)
    assert len(names) > 20, "names are found at all"
