"""`vprdist evaluate`: a trial under another protocol, or what others retrieved or described, by the MSLS rules."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.table import Table

from vprdist.cli.layout import add_layout, add_leave_out, layout_given, left_out_given
from vprdist.cli.options import add_image_size, add_runs
from vprdist.console import Console, add_command, bar, fitting, styled, table_width
from vprdist.errors import UserError
from vprdist.files import write_json
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import RerankName
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.read import Origin, validate
from vprdist.spec.result import Protocol
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import KS, METRICS, SUBTASKS, Gallery, NoPositives, Scope, Storage, Whitening
from vprdist.status.find import find_trial
from vprdist.store.trial_folder import TrialFolder

if TYPE_CHECKING:
    from vprdist.console import Commands
    from vprdist.data.tasks import Task
    from vprdist.evaluation.evaluate import Evaluation, Extra
    from vprdist.report.parts import Part

Answer = Callable[[TrialSpec, "Sequence[Task]", "Extra"], "Evaluation"]
"""To a trial as one of its data sets is evaluated."""
Line = tuple[str, int, str, Mapping[str, float]]
"""A line of the table: a part of the queries or a variant, its queries, an interval, the metrics."""
FIRST_LEFT_OUT = ("map@1", "map@5", "map@10", "recall@10", "map@20", "recall@20", "recall@5")
"""A narrow terminal leaves these out, one after the other."""
DESCRIPTORS, PREDICTIONS = (".npz", ".npy"), (".txt", ".csv")


@dataclass(frozen=True)
class Source:
    """What is evaluated: a spec that says how, something that answers questions, and where results go.

    notes: what a person should know of the answers; filled while answering.
    """

    name: str
    trial: TrialSpec
    answer: Answer
    out: Path
    knows_size: bool
    predicts: bool = True
    notes: list[str] = field(default_factory=list)


def add_commands(commands: Commands) -> None:
    """Add it to the command line."""
    text = "evaluate a trial under another protocol, or files of predictions or descriptors"
    parser = add_command(commands, "evaluate", _evaluate, text, "table1/'rgb 0-2' --gallery merged")
    parser.epilog = (
        f"{parser.epilog} · {parser.prog} theirs.txt --data /data/msls --cities cph sf --subtask d2n · "
        f"{parser.prog} queries.npz database.npz --data /data/msls --cities miami athens"
    )
    what = "a trial (id, its beginning, SWEEP/row name, or its folder); a file of predictions (.txt, .csv); or files "
    parser.add_argument(
        "what", nargs="+", help=what + "of descriptors (.npz, or .npy with its keys in a .txt beside it)"
    )
    parser.add_argument("--data", type=Path, metavar="ROOT", help="a data set (default: the trial's)")
    add_layout(parser, "the trial's")
    add_leave_out(parser, "the trial's")
    parser.add_argument("--cities", nargs="+", metavar="CITY", help="cities to measure on (default: the trial's)")
    parser.add_argument(
        "--predict",
        nargs="+",
        metavar="CITY",
        help="write predictions for cities whose ground truth is not there, for others to score",
    )
    parser.add_argument("--subtask", metavar="SUBTASK", help=f"{', '.join(SUBTASKS)}, or a condition of the queries")
    parser.add_argument("--gallery", choices=get_args(Gallery), help="one gallery a city, or one of all")
    parser.add_argument("--queries", choices=get_args(Scope), help="every: no matter of which subtask")
    parser.add_argument("--database", choices=get_args(Scope), help="every: images outside the subtask too")
    parser.add_argument(
        "--no-positives", choices=get_args(NoPositives), help="queries without a positive: drop them, or count misses"
    )
    add_image_size(parser, "for the network")
    parser.add_argument("--whitening", choices=get_args(Whitening), help="PCA, and what it is learnt on")
    parser.add_argument("--dimensions", nargs="+", type=int, metavar="D", help="after whitening")
    parser.add_argument("--storage", choices=get_args(Storage), help="of descriptors")
    parser.add_argument("--rerank", metavar="NAME", help="a second stage: none, mutual_nearest, or a class of your own")
    parser.add_argument("--top", type=int, help="images that the second stage orders anew (default: 100)")
    parser.add_argument("--out", type=Path, help="a folder for the results (default: beside what is evaluated)")
    add_runs(parser)


def _evaluate(args: argparse.Namespace, console: Console) -> int:
    source = _source(args, console)
    if args.predict and not source.predicts:
        raise UserError(
            source.name, "a file of predictions cannot predict", None, "Name a trial, or files of descriptors."
        )
    if args.predict:
        _predict(source, args.predict, console)
    if args.cities or not args.predict:
        for judged in source.trial.judgements.values() or [source.trial]:
            _measure(source, judged, console)
    return 0


def _predict(source: Source, cities: Sequence[str], console: Console) -> None:
    from vprdist.data.layouts import layout_of
    from vprdist.data.tasks import prediction_task
    from vprdist.evaluation.evaluate import NOTHING
    from vprdist.evaluation.predictions import write_submission

    layout = layout_of(source.trial.data)
    tasks = [prediction_task(layout.read(city), source.trial.evaluate) for city in cities]
    predictions = source.answer(source.trial, tasks, NOTHING).ranking.predictions
    path = source.out / "submission.txt"
    write_submission(path, predictions)
    console.print(f"{path}: predictions for {sum(map(len, predictions.values()))} queries of {', '.join(cities)}.")


def _measure(source: Source, trial: TrialSpec, console: Console) -> None:
    from vprdist.data.apart import check_apart
    from vprdist.data.layouts import dataset_digest, layout_of
    from vprdist.data.layouts.less import left_out_words
    from vprdist.data.tasks import breakdown_tasks, build_tasks, unasked
    from vprdist.evaluation.evaluate import Extra, describe_protocol
    from vprdist.report.parts import parts_of
    from vprdist.store.queries import queries_file

    source.notes.clear()  # those of the data set before
    layout = layout_of(trial.data)
    check_apart(trial.data.model_copy(update={"train": ()}))  # those that a trial trained on may be gone
    cities = [layout.read(name) for name in trial.data.validate_cities]
    tasks = build_tasks(cities, trial)
    source.notes.extend(unasked(tasks, trial))
    source.notes.extend(words for city in cities for words in left_out_words(city))
    # A file of predictions answers one subtask: its galleries were those of that one.
    subtasks: dict[str, list[Task]] = {trial.evaluate.subtask: tasks}
    if source.predicts:
        subtasks = breakdown_tasks(cities, trial) | subtasks
    evaluation = source.answer(trial, tasks, Extra(subtasks))
    protocol = describe_protocol(tasks, trial, dataset_digest(trial.data, trial.data.validate_cities))
    if not source.knows_size:
        protocol = protocol.model_copy(update={"image_size": None})
    folder = source.out / protocol.fingerprint
    evaluation.write(folder)
    parts = parts_of(queries_file(folder), protocol.subtask)
    write_json(folder / "evaluation.json", _as_json(source, protocol, evaluation, parts))
    _show(source, protocol, evaluation, parts, console)
    console.print(f"\nwritten: {folder} (evaluation.json, queries.parquet, predictions)")


def _source(args: argparse.Namespace, console: Console) -> Source:
    paths = [Path(word) for word in args.what]
    suffixes = {path.suffix for path in paths if path.is_file()}
    missing = [path for path in paths if not path.is_file()]
    if missing and (suffixes or any(path.suffix in (*DESCRIPTORS, *PREDICTIONS) for path in missing)):
        raise UserError(missing[0], "there is no such file", None, "Name files alone, or one trial.")
    if suffixes and suffixes <= set(DESCRIPTORS):
        return _of_descriptors(paths, args)
    if len(paths) == 1 and suffixes <= set(PREDICTIONS):
        return _of_predictions(paths[0], args) if suffixes else _of_trial(args, console)
    fault = "what is evaluated must be one trial, one file of predictions (.txt, .csv), or descriptors (.npz, .npy)"
    raise UserError("what", fault, " ".join(args.what), "See vprdist evaluate --help.")


def _of_trial(args: argparse.Namespace, console: Console) -> Source:
    word = Path(args.what[0])
    folder = TrialFolder(word)
    if not folder.trial_file.is_file():
        folder = find_trial(args.runs.resolve(), args.what[0])
    trial = _under(folder.trial(), args)

    notes = list[str]()

    def answer(trial: TrialSpec, tasks: Sequence[Task], extra: Extra) -> Evaluation:
        from vprdist.data.pack.use import settled_pack
        from vprdist.data.unchanged import check_unchanged
        from vprdist.distributed.ranks import join
        from vprdist.distributed.world import World
        from vprdist.evaluation.evaluate import evaluate
        from vprdist.training.checks import check_computation
        from vprdist.training.run import whitening_cities
        from vprdist.training.trained import trained_network

        check_computation(trial)
        training = whitening_cities(trial)
        asked, said = settled_pack(trial, [*(task.city.name for task in tasks), *(city.name for city in training)])
        notes.extend(said)
        notes.extend(check_unchanged(trial.data, [task.city.name for task in tasks], folder.path.parents[1]))
        with join(World(), folder.rendezvous_file) as ranks, bar(console, "descriptors") as advance:
            network = trained_network(folder.trial(), folder.path).to(ranks.device)
            found = evaluate(
                network,
                asked,
                tasks,
                ranks,
                lambda _, done, total: advance(done, total),
                training=training,
                extra=extra,
            )
        assert found is not None, "there is one rank"
        return found

    typed = args.what[0]
    name = typed if typed == folder.trial_id else f"{typed} (trial {folder.trial_id})"
    return Source(name, trial, answer, args.out or folder.path / "evaluations", knows_size=True, notes=notes)


def _of_descriptors(paths: Sequence[Path], args: argparse.Namespace) -> Source:
    trial = _under(_foreign(args), args)
    if trial.evaluate.whitening == "train":
        fault = "files have no training images to learn it on, as a trial has"
        raise UserError("--whitening", fault, "train", "Say database.")

    def answer(trial: TrialSpec, tasks: Sequence[Task], extra: Extra) -> Evaluation:
        from vprdist.evaluation.descriptor_files import read_descriptors
        from vprdist.evaluation.evaluate import assess, learning_rows, wanted_rows

        learning = learning_rows(trial.evaluate, tasks, ())
        descriptors = read_descriptors(paths, wanted_rows(tasks, learning, extra), trial.evaluate.storage)
        return assess(descriptors, trial.evaluate, tasks, learning, extra)

    return Source(", ".join(map(str, paths)), trial, answer, args.out or _beside(paths[0]), knows_size=False)


def _of_predictions(path: Path, args: argparse.Namespace) -> Source:
    trial, notes = _under(_foreign(args), args), list[str]()
    if trial.evaluate.whitening != "none" or trial.evaluate.storage != "float32":
        raise UserError(path, "a file of predictions has no descriptors", None, "Leave out --whitening and --storage.")

    def answer(trial: TrialSpec, tasks: Sequence[Task], extra: Extra) -> Evaluation:
        from vprdist.evaluation.evaluate import Evaluation
        from vprdist.evaluation.predictions import read_predictions

        ranking, said = read_predictions(path, tasks, trial.evaluate.gallery)
        notes.extend(said)
        return Evaluation(ranking, subtasks=dict.fromkeys(extra.subtasks, ranking))

    out = args.out or _beside(path)
    return Source(str(path), trial, answer, out, knows_size=False, predicts=False, notes=notes)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.evaluations")


def _foreign(args: argparse.Namespace) -> TrialSpec:
    """What is known of a network that trained elsewhere: nothing but where its pictures lie."""
    if args.data is None or not (args.cities or args.predict):
        fault = "files need the cities of a data set"
        raise UserError("--data and --cities", fault, None, "Say --data ROOT --cities cph sf.")
    if args.image_size:
        raise UserError(
            "--image-size", "the size of pictures cannot be chosen for files", args.image_size, "Leave it out."
        )
    if args.rerank is not None or args.top is not None:
        fault = "files have no local features, so that no second stage can be chosen"
        raise UserError("--rerank" if args.rerank is not None else "--top", fault, None, "Leave it out.")
    return TrialSpec()


def _under(trial: TrialSpec, args: argparse.Namespace) -> TrialSpec:
    """The trial under the protocol of the command line.

    Raises:
        UserError: an impossible protocol.
    """
    given = (
        "subtask", "gallery", "queries", "database", "no_positives", "image_size", "whitening", "dimensions", "storage",
        "predict",
    )  # fmt: skip
    changes = {name: getattr(args, name) for name in given if getattr(args, name) is not None}
    if changes.get("whitening") == "none":
        changes.setdefault("dimensions", [])
    changes |= _second_stage(trial, args)
    layout = layout_given(args.layout, trial.data.layout)
    cities = tuple(args.cities) if args.cities else trial.data.validate_cities
    asked = trial.evaluate.of_set.items()  # what the command line says holds on every data set
    sets = {layout.set_of(city) for city in cities}
    own = {name: each.model_dump(mode="json", exclude_none=True) for name, each in asked if name in sets}
    changes["of_set"] = {name: {key: each[key] for key in each if key not in changes} for name, each in own.items()}
    values: Mapping[str, Any] = {**trial.evaluate.model_dump(mode="json"), **changes}
    evaluate = validate(EvaluateSpec, values, Origin(Path("vprdist evaluate")))
    if (impossible := trial.size_fault(evaluate.image_size)) is not None:
        raise UserError("--image-size", impossible.fault, impossible.value, impossible.remedy)
    root = trial.data.root if args.data is None else str(args.data)
    place: dict[str, Any] = {"root": root, "layout": layout.model_dump(mode="json"), "validate": cities, "demo": None}
    if layout != trial.data.layout:  # there its training cities are called otherwise
        place |= {"train": [], "shares": {}}
    written = trial.data.model_dump(mode="json", by_alias=True) | place
    data = validate(DataSpec, written, Origin(Path("vprdist evaluate")))
    data = data.model_copy(update={"leave_out": left_out_given(args.leave_out, trial.data.leave_out)})
    if args.data is not None or args.layout is not None:  # the trial's pack is of its own data
        data = data.model_copy(update={"pack": None})
    changed = trial.model_copy(update={"evaluate": evaluate, "data": data})
    if (wrong := changed.set_fault()) is not None:
        raise UserError(f"vprdist evaluate: {wrong.field}", wrong.fault, wrong.value, "Say --subtask and --queries.")
    if evaluate.rerank != trial.evaluate.rerank:  # what a trial allows
        validate(
            TrialSpec,
            {**trial.to_json(), "evaluate": evaluate.model_dump(mode="json")},
            Origin(Path("vprdist evaluate")),
        )
    return changed


def _second_stage(trial: TrialSpec, args: argparse.Namespace) -> dict[str, Any]:
    """The re-ranker of the command line, as a file would have it."""
    if args.rerank is None and args.top is None:
        return {}
    before = trial.evaluate.rerank.as_written()
    chosen = before if args.rerank is None else RerankName.anchored(args.rerank, Path.cwd())
    if args.top is None:
        return {"rerank": chosen}
    return {"rerank": {**(chosen if isinstance(chosen, dict) else {"name": chosen}), "top": args.top}}


def _as_json(source: Source, protocol: Protocol, evaluation: Evaluation, parts: Sequence[Part]) -> dict[str, object]:
    return {
        "source": source.name,
        "notes": source.notes,
        "fingerprint": protocol.fingerprint,
        "protocol": protocol.model_dump(mode="json"),
        "metrics": evaluation.metrics,
        "city_metrics": evaluation.city_metrics,
        "subtask_metrics": {name: ranking.metrics for name, ranking in evaluation.subtasks.items()},
        "parts": [_part_as_json(part) for part in parts],
        "variants": [each.model_dump(mode="json") for each in evaluation.results(protocol)],
    }


def _part_as_json(part: Part) -> dict[str, object]:
    return {
        "name": part.label, "num_queries": part.num_queries, "metrics": part.metrics, "intervals": part.intervals,
    }  # fmt: skip


def _show(source: Source, protocol: Protocol, evaluation: Evaluation, parts: Sequence[Part], console: Console) -> None:
    """A narrow terminal gets fewer metrics, never cut numbers; evaluation.json has them all."""
    lines = [
        (part.label, part.num_queries, "{:.3f}-{:.3f}".format(*part.intervals[f"recall@{KS[0]}"]), part.metrics)
        for part in parts
    ]
    for each in evaluation.results(protocol):
        kind = "not whitened" if each.protocol.whitening == "none" else f"{each.protocol.dimensions} dimensions"
        lines.append((f"{kind} ({each.protocol.fingerprint})", protocol.num_queries, "-", each.metrics))
    heading = f"{source.name}\nprotocol {protocol.fingerprint}: {protocol.summary}"

    def draw(shown: Sequence[str]) -> Table:
        return _table(heading, lines, shown)

    console.print(draw(fitting(METRICS, FIRST_LEFT_OUT, lambda some: table_width(console, draw(some)), console.width)))
    for note in source.notes:
        console.print(f"note: {note}", style="yellow")


def _table(heading: str, lines: Sequence[Line], shown: Sequence[str]) -> Table:
    table = Table(title=styled(heading), title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column(f"R@{KS[0]} 95 %", no_wrap=True)
    for name in shown:
        table.add_column(name.replace("recall", "R").replace("map", "mAP"), justify="right")
    for name, num_queries, interval, metrics in lines:
        table.add_row(name, str(num_queries), interval, *(f"{metrics[column]:.3f}" for column in shown))
    return table
