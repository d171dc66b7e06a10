"""What a job may load and call: the driver says it in the job's own command, and no file of the run folder does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from vprdist.errors import LaunchError
from vprdist.private import OURSELVES, Trust

PACKAGE = "vprdist."


@dataclass(frozen=True)
class Permit:
    """The users whose files a job may load, and what it may call beside the package's own functions.

    Args:
        trust: who else may write to them.
        call: `module:function` outside of the package.
    """

    trust: Trust = OURSELVES
    call: str | None = None

    @classmethod
    def calling(cls, job: str, trust: Trust) -> Self:
        """A permit for that job, as `module:function`."""
        return cls(trust, None if job.startswith(PACKAGE) else job)

    def check_call(self, job: str) -> None:
        """The job may be called.

        Raises:
            LaunchError: it is no function of the package, nor the one that is named.
        """
        if not job.startswith(PACKAGE) and job != self.call:
            remedy = "Look who may write to the trial's folder, then delete its `log` and job.json."
            raise LaunchError(f"job {job}", "no function of vprdist, nor one that the driver named", None, remedy)

    def words(self) -> list[str]:
        """For a job's command (`enter`): `user=NAME`, `group=NAME`, `call=module:function`."""
        pairs = [*(("user", user) for user in self.trust.users), ("group", self.trust.group), ("call", self.call)]
        return [f"{key}={value}" for key, value in pairs if value is not None]

    @classmethod
    def of_words(cls, words: Sequence[str]) -> Self:
        """The permit of such words."""
        said = [word.partition("=") for word in words]
        value = {key: value for key, _, value in said}
        return cls(Trust(tuple(user for key, _, user in said if key == "user"), value.get("group")), value.get("call"))

    def to_json(self) -> dict[str, Any]:
        """For the helper that submits."""
        return {"trust": self.trust.to_json(), "call": self.call}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """The permit that `to_json` told of."""
        return cls(Trust.from_json(said["trust"]), said["call"])


PACKAGE_ALONE = Permit()
_here = PACKAGE_ALONE


def permit_here() -> Permit:
    """That of the job which this process is; none but functions of the package where its command named none."""
    return _here


def carry(permit: Permit) -> None:
    """This process is a job, and its command said this."""
    global _here
    _here = permit
