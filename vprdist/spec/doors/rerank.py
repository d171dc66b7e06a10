"""Re-rankers by name."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from vprdist.spec.base import Spec
from vprdist.spec.named import BuiltIn, Door, Named


class Reranking(Spec):
    """How deep a second stage looks: what every re-ranker but `none` is told beside its own parameters."""

    top: int = Field(default=100, ge=1, description="images that the first stage retrieves and the second orders anew")


class _MutualNearest(Reranking):
    score: Literal["count", "cosines"] = Field(
        default="count", description="what mutual nearest neighbours earn: one each, or their cosine"
    )


class RerankName(Named):
    """The second stage of a retrieval: it orders the first images anew, by local features; `none` leaves them."""

    door: ClassVar[Door] = Door(
        "re-ranker",
        {
            "none": BuiltIn(""),
            "mutual_nearest": BuiltIn("vprdist.evaluation.rerank.mutual_nearest:MutualNearest", _MutualNearest),
        },
        beside=Reranking,
    )

    @property
    def top(self) -> int | None:
        """How many images it orders anew; None for `none`."""
        if self.name == "none":
            return None
        return int(self.parameters.get("top", Reranking.model_fields["top"].default))

    @property
    def told(self) -> str | None:
        """What a protocol says of it: two that say the same order alike; None for `none`."""
        if self.top is None:
            return None
        others = {name: value for name, value in sorted(self.parameters.items()) if name != "top"}
        words = [f"top {self.top}", *(f"{name} {value}" for name, value in others.items())]
        text = f", text {self.digest[:8]}" if self.digest else ""
        return f"{self.title} ({', '.join(words)}{text})"


NO_RERANK = RerankName.of("none")
