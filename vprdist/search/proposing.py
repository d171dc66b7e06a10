"""A searcher of points that this project or a user writes: neither Ray nor torch, a class that is asked for points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from vprdist.errors import OwnCodeError, RuleError, UserError, first_line, nearest
from vprdist.files import canonical_json
from vprdist.search.points import by_axis, encode_axes
from vprdist.spec.own_code import read_own
from vprdist.spec.own_load import place_in
from vprdist.spec.search import Choice, Point, Range, SearchSpec

Told = tuple[Point, float | None]
"""A point and its objective: None while its trial is not over, NaN if it failed or is no trial."""
OUTSIDE = object()
"""Stands for a value that is none of its axis."""
HOW = "Mend the file: it is made with space=, seed= and its own parameters, and asked propose(told)."


class Proposer(Protocol):
    """A searcher of points. It is made with its own parameters, and

    Args of `__init__`:
        space: by axis its values; with subsets `player NAME` says whether a player is there.
        seed: of the sweep's search.

    It lives in the driver's process. A driver that comes back makes it anew, and tells it all that was proposed before:
    whoever asks `told` alone, and draws by `seed` and `len(told)`, goes on as if nothing had happened.
    """

    def propose(self, told: Sequence[Told]) -> Mapping[str, Any] | None:
        """The next point, a value for every axis; None for no more, now or, when nothing runs any more, at all.

        Args:
            told: every earlier point in its order, those that were proposed again among them.
        """


class Proposing:
    """A proposer where one of Tune's searchers could be: it is asked, and told everything each time.

    Args:
        told: every point that was asked for so far, as a sweep has them.

    Raises:
        OwnCodeError: the class cannot be loaded or made, or does not propose.
    """

    def __init__(self, search: SearchSpec, told: Callable[[], list[Told]]) -> None:
        self.search, self.told = search, told
        self.proposer = make_proposer(search)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for a restore that we never do; a user's may hold what cannot be pickled."""
        return {}

    def suggest(self, question: str) -> dict[str, Any] | None:
        """The next point as Tune's searchers give it (see `points`); None to wait.

        Raises:
            OwnCodeError: the proposer failed, or proposed what is no point of the space.
        """
        told = [(each, value) for point, value in self.told() if (each := by_axis(self.search, point)) is not None]
        with _blamed(self.search):
            point = self.proposer.propose(told)
        return None if point is None else encode_axes(self.search, checked(self.search, point))

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: it is told when it is asked."""

    def add_evaluated_point(self, parameters: Mapping[str, Any], value: float) -> None:
        """Nothing: it is told when it is asked."""


def make_proposer(search: SearchSpec) -> Proposer:
    """The proposer of a search.

    Raises:
        OwnCodeError: the class cannot be loaded or made, or does not propose.
    """
    assert search.searcher is not None
    with _blamed(search):
        proposer = search.searcher.make(space=search.domains, seed=search.seed)
    if not callable(getattr(proposer, "propose", None)):
        remedy = "Write it: def propose(self, told): …, which returns a point or None."
        raise OwnCodeError(_place(search), f"the searcher {search.method.title} has no method propose", None, remedy)
    made: Proposer = proposer
    return made


def check_proposer(search: SearchSpec) -> None:
    """See early whether a search's proposer can be made, before anything is submitted; nothing for other methods.

    Raises:
        OwnCodeError: it cannot.
    """
    if search.method.searches_space and not search.method.of_tune:
        make_proposer(search)


def checked(search: SearchSpec, point: Any) -> Point:
    """A proposed point with plain values.

    Raises:
        OwnCodeError: it is no mapping, lacks an axis or has another, or a value is outside of its axis.
    """
    title = f"{search.method.title}.propose"

    def wrong(fault: str, value: object, remedy: str) -> OwnCodeError:
        return OwnCodeError(_place(search), f"{title} {fault}", value, remedy)

    domains = search.domains
    if not isinstance(point, Mapping):
        remedy = f"Return a mapping of {', '.join(domains)} to values, or None for no more."
        raise wrong("returned no point", _shown(point), remedy)
    for axis in point:
        if axis not in domains:
            raise wrong("returned a point with an axis that the space lacks", axis, nearest(str(axis), domains))
    if missing := [axis for axis in domains if axis not in point]:
        fault = f"returned a point without {', '.join(missing)}"
        raise wrong(fault, _shown(dict(point)), "Give every axis of the space a value.")
    out = {axis: _plain(domain, point[axis]) for axis, domain in domains.items()}
    for axis, value in out.items():
        if value is OUTSIDE:
            fault = f"returned a value outside of the axis {axis}"
            raise wrong(fault, _shown(point[axis]), f"Return {domains[axis].words}.")
    return out


def _plain(domain: Choice | Range, value: Any) -> Any:
    """A value as the domain has it, with NumPy's numbers as Python's; `OUTSIDE` where the domain has none like it."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(domain, Choice):
        return next((each for each in domain.values if _same(each, value)), OUTSIDE)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not domain.low <= value <= domain.high:
        return OUTSIDE
    if domain.kind == "randint":
        return OUTSIDE if value % 1 else int(value)
    return float(value)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one: a tuple is a list, 1.0 is 1, and true is not 1."""
    try:
        return canonical_json([one]) == canonical_json([other]) or (
            not isinstance(one, bool) and not isinstance(other, bool) and float(one) == float(other)
        )
    except (TypeError, ValueError):
        return False


def _shown(value: object) -> object:
    """What a message can print: a long or strange value by its text's beginning."""
    text = repr(value)
    return value if len(text) < 100 else f"{text[:100]}…"


@contextmanager
def _blamed(search: SearchSpec) -> Iterator[None]:
    """What fails in a user's class is one message, with its last line on the way there: nobody reads our traceback.

    Raises:
        OwnCodeError: the block failed.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if search.searcher is None or not search.searcher.is_own:
            raise
        where = place_in(error, search.searcher.name) or _place(search)
        raise OwnCodeError(where, f"{type(error).__name__}: {first_line(error)}", None, HOW) from error


def _place(search: SearchSpec) -> str:
    """The file of a user's class, and its line; a built-in's address."""
    if search.searcher is None or not search.searcher.is_own:
        return search.method.target
    try:
        own = read_own(search.searcher.name)
    except RuleError:  # it went away while the sweep ran
        return search.searcher.name
    return f"{own.file}:{own.line}"
