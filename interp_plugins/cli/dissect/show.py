"""`interp-plugins dissect show`: the images that excite a unit most, and the region it lights in each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from interp_plugins.cli.dissect.dissected import Finished
    from interp_plugins.dissection.labels import UnitLabels

TELLING = 6  # units that are drawn where none is named


def show(
    folder: Annotated[Path, typer.Argument(metavar="DISSECTION", help="Folder that dissect run made.")],
    layer: Annotated[str | None, typer.Option(help="Whose units; one that was dissected.  [default: the last]")] = None,
    unit: Annotated[
        list[int] | None, typer.Option(min=0, help="Which; repeat it.  [default: six that detect most clearly]")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=16, help="How many images of each.")] = 6,
    out: Annotated[Path | None, typer.Option(help="The picture.  [default: named by layer and units, here]")] = None,
) -> None:
    """Draw the images that excite units most, with the region each lights in them, attacked ones beneath."""
    from interp_plugins.cli.dissect.dissected import Finished
    from interp_plugins.cli.dissect.regions import figure
    from interp_plugins.dissection.dissection import CLEAN
    from interp_plugins.foundation.files import write_whole
    from interp_plugins.report.regions import telling

    found = Finished.open(folder)
    name = found.layer(layer)
    labels = {kind: found.folder.labels(kind, name) for kind in found.subject.kinds}
    units = telling(labels[CLEAN], TELLING) if unit is None else unit
    if (most := len(labels[CLEAN].iou)) <= max(units):
        raise ValueError(f"expected --unit from 0 to {most - 1}, the units of {name!r}, got {max(units)}")
    tops = {kind: ids[:, :images] for kind, ids in found.tops(name).items()}
    found.check_same(number for ids in tops.values() for row in ids[units].tolist() for number in row)
    drawn = figure(found.subject, name, units, labels, found.thresholds(name), tops)
    file = out or Path(f"{name}_{'_'.join(map(str, units))}.png")
    write_whole(file, drawn.light)
    for number in units:
        typer.echo(_line(found, number, labels))
    typer.echo(f"Look at it: {file}")


def _line(found: "Finished", unit: int, labels: "dict[str, UnitLabels]") -> str:
    """What a unit points at, in words."""
    vocabulary = found.subject.images.vocabulary
    told = []
    for kind, each in labels.items():
        concept = int(each.concept[unit])
        if bool(each.silent[unit]):
            points = "dead or saturated"
        elif not concept:
            points = "points at nothing"
        else:
            weak = "" if bool(each.detectors[unit]) else ", no detector"
            points = f"{vocabulary.name(concept)}, IoU {float(each.iou[unit]):.3f}{weak}"
        told.append(f"{kind}: {points}")
    return f"unit {unit:>4}  {'; '.join(told)}"
