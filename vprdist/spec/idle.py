"""Settings that do nothing: an override that no trial gets is refused, what no trial reads is said once.

What is said is no fault: one file serves many scales and modes, and the folders of earlier sweeps must still read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from vprdist.errors import SweepFileError
from vprdist.spec.old_spellings import present_key
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.read import Key, Origin
from vprdist.spec.recipes import RECIPES
from vprdist.spec.scales import SCALES
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import CHOICES, TrialSpec

Unread: TypeAlias = Callable[[TrialSpec], str | None]
"""Why a trial does not read a setting; None: it does."""


def _masks(trial: TrialSpec) -> str | None:
    if trial.input.learns_mask:
        return "the mask is learnt from all classes"
    return None if trial.input.uses_mask else f"mode {trial.input.mode} has no mask"


def _forms(trial: TrialSpec) -> str | None:
    return None if trial.input.mode == "masked" else f"mode {trial.input.mode} hides nothing of the picture"


def _fills(trial: TrialSpec) -> str | None:
    at_features = "a mask at the features hides nothing of the picture" if trial.input.at_features else None
    return _forms(trial) or at_features


def _chooses(trial: TrialSpec) -> str | None:
    return None if trial.input.starts_from_classes else _masks(trial)


def _placebos(trial: TrialSpec) -> str | None:
    return None if trial.input.learns_mask else _masks(trial)


def _learns(trial: TrialSpec) -> str | None:
    return None if trial.input.mode == "masked" else f"mode {trial.input.mode} has no mask that could be learnt"


def _adds(trial: TrialSpec) -> str | None:
    return None if trial.input.adds_channels else f"mode {trial.input.mode} adds no channels"


def _caches(trial: TrialSpec) -> str | None:
    return None if trial.needs_cache else f"mode {trial.input.mode} needs no activations"


def _segments(trial: TrialSpec) -> str | None:
    return _caches(trial) or (None if trial.input.segmenter else "no segmenter is named that makes a cache")


def _trains(trial: TrialSpec) -> str | None:
    return None if trial.train.steps else "nothing is trained (train.steps: 0)"


def _opens(trial: TrialSpec) -> str | None:
    return _reaches(trial) or ("labels of distance know no opening" if trial.data.labels == "distance" else None)


def _reaches(trial: TrialSpec) -> str | None:
    return _trains(trial) or ("labels of a data set's own know no view" if trial.data.labels == "truth" else None)


def _chunks(trial: TrialSpec) -> str | None:
    return _trains(trial) or (None if trial.train.chunked else "only `chunked` training ends after chunks")


def _groups(kind: str) -> Unread:
    def unread_of(trial: TrialSpec) -> str | None:
        batches = trial.train.batches
        return _trains(trial) or (None if batches == kind else f"batches are of {batches}")

    return unread_of


def _moves(trial: TrialSpec) -> str | None:
    other = None if trial.train.optimizer == "sgd" else f"{trial.train.optimizer} has a momentum of its own"
    return _trains(trial) or other


def _drops(trial: TrialSpec) -> str | None:
    return _trains(trial) or (
        None if trial.train.schedule == "step" else f"schedule {trial.train.schedule} has no drop"
    )


def _programmed(trial: TrialSpec, dotted: str) -> str | None:
    """Why a program of the user's own does not read a key."""
    own = dotted.split(".")[0] in trial.unread or dotted in ("evaluate.before_training", "run.evaluate_steps")
    return "the trial is a program of your own, which reads trial.params" if own and trial.job is not None else None


def _sizes(trial: TrialSpec) -> str | None:
    return _trains(trial) if trial.evaluate.image_size else None


