"""The images that excite a unit most, with the pixels it lights in each: the figure of some units of a layer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from interp_plugins.cli.dissect.inputs import Subject
from interp_plugins.dissection.cells import cells_of, light
from interp_plugins.dissection.dissection import ATTACKED, CLEAN
from interp_plugins.dissection.labels import UnitLabels
from interp_plugins.report.page import Figure
from interp_plugins.report.regions import Looks, Unit, draw

CAPTION = (
    "Each unit with the images that excite it most, the strongest first, and the label that it has on such images. "
    "Attacked images are the strongest among attacked ones, so they need not be the same pictures."
)


def figure(
    subject: Subject,
    layer: str,
    units: Sequence[int],
    labels: dict[str, UnitLabels],
    thresholds: dict[str, Float64[Tensor, " u"]],
    tops: dict[str, Int64[Tensor, "u k"]],
) -> Figure:
    """Draw units.

    Args:
        subject: The network and the images.
        layer: Whose units.
        units: Their numbers, from top to bottom.
        labels: Of the layer's units, for each kind of images.
        thresholds: Theirs.
        tops: The numbers of the images to draw of each.
    """
    lines = []
    for unit in units:
        looks = {
            kind: _looks(subject, kind, layer, unit, labels[kind], thresholds[kind][unit], tops[kind][unit].tolist())
            for kind in subject.kinds
        }
        lines.append(Unit(unit, looks[CLEAN], looks.get(ATTACKED)))
    vocabulary = subject.images.vocabulary
    picture = draw(lines, vocabulary.categories, title=f"{layer} of {subject.model.name}")
    alt = f"Units {', '.join(map(str, units))} of {layer} with the images that excite them most"
    return Figure(light=picture, dark=picture, alt=alt, caption=CAPTION)


def _looks(
    subject: Subject, kind: str, layer: str, unit: int, labels: UnitLabels, threshold: Tensor, numbers: Sequence[int]
) -> Looks:
    pixels = subject.pixels(kind, numbers)
    maps = torch.cat([each[layer][:, unit : unit + 1] for _, each in subject.sight.maps(pixels)]).cpu()
    height, width = subject.images.mask_size
    bar = threshold.cpu().view(1)
    lit = light(cells_of(maps, torch.arange(len(maps)), bar), bar, (height, width))
    regions = torch.zeros(len(maps), height * width, dtype=torch.bool)
    regions[lit.image, lit.pixel] = True
    images = (pixels * 255).round().to(torch.uint8).cpu().numpy()
    return Looks.of(unit, labels, subject.images.vocabulary, images, regions.view(-1, height, width).numpy())
