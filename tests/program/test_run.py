"""A program as a trial on this machine: real processes, real folders, what goes well and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.program.programs import losses, program_trial
from tests.waiting import until
from vprdist.distributed.world import World
from vprdist.errors import OwnCodeError, ProgramError, Stopped, TrainingError, UserError
from vprdist.machine import pid_start
from vprdist.program.child import run_child
from vprdist.program.environment import variables
from vprdist.program.leaves import NO_FINISH, read_left
from vprdist.program.run import run_program
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder


def run(tmp_path: Path, trial: TrialSpec, world: World | None = None) -> ResultRow:
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    place.path.mkdir(parents=True, exist_ok=True)
    place.write_trial(trial)
    run_program(trial, place.path, world or World())
    return place.result()


def test_its_numbers_become_rows_and_a_result(tmp_path: Path) -> None:
    trial = program_trial(tmp_path, steps=4, lr=0.2)
    row = run(tmp_path, trial)
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    assert row.metrics == {"loss": losses(4, 0.2)[-1], "starts": 1.0}
    assert [(r["step"], r["loss"]) for r in place.rows()[0]] == list(enumerate(losses(4, 0.2), 1))
    assert row.protocol is None and row.steps == 4 and row.trial.params == {"steps": 4, "lr": 0.2}


def test_a_function_returns_its_numbers(tmp_path: Path) -> None:
    text = "from vprdist import client\ndef main():\n    return {'twice': 2 * client.params(a=1)['a']}\n"
    assert run(tmp_path, program_trial(tmp_path, text, job={"function": "train.py:main"}, a=4)).metrics == {"twice": 8}


def test_a_program_of_any_language_needs_the_variables_alone(tmp_path: Path) -> None:
    text = (
        "import os\n"
        'open(os.environ[\'VPRDIST_METRICS\'], \'a\').write(\'{"step": 1, "loss": 0.5}\\nno row\\n{"step": 2, '
        '"loss": 0.25, "text": "x"}\\n\')\n'
    )
    row = run(tmp_path, program_trial(tmp_path, text))
    assert row.metrics == {"loss": 0.25}
    assert NO_FINISH in row.fallbacks
    assert any("1 line(s) of metrics.jsonl are no rows" in note and "line 2" in note for note in row.fallbacks)


def test_asked_to_stop_it_saves_and_goes_on_where_it_was(tmp_path: Path) -> None:
    trial = program_trial(tmp_path, steps=5, hold=True)
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    stop = threading.Event()
    world = World(rendezvous=place.log / "rendezvous-first", should_stop=stop.is_set)
    threading.Thread(target=lambda: (until(lambda: place.rows()[0]), stop.set())).start()
    with pytest.raises(Stopped):
        run(tmp_path, trial, world)
    assert not place.has_result and not list(place.log.glob("stop-*"))
    # The second start holds no more: nobody asks it to leave, but it would wait; so it is asked at every step.
    steps = 1
    asking = list[threading.Thread]()
    while not place.has_result:
        stop.clear()
        asking.append(threading.Thread(target=_ask_after, args=(place, steps, stop)))
        asking[-1].start()
        try:
            run(tmp_path, trial, World(rendezvous=place.log / f"rendezvous-{steps}", should_stop=stop.is_set))
        except Stopped:
            steps += 1
    for thread in asking:
        thread.join()  # while the files that it looks at are there
    rows = [(r["step"], r["loss"]) for r in place.rows()[0]]
    assert rows == list(enumerate(losses(5), 1)), "each step once, as undisturbed"


def _ask_after(place: TrialFolder, known: int, stop: threading.Event) -> None:
    until(lambda: len(place.rows()[0]) > known or place.has_result)
    stop.set()


def test_a_signal_is_sent_where_the_program_wants_one(tmp_path: Path) -> None:
    text = (
        "import signal, sys, time\n"
        "from vprdist import client\n"
        "def leave(*_):\n    client.log(1, heard=1)\n    sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "client.log(0, ready=1)\n"
        "while True: time.sleep(0.05)\n"
    )
    trial = program_trial(tmp_path, text, job={"stop_signal": "TERM"})
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    with pytest.raises(Stopped):
        run(tmp_path, trial, World(should_stop=lambda: bool(place.rows()[0])))
    assert place.rows()[0][-1]["heard"] == 1


def test_a_stray_usr2_does_not_end_a_program_that_knows_nothing_of_it(tmp_path: Path) -> None:
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGUSR2)\nfrom vprdist import client\nclient.finish(a=1)\n"
    assert run(tmp_path, program_trial(tmp_path, text)).metrics == {"a": 1}


def test_it_dies_with_the_job(tmp_path: Path) -> None:
    """A killed job leaves no program behind that would write into a folder that others have."""
    text = (
        "import os, time\nfrom vprdist import client\n"
        "(client.folder() / 'pid').write_text(str(os.getpid()))\nclient.log(1, a=1)\ntime.sleep(600)\n"
    )
    trial = program_trial(tmp_path, text)
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    child = os.fork()
    if not child:
        run(tmp_path, trial)
        os._exit(0)
    until(lambda: place.rows()[0])
    pid = int((place.path / "pid").read_text())
    os.kill(child, 9)
    os.waitpid(child, 0)
    until(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text())


@pytest.mark.parametrize(
    ("text", "job", "error", "said"),
    [
        ("pass", {}, TrainingError, "left no number"),
        ("raise SystemExit(3)", {}, ProgramError, "exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", {}, ProgramError, "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", {}, ProgramError, "SIGKILL, often for want of memory"),
        ("import os; open(os.environ['VPRDIST_FINISHED'], 'w').write('{')", {}, TrainingError, "must be JSON"),
        (
            "import os; open(os.environ['VPRDIST_FINISHED'], 'w').write('{\"metrics\": {\"loss\": NaN}}')",
            {},
            TrainingError,
            "finite numbers: loss",
        ),
        ("pass", {"leaves": "predictions"}, TrainingError, "left no predictions"),
        ("pass", {"leaves": "descriptors"}, TrainingError, "left no descriptors"),
        (
            "from vprdist import client; client.finish(predictions='gone.txt')",
            {"leaves": "predictions"},
            TrainingError,
            "not there",
        ),
        ("pass", {"command": ["no-such-program"]}, UserError, "cannot be started"),
    ],
)
def test_what_goes_wrong_is_one_message(
    tmp_path: Path, text: str, job: dict[str, object], error: type, said: str
) -> None:
    with pytest.raises(error) as found:
        _run_as_far_as_without_data(tmp_path, program_trial(tmp_path, text, job=job))
    assert said in str(found.value)


def _run_as_far_as_without_data(tmp_path: Path, trial: TrialSpec) -> None:
    """What a program left is looked at before the data that it is evaluated on."""
    assert trial.job is not None
    if trial.measures_itself:
        run(tmp_path, trial)
        return
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    place.path.mkdir(parents=True)
    place.write_trial(trial)
    run_child(trial.job, variables(place, World(), os.environ), tmp_path / "stop", lambda: False)
    read_left(place, trial.job)


def test_a_number_that_is_none_is_told_by_its_name(tmp_path: Path) -> None:
    text = "from vprdist import client\nclient.finish(loss=float('nan'), steps=3)\n"
    row = run(tmp_path, program_trial(tmp_path, text))
    assert row.metrics == {"steps": 3} and row.not_finite == ("loss",)


def test_a_crash_after_the_last_word_costs_nothing_and_is_recorded(tmp_path: Path) -> None:
    text = "import os\nfrom vprdist import client\nclient.finish(a=1)\nos.abort()\n"
    row = run(tmp_path, program_trial(tmp_path, text))
    assert row.metrics == {"a": 1} and any("SIGABRT" in note for note in row.fallbacks)


def test_what_an_earlier_start_said_does_not_count(tmp_path: Path) -> None:
    trial = program_trial(tmp_path, "pass")
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    place.path.mkdir(parents=True)
    place.finished_file.write_text(json.dumps({"metrics": {"a": 1}}))
    with pytest.raises(TrainingError, match="left no number"):
        run(tmp_path, trial)


def test_a_script_that_was_changed_since_is_another_trial(tmp_path: Path) -> None:
    trial = program_trial(tmp_path)
    (tmp_path / "train.py").write_text("pass")
    with pytest.raises(OwnCodeError, match="changed since"):
        run(tmp_path, trial)


def test_ranks_meet_where_the_variables_say(tmp_path: Path) -> None:
    """Two ranks, each with a program of its own, which talk through torch's variables."""
    text = (
        "import os, socket\nfrom vprdist import client\n"
        "host, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])\n"
        "assert os.environ['WORLD_SIZE'] == os.environ['VPRDIST_WORLD_SIZE'] == '2'\n"
        "if client.rank() == 0:\n"
        "    with socket.create_server((host, port)) as door:\n"
        "        said = door.accept()[0].recv(9)\n"
        "    client.finish(heard=int(said))\n"
        "else:\n"
        "    import time\n"
        "    while True:\n"
        "        try:\n"
        "            socket.create_connection((host, port)).sendall(b'42'); break\n"
        "        except OSError:\n"
        "            time.sleep(0.05)\n"
    )
    trial = program_trial(tmp_path, text)
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    worlds = [World(rank=r, world_size=2, local_rank=r, rendezvous=place.log / "rendezvous-1") for r in (0, 1)]
    other = threading.Thread(
        target=lambda: (until(lambda: place.trial_file.exists()), run_program(trial, place.path, worlds[1]))
    )
    other.start()
    row = run(tmp_path, trial, worlds[0])
    other.join()
    assert row.metrics == {"heard": 42} and row.num_ranks == 2
    assert time.time() - row.wall_s > 0


