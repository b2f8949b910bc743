"""The first section of a survey's page: the most specific units and their top images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from interp_plugins.cli.neurons.inputs import Inputs
from interp_plugins.neurons.survey import Survey
from interp_plugins.report.exemplars import most_specific, sheet
from interp_plugins.report.page import Section


def section(loaded: Inputs, found: Survey) -> Section:
    """The section."""
    layer, name = loaded.manifest.layers[-1], loaded.manifest.model.name
    units = most_specific(found.layers[layer], loaded.given.sheet)

    def attacked(numbers: Sequence[int]) -> Tensor:
        assert loaded.attacked is not None  # only then there are such numbers
        return torch.stack([loaded.attacked.records[number].adversarial for number in numbers])

    figure = sheet(
        found, layer, units, loaded.sight.network, loaded.real.tensor, attacked, names=loaded.manifest.classes,
        title=f"{layer} of {name}", tile=loaded.sight.tile,
    )  # fmt: skip
    lead = f"The {len(units)} most specific units of {layer}, with the images that excite them most."
    return Section("Which images excite a unit most?", lead, (figure,))
