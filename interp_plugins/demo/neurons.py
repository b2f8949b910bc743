"""The demo's look into one network: what its units mean, and whether they still do for attacked pictures."""

import torch

from interp_plugins.demo.study import Outcome
from interp_plugins.neurons.averages import average
from interp_plugins.report import survey as told
from interp_plugins.report.exemplars import most_specific, sheet
from interp_plugins.report.page import Section

UNITS = 3  # that are drawn
CELLS = 6  # places along a side that are covered to find where a unit looks; few, as this is to be quick


def section(outcome: Outcome) -> Section:
    """Which pictures excite the units of one attacked network, and which attacked ones do."""
    looked = outcome.looked_into
    found, layer = outcome.survey, list(outcome.survey.layers)[-1]
    measured = found.layers[layer]
    pictures, attacked = torch.from_numpy(outcome.unseen), torch.from_numpy(outcome.adversarial).flatten(0, 1)
    figure = sheet(
        found, layer, most_specific(measured, UNITS), outcome.model, lambda some: pictures[list(some)],
        lambda some: attacked[list(some)], names=outcome.classes, title=f"last maps of the network of {looked.name}",
        cells=CELLS, tile=outcome.settings.tile,
    )  # fmt: skip
    one, two = (average(cs).mean if cs is not None else float("nan") for cs in (measured.cs1, measured.cs2))
    lead = (
        f"A unit's meaning is read from the pictures that excite it most. In the network of {looked.name}, attacked "
        f"pictures that do so agree with the real ones by {one:.2f} in what they show, and by {two:.2f} in what they "
        f"are to be taken for (1: the same classes). They answer to {'the mistake' if two > one else 'the picture'}."
    )
    return Section(
        "What do the units still mean?", lead, (figure, *told.agreement(found, len(found.layers) - 1).pieces)
    )
