"""Trackers by name: where a sweep's driver sends numbers and results beside its own files."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from vprdist.spec.named import BuiltIn, Door, Named, parameters


def _name(meaning: str) -> Any:
    return (str | None, Field(default=None, min_length=1, description=meaning))


class TrackerName(Named):
    """Where the driver sends metrics, configuration, results and the page."""

    door: ClassVar[Door] = Door(
        "tracker",
        {
            "wandb": BuiltIn(
                "vprdist.trackers.wandb_runs:Wandb",
                parameters(
                    project=_name("the project; null: WANDB_PROJECT, or vprdist"),
                    entity=_name("the team or user; null: WANDB_ENTITY, or your default"),
                ),
                extra="wandb",
            ),
            "mlflow": BuiltIn(
                "vprdist.trackers.mlflow_runs:Mlflow",
                parameters(experiment=_name("the experiment; null: MLFLOW_EXPERIMENT_NAME, or vprdist")),
                extra="mlflow",
            ),
            "tensorboard": BuiltIn("vprdist.trackers.tensorboard_runs:TensorBoard", extra="tensorboard"),
            "trackio": BuiltIn(
                "vprdist.trackers.trackio_runs:Trackio",
                parameters(project=_name("the project; null: TRACKIO_PROJECT, or vprdist")),
                extra="trackio",
            ),
        },
        provided=("place",),
    )
