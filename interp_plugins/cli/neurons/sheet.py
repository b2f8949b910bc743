"""The exemplar sheet of a survey: the units that are most specific, with their top images and where they look."""

import torch
from jaxtyping import Int
from torch import Tensor

from interp_plugins.cli.neurons.inputs import Inputs
from interp_plugins.neurons.discrepancy import DiscrepancyMap
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.neurons.survey import LayerSurvey, Survey
from interp_plugins.neurons.trace import leading
from interp_plugins.report import sheets
from interp_plugins.report.page import Figure, Section
from interp_plugins.report.sheets import Row, Shown

EACH = 5  # images of a unit on each side
CELLS = 12  # places of the patch along a side, about


def draw(loaded: Inputs, found: Survey) -> tuple[Section, bytes]:
    """The section of the page, and the sheet as a PNG."""
    layer = loaded.manifest.layers[-1]
    measured = found.layers[layer]
    histograms = histogram(select(measured.real.ids, dead=measured.real.dead), found.labels, len(loaded.similarity))
    units = measured.lc.debiased.nan_to_num(-1).argsort(descending=True, stable=True)[: loaded.given.sheet].tolist()
    told = leading(histograms)
    rows = [
        Row(
            unit=unit,
            meaning=told[unit],
            lc=float(measured.lc.debiased[unit]),
            lc_adv=None if measured.lc_adv is None else float(measured.lc_adv.debiased[unit]),
            real=_real(loaded, layer, unit, measured.real.ids[unit, :EACH]),
            attacked=_attacked(loaded, found, layer, unit, measured),
        )
        for unit in units
    ]
    picture = sheets.draw(rows, names=loaded.manifest.classes, title=f"{layer} of {loaded.manifest.model.name}")
    figure = Figure(
        light=picture, dark=picture, alt="Units with their top real and attacked images",
        caption="Outlined is where covering the image lowers the unit's answer most. Framed in red: attacked images "
        "that are to be taken for the very class that the unit stands for.",
    )  # fmt: skip
    lead = f"The {len(rows)} most specific units of {layer}, with the images that excite them most."
    return Section("Which images excite a unit most?", lead, (figure,)), picture


def _real(loaded: Inputs, layer: str, unit: int, ids: Int[Tensor, " k"]) -> Shown:
    return _shown(loaded, layer, unit, loaded.real.tensor(ids.tolist()), ())


def _attacked(loaded: Inputs, found: Survey, layer: str, unit: int, measured: LayerSurvey) -> Shown | None:
    if loaded.attacked is None or measured.attacked is None or found.records is None:
        return None
    ids = measured.attacked.ids[unit, :EACH].tolist()
    pixels = torch.stack([loaded.attacked.records[id].adversarial for id in ids])
    return _shown(loaded, layer, unit, pixels, tuple(found.records.targets[ids].tolist()))


def _shown(loaded: Inputs, layer: str, unit: int, pixels: Tensor, targets: tuple[int, ...]) -> Shown:
    side = min(pixels.shape[2:])
    patch = max(1, round(side * 11 / 64))  # Zhou et al. cover 11 of 224 pixels, which a small network hardly notices
    stride = max(1, (side - patch) // CELLS)
    maps = DiscrepancyMap(patch=patch, stride=stride, tile=loaded.sight.tile)
    found = maps(loaded.sight.network, layer, loaded.put(pixels), torch.tensor([unit]))
    return Shown(pixels.numpy(), targets, found.regions()[:, 0].cpu().numpy())
