"""Programs of strangers, and trials of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vprdist.prepare.resolve import Resolver
from vprdist.spec.program import ProgramSpec, anchored_program
from vprdist.spec.trial import Digests, TrialSpec

COUNTER = """
import json, os, sys, time
from vprdist import client

p = client.params(steps=6, dt=0.02, lr=0.1, die_at=0, hold=False, pause_at=0)
saved = client.checkpoint_folder() / f"state-{client.rank()}.json"
state = json.loads(saved.read_text()) if saved.exists() else {"step": 0, "x": 5.0, "starts": 0}
state["starts"] += 1
(client.folder() / f"pid-{client.rank()}").write_text(str(os.getpid()))
while state["step"] < p["steps"]:
    state["step"] += 1
    state["x"] -= p["lr"] * 2 * state["x"]
    time.sleep(p["dt"])
    client.log(state["step"], loss=state["x"] ** 2)
    partial = saved.with_suffix(".partial")
    partial.write_text(json.dumps(state))
    partial.rename(saved)
    if p["die_at"] == state["step"] and state["starts"] == 1:
        os.kill(os.getpid(), 9)
    while state["step"] == p["pause_at"] and not ((client.folder() / "go").exists() or client.should_stop()):
        time.sleep(0.02)
    while p["hold"] and not client.should_stop():
        time.sleep(0.02)
    if client.should_stop():
        sys.exit()
client.finish(loss=state["x"] ** 2, starts=state["starts"])
"""
"""Lowers its loss, resumes from its checkpoint, leaves when it is asked to; waits at `pause_at` for `go` in its folder,
and where it says `hold` at every step until it is asked to leave."""


def program_trial(folder: Path, text: str = COUNTER, *, seed: int = 0, job: Any = None, **params: Any) -> TrialSpec:
    """A resolved trial of a program that is written to `folder/train.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(text)
    values = anchored_program({"command": ["python", "train.py"], **(job or {})}, folder)
    if values.get("function"):
        del values["command"]
    spec = ProgramSpec(**{name: tuple(each) if isinstance(each, list) else each for name, each in values.items()})
    if spec.leaves != "result":  # nobody looks at its data here
        return TrialSpec(job=spec, params=params, seed=seed).resolved(Digests(dataset="d", cache=None, weights="none"))
    return Resolver().resolve(TrialSpec(job=spec, params=params, seed=seed))


def losses(steps: int, lr: float = 0.1) -> list[float]:
    """What `COUNTER` logs, computed beside it."""
    x, found = 5.0, []
    for _ in range(steps):
        x -= lr * 2 * x
        found.append(x**2)
    return found