IDLE: Mapping[str, Unread] = {
    "input.mask_at": _forms,
    "input.mask_fill": _fills,
    "input.classes": _chooses,
    "input.mask_reduce": _masks,
    "input.placebo": _placebos,
    "input.learnt": _learns,
    "input.conv1_init": _adds,
    **dict.fromkeys(("input.cache", "input.segmenter", "input.class_table"), _caches),
    **dict.fromkeys(("input.compression", "input.top_k"), _segments),
    **dict.fromkeys(("data.labels", "data.shares"), _trains),
    "data.fov_radius_m": _reaches,
    "data.fov_degrees": _opens,
    "network.unfreeze": _trains,
    **{
        f"train.{name}": _trains
        for name in (
            "recipe", "batch_pairs", "micro_pairs", "chunk_queries", "chunked", "batches", "pairs", "loss", "optimizer",
            "lr", "weight_decay", "backbone_lr_factor", "schedule", "warmup", "batch_norm", "augment",
        )
    },
    "train.image_size": _sizes,
    "train.chunks": _chunks,
    "train.momentum": _moves,
    "train.place_pictures": _groups("places"),
    "train.mining": _groups("triplets"),
    "train.lr_drop_pairs": _drops,
    "evaluate.before_training": _trains,
    **{f"run.{name}": _trains for name in ("compile", "checkpoint_s", "log_steps", "evaluate_steps")},
}  # fmt: skip
"""By dotted key below `trial`, when it is not read; every other key always is."""
LOCAL_IDLE = (
    "requeue", "array_limit", "arrays", "exclude_after", "partition", "account", "qos", "constraint", "reservation",
    "exclude",
    "mail_user", "mail_types", "shared", "srun_args", "driver", "gpus_per_task", "gpu_type", "gres", "cpus_per_gpu",
    "mem_per_cpu", "mem_per_gpu", "nodelist", "exclusive", "licenses", "nice", "hint", "dependency", "wckey",
    "clusters", "comment_prefix", "job_name_prefix", "sbatch_args", "use_srun", "python", "teardown", "cluster_name",
)  # fmt: skip
"""Keys of a profile that are SLURM's alone."""


def refuse_idle_overrides(sweep: SweepSpec, origin: Origin) -> None:
    """What a person typed must reach a trial: a key that is varied has the axis' values, whatever is typed.

    Raises:
        SweepFileError: an override of such a key.
    """
    for key, word in origin.overrides.items():
        dotted = _below_trial(key, sweep.scale)
        by = None if dotted is None else _varied(sweep, dotted, word.partition("=")[2])
        if by is not None:
            fault = f"this does nothing: {by} says what each trial has"
            is_axis = by in (f"search.grid.{dotted}", f"search.space.{dotted}")
            remedy = f"Write {by}=[{word.partition('=')[2]}]." if is_axis else "Delete the override."
            raise SweepFileError(origin.where(key), fault, None, remedy)


def _below_trial(key: Key, scale: str) -> str | None:
    """The dotted key below `trial` that a key of a sweep file sets; None: none."""
    skip = 1 if key[0] == "trial" else 2 if key[:2] == ("scales", scale) else len(key)
    return present_key(".".join(key[skip:])) if key[skip:] else None


def _varied(sweep: SweepSpec, dotted: str, value: Any) -> str | None:
    """What gives each trial its own value of a key, so that no other is read; None: nothing does."""
    drawn = {axis: getattr(domain, "values", ()) for axis, domain in sweep.search.space.items()}
    for section, axes in (("grid", sweep.grid), ("space", drawn)):
        for axis, values in axes.items():
            # A word of the axis keeps the parameters that stand in the file (`spec.trial_values.put_value`).
            is_word = tuple(axis.split(".")) in CHOICES and any(isinstance(each, str) for each in values)
            keeps = is_word and (dotted != axis or isinstance(value, dict) or str(value).lstrip().startswith("{"))
            if axis in TrialSpec.model_fields and dotted != axis:  # sections, each laid over the trial's
                below = dotted.removeprefix(f"{axis}.").split(".")[0]
                keeps = not all(isinstance(each, dict) and below in each for each in values)
            if f"{dotted}.".startswith(f"{axis}.") and not keeps:
                return f"search.{section}.{axis}"
    if sweep.search.subsets is not None and dotted == "input.classes":
        return "search.subsets"
    return None


