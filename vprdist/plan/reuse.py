"""Earlier results: those that a sweep would take over from other code, and those that it computes anew."""

from __future__ import annotations

from vprdist.prepare.prepare import Prepared
from vprdist.report.sources import by_source, source_words
from vprdist.source import running_digest, running_source
from vprdist.spec.computation import COMPUTATION, EARLIER
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.trial import TrialSpec
from vprdist.store.manifest import is_started, read_manifest, sweep_folder
from vprdist.store.proposals import Proposals, proposals_path
from vprdist.store.trial_folder import TrialFolder

REMEDY = (
    "To compute them again, name another folder (--runs FOLDER), or, where the numbers have changed, raise COMPUTATION "
    "in vprdist/spec/computation.py."
)


def reuse_of_other_code(sweep: SweepSpec, prepared: Prepared) -> str | None:
    """One line that says which results were computed by other code; None where this code computed all of them.

    Args:
        prepared: the sweep's trials; those without an id yet have no result.
    """
    if sweep.trial.measures_itself:  # nothing of this code makes a program's numbers
        return None
    folders = [TrialFolder.of(prepared.runs, trial_id) for trial_id in _known(sweep, prepared)]
    found = [folder.source() for folder in folders if folder.has_result]
    try:
        other = [source for source in found if source is None or source.digest != running_digest()]
    except OSError:
        return None
    if not other or (here := running_source()) is None:
        return None
    groups = by_source(other)
    parts = [(f"{len(g.members)} of " if len(groups) > 1 else "") + source_words(g.source) for g in groups]
    return (
        f"{len(other)} of {len(found)} results come from other code ({'; '.join(parts)}; this is "
        f"{source_words(here)}): they are reused, since COMPUTATION is {COMPUTATION} in both. {REMEDY}"
    )


def results_left_behind(sweep: SweepSpec, prepared: Prepared) -> str | None:
    """One line that says how many results an earlier computation left, which are not taken over; None: it left none.

    Args:
        prepared: the sweep's trials. Those that its manifest lists count too: a search's have no ids yet.
    """
    folder = sweep_folder(prepared.runs, sweep.name)
    listed = set(read_manifest(folder)["names"]) if is_started(folder) else set()
    resolved = [trial for trial in prepared.trials if trial.digests is not None]
    ids = listed | {_of_computation(trial, number).trial_id for trial in resolved for number in EARLIER}
    found = [TrialFolder.of(prepared.runs, trial_id).computation() for trial_id in ids]
    counts = [(number, found.count(number)) for number in EARLIER if number in found]
    if not counts:
        return None
    parts = ", ".join(f"{count} of computation {number}" for number, count in counts)
    return (
        f"results of an earlier computation are there ({parts}): this code is of computation {COMPUTATION}, whose "
        f"numbers differ, and computes these trials anew. The earlier results stay as they are, and are never ranked "
        f"with the new ones; jobs of theirs that still wait or run go on."
    )


def _of_computation(trial: TrialSpec, number: int) -> TrialSpec:
    assert trial.digests is not None
    return trial.model_copy(update={"digests": trial.digests.model_copy(update={"computation": number})})


def _known(sweep: SweepSpec, prepared: Prepared) -> list[str]:
    """The ids of the sweep's trials, each once; for a search, of those that earlier runs proposed."""
    if sweep.search.searcher is None:
        return list(dict.fromkeys(trial.trial_id for trial in prepared.trials if trial.digests is not None))
    journal = proposals_path(sweep_folder(prepared.runs, sweep.name))
    proposals = Proposals(journal, lambda point: prepared.resolve(trial_at(sweep, point)), sweep.objective)
    proposals.read()
    return [proposal.trial_id for proposal in proposals.known if proposal.trial_id is not None]
