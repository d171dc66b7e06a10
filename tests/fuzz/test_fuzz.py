"""No file that can lie there makes the product end with a traceback, hang, die, or take all memory."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from tests.fuzz.format import Format, all_formats, counts
from tests.fuzz.mutations import VALUES, json_values
from tests.fuzz.run import Worker, run, table
from tests.fuzz.worker import BAD, Trees, read_one
from vprdist.errors import UserError

DEFAULT = 2_000
SEED = 1


def test_mutated_files_are_read_or_refused(tmp_path):
    cases = run(tmp_path, None, SEED, DEFAULT)
    bad = [f"{case}\n{case.told.words[-3000:]}" for case in cases if case.told.outcome in BAD]
    assert not bad, "\n".join([*bad[:5], table(cases)])
    assert {case.name for case in cases} == set(all_formats())


def test_each_format_gets_its_share():
    names = list(all_formats())
    shared = counts(names, DEFAULT)
    assert min(shared.values()) >= 1
    assert abs(sum(shared.values()) - DEFAULT) < len(names)


def make(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps({"a": 1, "b": [1, 2, {"c": "d"}]}))


def told(tmp_path: Path, read, number: int = 0, **fields) -> str:
    one = Format("toy", make, "a.json", read, **{"places": False} | fields)
    return read_one(one, Trees(tmp_path), 1, number, None).outcome


def test_the_worker_tells_outcomes_apart(tmp_path):
    def refuse(folder):
        raise UserError("a", "it is broken")

    def leave_half(folder):
        (folder / "half").write_text("x")
        refuse(folder)

    def take_memory(folder):
        return len(b"x" * 1_100_000_000)

    assert told(tmp_path, lambda folder: 1) == "read"
    assert told(tmp_path, refuse) == "refused"
    assert told(tmp_path, lambda folder: {}["x"]) == "traceback"
    assert told(tmp_path, leave_half) == "half-written"
    assert told(tmp_path, take_memory) == "memory"
    assert told(tmp_path, lambda folder: 2, guarded=True) == "other value"


def test_the_same_seed_makes_the_same_mutant(tmp_path):
    seen = []
    for _ in range(2):
        told(tmp_path, lambda folder: seen.append((folder / "a.json").read_bytes()), number=3)
    told(tmp_path, lambda folder: seen.append((folder / "a.json").read_bytes()), number=4)
    assert seen[0] == seen[1] != seen[2]


def test_no_mutant_changes_those_after_it():
    """Values that are put into one file must not be what a later change is made within."""
    before = repr(VALUES)
    for seed in range(3000):
        json_values(random.Random(seed), b'{"a": [1, {"b": 2}], "c": [[3], {"d": []}]}')
    assert repr(VALUES) == before


def test_a_reader_that_dies_is_a_crash_and_the_next_mutant_is_read(tmp_path):
    worker = Worker(tmp_path)
    try:
        os.kill(worker.process.pid, signal.SIGSEGV)
        name = next(iter(all_formats()))
        assert worker.ask(name, 1, 0).outcome == "crash"
        assert worker.ask(name, 1, 0).outcome in ("read", "refused")
    finally:
        worker.close()


@pytest.mark.parametrize("name", list(all_formats()))
def test_a_format_reads_what_it_makes(tmp_path, name):
    one = all_formats()[name]
    one.read(Trees(tmp_path).folder(one))
