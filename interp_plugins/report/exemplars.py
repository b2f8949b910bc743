"""The exemplar sheet of a survey: some units of a layer, with their top images and where they look."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from interp_plugins.neurons.discrepancy import DiscrepancyMap
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.neurons.survey import LayerSurvey, Survey
from interp_plugins.neurons.trace import leading
from interp_plugins.report import sheets
from interp_plugins.report.page import Figure
from interp_plugins.report.sheets import Row, Shown

EACH = 5  # images of a unit on each side
Pictures = Callable[[Sequence[int]], UInt8[Tensor, "k 3 h w"]]


def most_specific(layer: LayerSurvey, most: int) -> list[int]:
    """The units with the highest corrected LC, of equal ones the lower number first."""
    return layer.lc.debiased.nan_to_num(-1).argsort(descending=True, stable=True)[:most].tolist()


def sheet(
    found: Survey,
    layer: str,
    units: Sequence[int],
    network: nn.Module,
    real: Pictures,
    attacked: Pictures,
    *,
    names: Sequence[str],
    title: str,
    cells: int = 12,
    tile: int | None = None,
) -> Figure:
    """Draw units with their top images.

    Args:
        found: The survey.
        layer: Whose units.
        units: Which of them, from top to bottom.
        network: What was surveyed; it runs cells^2 times for each image that is drawn.
        real: The real images of these numbers.
        attacked: The attacked images of these numbers.
        names: Of the classes.
        title: Of the sheet.
        cells: Places along a side of an image that are covered to find where a unit looks, about.
        tile: Rows a network call, a power of two; None is 8 on a CPU and 64 on a GPU.
    """
    measured = found.layers[layer]
    classes = len(names)
    told = leading(histogram(select(measured.real.ids, dead=measured.real.dead), found.labels, classes))

    def shown(unit: int, numbers: Sequence[int], pictures: Pictures, targets: Sequence[int] = ()) -> Shown:
        pixels = pictures(numbers)
        side = min(pixels.shape[2:])
        patch = max(1, round(side * 11 / 64))  # Zhou et al.'s 11 of 224 pixels go unnoticed by a small network
        maps = DiscrepancyMap(patch=patch, stride=max(1, (side - patch) // cells), tile=tile)
        images = pixels.to(next(network.parameters()).device).float() / 255
        regions = maps(network, layer, images, torch.tensor([unit])).regions()[:, 0]
        return Shown(pixels.numpy(), tuple(targets), regions.cpu().numpy())

    rows = []
    for unit in units:
        wrong = None
        if measured.attacked is not None and found.records is not None:
            ids = measured.attacked.ids[unit, :EACH].tolist()
            wrong = shown(unit, ids, attacked, found.records.targets[ids].tolist())
        rows.append(
            Row(
                unit=unit,
                meaning=told[unit],
                lc=float(measured.lc.debiased[unit]),
                lc_adv=None if measured.lc_adv is None else float(measured.lc_adv.debiased[unit]),
                real=shown(unit, measured.real.ids[unit, :EACH].tolist(), real),
                attacked=wrong,
            )
        )
    picture = sheets.draw(rows, names=names, title=title)
    return Figure(
        light=picture,
        dark=picture,
        alt="Units with the images that excite them most, real ones and attacked ones",
        caption="Bright is where covering the image lowers the unit's answer most. Framed in red: attacked images that "
        "are to be taken for the very class that the unit stands for.",
    )
