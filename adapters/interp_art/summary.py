"""What the host's summary writer is told of the core's steps."""

from collections.abc import Callable

import numpy as np
from art.config import ART_NUMPY_DTYPE
from art.estimators.classification import PyTorchClassifier
from art.summary_writer import SummaryWriter

from interp_art.units import Units
from interp_plugins.attacks import Step


def told(
    writer: SummaryWriter | None,
    estimator: PyTorchClassifier,
    units: Units,
    part: slice,
    *,
    rows: int,
    targeted: bool,
) -> Callable[[Step], None] | None:
    """A callback for the core that tells `writer` of each step; the writer's batches are the core's tiles.

    Args:
        writer: Who is told; None for nobody.
        estimator: Whose loss the writer may draw. An `EnsembleClassifier` can tell none: its first member's is drawn.
        units: The estimator's units.
        part: Which inputs are attacked, from a whole number of tiles on.
        rows: Images per tile; the last tile repeats its last image, which is left out.
        targeted: Whether the attack aims at a class.
    """
    if writer is None:
        return None
    tile = part.start // rows - 1

    def tell(step: Step) -> None:
        nonlocal tile
        tile += step.step == 1
        real = min(rows, part.stop - tile * rows)
        writer.update(
            batch_id=tile,
            global_step=step.step - 1,
            grad=units.turn_back(step.gradient[:real]).cpu().numpy() / units.span,
            patch=None,
            estimator=estimator,
            x=units.array(step.images[:real]),
            y=np.eye(estimator.nb_classes, dtype=ART_NUMPY_DTYPE)[step.targets[:real].cpu().numpy()],
            targeted=targeted,
        )

    return tell
