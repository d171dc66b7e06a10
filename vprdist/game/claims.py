"""What may be claimed of players whose arms were probed with their own masks and with placebos in the masks' place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vprdist.game.draws import Floats, Whole
from vprdist.game.inference import Effects, Probed, effects
from vprdist.spec.attribution import CONTROLLED, UNCONTROLLED, Claim

PairClaim = Literal["complement", "replace", "none"]


@dataclass(frozen=True)
class PlayerEffects:
    """What each of n players adds, and what of it no placebo adds; fields as `spec.attribution.PlayerRow` has them."""

    adds: Effects
    placebos: dict[str, Effects]
    beyond: dict[str, Effects]

    @property
    def signs(self) -> Floats:
        """(…, n): +1 up, -1 down, 0 none, NaN untold.

        Up where a player adds something *and* that is more than each placebo adds. Every part of it has to hold, so the
        placebos need no correction for their number (an intersection-union test: Berger, Multiparameter hypothesis
        testing and acceptance sampling).
        """
        every = np.stack([self.adds.signs, *(each.signs for each in self.beyond.values())])
        agreed = np.where((every == 1).all(axis=0), 1.0, np.where((every == -1).all(axis=0), -1.0, 0.0))
        return np.where(np.isnan(every).any(axis=0), np.nan, agreed)

    @property
    def claims(self) -> list[Claim]:
        """One a player, of effects (n,) without leading axes.

        "More than every placebo" is true of no placebos at all: without a control the words are others.
        """
        up, down = CONTROLLED if self.beyond else UNCONTROLLED
        words: dict[float, Claim] = {1.0: up, -1.0: down, 0.0: "none"}
        return [words.get(sign, "untold") for sign in self.signs.tolist()]

    @property
    def bounds(self) -> Floats:
        """(…, n) where nothing is claimed: the largest effect that the intervals still hold; NaN elsewhere.

        Beyond whichever placebo leaves most room, or of what the player adds where there are no placebos.
        """
        room = np.stack([each.largest for each in self.beyond.values() or [self.adds]]).max(axis=0)
        return np.where(self.signs == 0, room, np.nan)


def player_effects(
    real: Probed, placebos: Mapping[str, Probed], cluster: Whole, *, confidence: float, num_claims: int | None = None
) -> PlayerEffects:
    """The effects of players beside their placebos.

    Args:
        real, placebos: the same players, queries, seeds and orders in the same order.
        cluster, confidence, num_claims: as for `game.inference.effects`.
    """

    def of(probed: Probed) -> Effects:
        return effects(probed, cluster, confidence=confidence, num_claims=num_claims)

    return PlayerEffects(
        adds=of(real),
        placebos={name: of(placebo) for name, placebo in placebos.items()},
        beyond={name: of(real - placebo) for name, placebo in placebos.items()},
    )


def pair_claims(found: Effects) -> list[PairClaim]:
    """One a pair, of the effects (n(n-1)/2,) of interactions; `none` too where nothing tells."""
    words: dict[float, PairClaim] = {1.0: "complement", -1.0: "replace"}
    return [words.get(sign, "none") for sign in found.signs.tolist()]