def test_what_a_shell_started_does_not_outlive_it(tmp_path: Path) -> None:
    """A wrapper that is killed, with something in the background: the next start has the folder alone."""
    (tmp_path / "run.sh").write_text(
        'python -c \'import os, time; open(os.environ["VPRDIST_FOLDER"] + "/pid", "w").write(str(os.getpid()))\n'
        "time.sleep(600)' &\n"
        "while [ ! -s $VPRDIST_FOLDER/pid ]; do sleep 0.05; done\n"
        'echo \'{"metrics": {"a": 1}}\' > $VPRDIST_FINISHED\nkill -9 $$\n'
    )
    trial = program_trial(tmp_path, job={"command": ["bash", "run.sh"]})
    row = run(tmp_path, trial)
    pid = int((TrialFolder.of(tmp_path / "runs", trial.trial_id).path / "pid").read_text())
    assert pid_start(pid) is None
    assert row.metrics == {"a": 1} and any("SIGKILL" in note for note in row.fallbacks)


def test_what_a_killed_job_left_is_ended_before_the_next_start(tmp_path: Path) -> None:
    trial = program_trial(tmp_path)
    folder = TrialFolder.of(tmp_path / "runs", trial.trial_id).path
    own = {**os.environ, "VPRDIST_FOLDER": str(folder), "VPRDIST_RANK": "0"}
    left = subprocess.Popen(["sleep", "600"], env=own)
    other = subprocess.Popen(["sleep", "600"], env={**own, "VPRDIST_RANK": "1"})
    try:
        run(tmp_path, trial)
        assert left.wait(60) == -15 and other.poll() is None
    finally:
        other.kill()
        other.wait()


