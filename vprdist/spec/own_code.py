"""What a researcher brings: a class of their own, named `package.module:Name` or `path/file.py:Name`.

Its file is read without being run (`read_own`): a sweep file is refused before torch loads, and a login node runs
nobody's code. Where the class is needed it is loaded from the same file (`own_load`), and what goes wrong inside it is
one message with its file and line.

Three things are read from the text of the class: the parameters, from the signature of `__init__` or the fields of a
dataclass; *facts*, attributes of the class with a plain value, such as `units = ("stem", "body")`; and the digest of
the whole file and of what it imports from beside it, which is part of a trial's digests.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vprdist.errors import RuleError, first_line, nearest
from vprdist.files import at_home

FILE_NAME = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
MODULE_NAME = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
FORMS = "path/file.py:Name or package.module:Name"
REQUIRED = object()
"""Stands for the default of a parameter that has none."""
COMPUTED = object()
"""Stands for a default that is no plain value: the class itself fills it in."""
KINDS = {"int": int, "float": (int, float), "str": str, "bool": bool}
"""Annotations that are checked before the class is loaded; what others mean, the class decides."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a class: its annotation as written, its default, or `REQUIRED`, or `COMPUTED`."""

    annotation: str
    default: Any


@dataclass(frozen=True)
class OwnClass:
    """A class as its file describes it.

    Attributes:
        file: where it stands, absolute.
        line: of the class.
        parameters: by name; None where `__init__` takes any (`**more`), or is inherited.
        facts: attributes of the class that are plain values.
        digest: 16 hex digits of the file's text, and of the files beside it that it imports.
    """

    name: str
    file: Path
    line: int
    parameters: Mapping[str, Parameter] | None
    facts: Mapping[str, Any]
    digest: str


def is_own(name: str) -> bool:
    """Whether a name has one of the two forms of a user's own class."""
    return bool(FILE_NAME.fullmatch(name) or MODULE_NAME.fullmatch(name))


def settled(name: str, folder: Path) -> str:
    """The name with an absolute path, counted from `folder`; a module's stays as it is."""
    match = FILE_NAME.fullmatch(name)
    if match is None:
        return name
    return f"{(folder / at_home(match['file'])).resolve()}:{match['name']}"


def class_name(name: str) -> str:
    """The name without its file: what identifies the class beside its text. A module's name stays."""
    match = FILE_NAME.fullmatch(name)
    return name if match is None else match["name"]


def own_file(name: str) -> Path:
    """The file that a name means.

    Raises:
        RuleError: there is none.
    """
    if match := FILE_NAME.fullmatch(name):
        path = at_home(match["file"]).absolute()
        if not os.path.isfile(path):  # noqa: PTH113 (is_file raises where a name is too long)
            remedy = "A path counts from the folder of the sweep file, on the command line from the working folder."
            raise RuleError("name", "no such file", str(path), remedy)
        return path
    match = MODULE_NAME.fullmatch(name)
    assert match is not None, name
    path_of = _module_file(match["module"])
    if path_of is None:
        remedy = "Install it where the jobs run, or name its file: path/file.py:Name."
        raise RuleError("name", "no such module", match["module"], remedy)
    return path_of


def _module_file(module: str) -> Path | None:
    """The source file of a module, found without importing the packages above it."""
    search: list[str] | None = None
    spec = None
    for part in module.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, search)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or ())
    return Path(spec.origin).resolve() if spec and spec.origin and spec.origin.endswith(".py") else None


def read_own(name: str) -> OwnClass:
    """A class by its text alone.

    Raises:
        RuleError: no such file or class, or the file is no Python.
    """
    path = own_file(name)
    return _read(name.rpartition(":")[2], path, _read_text(path), text_digest(path))


def text_digest(path: Path) -> str:
    """16 hex digits of a file's text, and of the Python files beside it that it imports.

    Raises:
        RuleError: one cannot be read.
    """
    texts = {path: _read_text(path)}
    waiting = [path]
    while waiting:  # what the file imports from beside it is its text too
        for beside in _beside(waiting.pop(), texts):
            texts[beside] = _read_text(beside)
            waiting.append(beside)
    data, *more = texts.values()
    digest = hashlib.sha256(data)
    for text in sorted(more):
        digest.update(hashlib.sha256(text).digest())
    return digest.hexdigest()[:16]


def _read_text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RuleError("name", f"{path} cannot be read", error.strerror, "Check its permissions.") from None


def own_files(names: Iterable[str]) -> list[Path]:
    """What Python may load for these classes: their files, those beside them, and their compiled forms.

    Those that are not there are left out, and what is installed with Python itself.
    """
    found: list[Path] = []
    for name in names:
        try:
            path = own_file(name)
        except RuleError:
            continue
        if path.is_relative_to(sys.prefix):
            continue
        compiled = path.parent / "__pycache__"
        found += [path, *sorted(path.parent.glob("*.py")), compiled, *sorted(compiled.glob("*.pyc"))]
    return found