def idle_settings(sweep: SweepSpec, profile: ClusterProfile) -> list[str]:
    """A sentence for each reason why settings of a sweep file and its profile do nothing, with their lines.

    Settings at their default, their scale's or their recipe's value are not named: they ask for nothing.
    """
    found: dict[str, list[str]] = {}
    for where, reason in (
        *_of_trials(sweep),
        *_of_axes(sweep),
        *_of_attention(sweep),
        *_of_sweep(sweep),
        *_of_profile(profile),
    ):
        found.setdefault(reason, []).append(where)
    said = [f"{', '.join(places)}: no effect, since {reason}" for reason, places in found.items()]
    return [*sweep.origin.notes, *said]


def _of_trials(sweep: SweepSpec) -> Iterator[tuple[str, str]]:
    for dotted, written in sweep.written.items():
        value = _value(sweep.trial.to_json(), dotted)
        if value is not None and value not in _usual(sweep, dotted):
            by = _varied(sweep, dotted, value)
            reason = f"{by} says what each trial has" if by else unread(sweep, dotted)
            if reason is not None:
                yield sweep.origin.where(written), reason


def _of_axes(sweep: SweepSpec) -> Iterator[tuple[str, str]]:
    for axis in (*sweep.grid, *sweep.search.space):
        if (reason := unread(sweep, axis)) is not None:
            yield sweep.where(f"trial.{axis}"), reason


def _of_attention(sweep: SweepSpec) -> Iterator[tuple[str, str]]:
    """Each kind of trial is asked: other rows of the sweep may well read it."""
    for reason in dict.fromkeys(trial.network.divides_out for trial in sweep.trials):
        if reason is not None:
            yield sweep.where("trial.network.attention"), reason


def unread(sweep: SweepSpec, dotted: str) -> str | None:
    """Why no trial of a sweep reads a key below `trial`; None: one does."""
    rule = IDLE.get(".".join(dotted.split(".")[:2]))
    reasons = [_programmed(trial, dotted) or (rule(trial) if rule else None) for trial in sweep.trials]
    return reasons[0] if reasons and None not in reasons else None


def _value(trial: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        trial = trial.get(part) if isinstance(trial, dict) else None
    return trial


def _usual(sweep: SweepSpec, dotted: str) -> list[Any]:
    """The values of a key that nobody asked for."""
    recipe = {"train": RECIPES.get(sweep.trial.train.recipe or "", {})}
    return [_value(each, dotted) for each in (TrialSpec().to_json(), recipe, SCALES.get(sweep.scale, {}))]


def _of_sweep(sweep: SweepSpec) -> Iterator[tuple[str, str]]:
    search, method = sweep.search, sweep.search.method
    if search.seed and not method.draws:
        yield sweep.where("search.seed"), "nothing is drawn"
    if search.reduction != type(search).model_fields["reduction"].default and search.scheduler != "asha":
        yield sweep.where("search.reduction"), "only scheduler asha reduces"
    subsets = search.subsets
    if subsets is not None and subsets.confidence != SubsetSpec.model_fields["confidence"].default:
        told = method.attribution(search)
        if told is None or told.endswith("arms:told"):
            yield sweep.where("search.subsets.confidence"), "nothing is claimed of what this search finds"
    if method.proposes and sweep.baseline not in (None, "best"):
        yield sweep.where("baseline"), "the rows of a search are compared with the best"


def _of_profile(profile: ClusterProfile) -> Iterator[tuple[str, str]]:
    for name in LOCAL_IDLE if profile.kind == "local" else ():
        if getattr(profile, name) != type(profile).model_fields[name].default:
            yield profile.where(name), "kind local has no scheduler"