SAVES_AT_SIGTERM = "signal.signal(signal.SIGTERM, lambda *_: sys.exit())\nclient.log(1, a=1)\n"


@pytest.mark.parametrize("first", ["", SAVES_AT_SIGTERM])
def test_sigterm_of_the_cluster_makes_neither_a_failure_nor_a_result(tmp_path: Path, first: str) -> None:
    """Without `preempt_send_user_signal` SLURM sends SIGTERM to every process of the job, and ends it some time later:
    it is put back into the queue as long as it does not fail before."""
    text = (
        f"import os, signal, sys, time\nfrom vprdist import client\n{first}"
        "(client.folder() / 'partial').write_text(str(os.getpid()))\n"
        "(client.folder() / 'partial').rename(client.folder() / 'pid')\ntime.sleep(600)\n"
    )
    trial = program_trial(tmp_path, text)
    place = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    job = os.fork()
    if not job:
        signal.signal(signal.SIGTERM, lambda *_: None)  # as submitit's handler
        try:
            run(tmp_path, trial)
        finally:
            os._exit(0)
    until((place.path / "pid").exists)
    pid = int((place.path / "pid").read_text())
    for each in (job, pid):
        os.kill(each, signal.SIGTERM)
    until(lambda: pid_start(pid) is None)
    time.sleep(1)
    assert os.waitpid(job, os.WNOHANG) == (0, 0), "it waits for what the cluster does"
    os.kill(job, signal.SIGKILL)
    os.waitpid(job, 0)
    assert not place.has_result
