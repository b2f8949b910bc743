"""The demo's dissection: which of the drawn concepts the units of one network detect, and whether they still do.

The world was drawn, so it is known of every pixel what was painted there, and no label is anybody's opinion.
"""

import shlex

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from interp_plugins.attacks import PredictedLabelFGSM
from interp_plugins.demo.study import Outcome
from interp_plugins.dissection.dissection import ATTACKED, CLEAN, Dissected
from interp_plugins.dissection.passes import Sight
from interp_plugins.report import detectors
from interp_plugins.report import dissection as told
from interp_plugins.report.page import Code, Figure, Section, Text
from interp_plugins.report.regions import Looks, Unit, draw, telling
from interp_plugins.report.study import sides

UNITS, PICTURES = 3, 6  # units that are drawn, and pictures of each


def section(outcome: Outcome) -> Section:
    """How many units of one attacked network detect a concept: untrained, trained, attacked, and by chance."""
    study = outcome.dissection
    (_, untrained), (layer, found) = study.layers.items()
    overview, labels = told.overview(study), untrained.clean.labels
    parts = [each.clean.labels.ratio(study.vocabulary).get("part", (0,))[0] for each in (untrained, found)]
    lead = (
        f"Of every pixel of the pictures it is known what was painted there. {overview.lead} Before the network had "
        f"learned anything, {int(labels.detectors.sum())} units detected one of {labels.unique} concepts. Parts of "
        f"things were detected by {parts[0]} units then, and by {parts[1]} afterwards."
    )
    bars = detectors.bars(layer, found, study.vocabulary, caption="Outlines and lines across: on clean pictures.")
    figures = [] if bars is None else [bars, _sheet(outcome, layer, found)]
    again = Text("The same as a command, with a table of all units:")
    return Section(
        "Which concepts do the units detect?", lead, (*overview.pieces, *figures, again, Code(command(outcome)))
    )


def command(outcome: Outcome) -> str:
    """What to type to dissect the network again."""
    folder, layer = outcome.folder, [*outcome.dissection.layers][-1]
    words = ["--model", folder.spec(outcome.looked_into.recipe), "--layers", layer, "--data", str(folder.labelled)]
    words += ["--attack", f"fgsm:{255 * outcome.settings.epsilon:g}/255", "--out", "dissection"]
    return shlex.join(["interp-plugins", "dissect", "run", *words])


def _sheet(outcome: Outcome, layer: str, found: Dissected) -> Figure:
    """The best detectors of different concepts, with the pictures that excite them most and what they light there."""
    settings, vocabulary = outcome.settings, outcome.dissection.vocabulary
    clean = torch.from_numpy(outcome.unseen).float() / 255
    attacked = PredictedLabelFGSM(epsilon=settings.epsilon, tile=settings.tile)(outcome.model, clean)
    pictures = {CLEAN: clean, ATTACKED: attacked}
    sight = Sight(network=outcome.model, layers=(layer,), tile=settings.tile)
    maps = {kind: torch.cat([each[layer] for _, each in sight.maps(some)]) for kind, some in pictures.items()}
    units = [
        Unit(
            unit,
            *(
                Looks.of(unit, side.labels, vocabulary, *_lit(some, maps[kind][:, unit], side.thresholds.value[unit]))
                for kind, side in sides(found).items()
                for some in [pictures[kind]]
            ),
        )
        for unit in telling(found.clean.labels, UNITS)
    ]
    picture = draw(units, vocabulary.categories, title=f"{layer} of the network of {outcome.looked_into.name}")
    return Figure(
        light=picture,
        dark=picture,
        alt=f"Units of {layer} with the pictures that excite them most, clean and attacked",
        caption="The pictures that excite a unit most, the strongest first; below, the strongest attacked ones.",
    )


def _lit(
    pictures: Float[Tensor, "n 3 h w"], maps: Float[Tensor, "n y x"], threshold: Float[Tensor, ""]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The pictures whose map has the largest values, and where the enlarged map is above the threshold."""
    top = maps.amax((1, 2)).argsort(descending=True, stable=True)[:PICTURES]
    enlarged = F.interpolate(maps[top, None].double(), pictures.shape[2:], mode="bilinear")[:, 0]
    return (pictures[top] * 255).round().byte().numpy(), (enlarged > threshold).numpy()
