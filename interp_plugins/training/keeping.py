"""Keep a run's state while it trains, and go on from it.

Of several processes the first one writes; all of them read.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, distributed

from interp_plugins.training.configuration import differences
from interp_plugins.training.course import Course
from interp_plugins.training.evaluation import several
from interp_plugins.training.snapshots import Checkpoints, Snapshot, Which, pack, unpack
from interp_plugins.training.steps import bare


class Keeper:
    """A run, its configuration, and where its state is kept; nowhere, if `checkpoints` is None."""

    def __init__(self, checkpoints: Checkpoints | None, course: Course, configuration: Mapping[str, str]) -> None:
        self.checkpoints, self.course, self.configuration = checkpoints, course, dict(configuration)

    def begin(self, resume: bool) -> None:
        """Go on from the last state, if there is one and that is asked for.

        Raises:
            ValueError: It is there and was not asked for, is damaged, or is of another configuration.
        """
        if self.checkpoints is None:
            if resume:
                raise ValueError("expected checkpoints to resume from, got None; hand over a CheckpointFolder")
            return
        found = self.checkpoints.read("last")
        if found is None:
            return
        epochs = len(unpack(found.plain["reports"], found.tensors))
        if not resume:
            raise ValueError(
                f"expected no checkpoint in {self.checkpoints}, got one of {epochs} finished epochs; "
                "go on from it with resume=True, or name another folder"
            )
        changed = differences(found.plain["configuration"], self.configuration)
        if changed:
            raise ValueError(
                f"expected the configuration that the checkpoint in {self.checkpoints} was made with, got another: "
                f"{changed}; change it back, or begin anew in another folder"
            )
        for name, part in self._parts().items():
            part.load_state_dict(unpack(found.plain[name], found.tensors))
        state = ("progress", "reports", "chance")
        self.course.load_state({name: unpack(found.plain[name], found.tensors) for name in state})

    def keep(self, which: Which) -> None:
        """Keep the state; every process has to call it.

        Raises:
            TypeError: A part has a state that cannot be kept without pickle.
            OSError: It cannot be written.
        """
        if self.checkpoints is None:
            return
        tensors: dict[str, Tensor] = {}
        state = self.course.state() | {name: part.state_dict() for name, part in self._parts().items()}
        plain = {name: pack(value, tensors, name) for name, value in state.items()}
        if not several() or distributed.get_rank() == 0:
            self.checkpoints.write(which, Snapshot(tensors, plain | {"configuration": self.configuration}))

    def _parts(self) -> dict[str, Any]:
        course = self.course
        names = ("optimizer", "scheduler", "averages", "scaler")
        parts = {"model": bare(course.model)} | {name: getattr(course, name) for name in names}
        losses = {f"losses/{name}": loss for name, loss in course.modules.items()}
        return {name: part for name, part in parts.items() if part is not None} | losses