def _beside(path: Path, known: Mapping[Path, bytes]) -> list[Path]:
    """The files in the same folder that a file imports, those that are not known yet."""
    try:
        tree = ast.parse(known[path])
    except (SyntaxError, ValueError):
        return []
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    found = sorted({path.parent / f"{name.partition('.')[0]}.py" for name in names})
    return [each for each in found if each not in known and each.is_file()]


@lru_cache(maxsize=256)
def _read(name: str, path: Path, data: bytes, digest: str) -> OwnClass:
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise RuleError("name", f"{path}:{line} is no Python: {first_line(error)}", None, "Mend the file.") from None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        remedy = nearest(name, classes) if classes else "Write the class there, at the head of the file."
        raise RuleError("name", f"{path} has no class {name}", None, remedy)
    node = classes[name]
    return OwnClass(name, path, node.lineno, _parameters(node, classes), _facts(node), digest)


def _parameters(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> dict[str, Parameter] | None:
    """From `__init__`, or from the fields of a dataclass, those of its bases in the same file first."""
    inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    if inits:
        arguments = inits[-1].args
        if arguments.kwarg is not None:
            return None
        plain = [*arguments.posonlyargs, *arguments.args][1:]
        defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
        pairs = list(zip(plain, [*defaults, *arguments.defaults][-len(plain) or len(defaults) :], strict=True))
        pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
        return {argument.arg: _parameter(argument.annotation, default) for argument, default in pairs}
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
        inherited: dict[str, Parameter] = {}
        for base in reversed(node.bases):
            above = classes.get(base.id) if isinstance(base, ast.Name) else None
            if above is not None and above.lineno < node.lineno:
                inherited |= _parameters(above, classes) or {}
        return inherited | {
            each.target.id: _parameter(each.annotation, each.value)
            for each in fields
            if isinstance(each.target, ast.Name) and "ClassVar" not in ast.unparse(each.annotation)
        }
    return {} if not node.bases else None


def _parameter(annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    written = "" if annotation is None else ast.unparse(annotation)
    return Parameter(written, REQUIRED if default is None else _literal(default))


def _literal(node: ast.expr) -> Any:
    """A plain value, which a trial's file can hold; `COMPUTED` for every other."""
    try:
        value = ast.literal_eval(node)
        kept = json.loads(json.dumps(value, allow_nan=False)) == _plain(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return COMPUTED
    return value if kept else COMPUTED


def _facts(node: ast.ClassDef) -> dict[str, Any]:
    facts = {}
    for each in node.body:
        target = each.targets[0] if isinstance(each, ast.Assign) else getattr(each, "target", None)
        value = getattr(each, "value", None)
        if isinstance(each, (ast.Assign, ast.AnnAssign)) and isinstance(target, ast.Name) and value is not None:
            facts[target.id] = _literal(value)
    return {name: value for name, value in facts.items() if value is not COMPUTED}


def checked_parameters(own: OwnClass, given: Mapping[str, Any], provided: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of a class as a file gives them, plain defaults filled in.

    Args:
        provided: names that vprdist itself passes (`channels`, …); a file cannot give them.

    Raises:
        RuleError: one that the class does not have, of another type, or missing.
    """
    here = f"{own.name} ({own.file}:{own.line})"
    for name in given:
        if name in provided:
            raise RuleError(name, f"{here} is given {name} by vprdist; a file cannot set it", None, "Delete the key.")
    if own.parameters is None:
        return dict(given)
    known = {name: each for name, each in own.parameters.items() if name not in provided}
    out: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            remedy = nearest(name, known) if known else "It has none."
            raise RuleError(name, f"{here} has no parameter {name!r}", None, remedy)
        _check_type(here, name, known[name].annotation, value)
    for name, parameter in known.items():
        if name in given:
            out[name] = _as_float(parameter, given[name])
        elif parameter.default is REQUIRED:
            raise RuleError(name, f"{here} needs the parameter {name!r}", None, f"Write it: {{name: …, {name}: …}}.")
        elif parameter.default is not COMPUTED:
            out[name] = _as_float(parameter, _plain(parameter.default))
    return out


def _as_float(parameter: Parameter, value: Any) -> Any:
    """2 and 2.0 are one experiment where a float is asked for."""
    return float(value) if parameter.annotation == "float" and type(value) is int else value


def _plain(value: Any) -> Any:
    """As JSON would give it back."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _check_type(here: str, name: str, annotation: str, value: Any) -> None:
    kind = KINDS.get(annotation)
    if kind is None:
        return
    if not isinstance(value, kind) or (annotation != "bool" and isinstance(value, bool)):  # type: ignore[arg-type]
        raise RuleError(name, f"{here} needs {name}: {annotation}", value, "Change the value, or the annotation.")
