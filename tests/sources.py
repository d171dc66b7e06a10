"""The sources of the package and of its tests, each read and parsed once in a process: several suites look at all."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def text(path: Path) -> str:
    return path.read_text()


@cache
def tree(path: Path) -> ast.Module:
    """Nobody changes it."""
    return ast.parse(text(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of them, in the order of `ast.walk`."""
    return tuple(ast.walk(tree(path)))
