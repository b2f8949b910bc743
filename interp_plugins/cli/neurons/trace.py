"""`interp-plugins neurons trace`: which units carried the decision about an image, and what do they stand for?"""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.neurons.trace import Trace

EACH = 6  # top images that are drawn of a unit


def trace(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image's id, such as test/00042, or a file.")],
    survey: Annotated[Path, typer.Option(help="Folder that neurons run made.")],
    target: Annotated[int, typer.Option(min=0, help="Which of its attacked images, counted from 0.")] = 0,
    layer: Annotated[
        str | None, typer.Option(help="Whose units; one of the survey's.  [default: the last maps]")
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="How many units are told.")] = 8,
    out: Annotated[Path | None, typer.Option(help="The picture.  [default: made from IMAGE, here]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the trace as JSON instead of a summary.")] = False,
) -> None:
    """Draw the units that carried the decision about an image, with what they stand for.

    An image of the survey's adversarial set is drawn beside what the attack made of it: units that carry the wrong
    decision alone are marked.
    """
    import dataclasses
    import json as writer

    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.foundation.files import write_whole
    from interp_plugins.neurons.trace import DecisionTrace
    from interp_plugins.report.tracing import draw

    found = Surveyed.open(survey)
    name = found.layer(layer)
    pictures, truth, aim = _pictures(found, image, target)
    given = found.put(pictures)
    told = DecisionTrace(units=units)(
        found.network, name, found.histograms(name), found.similarity, given[0], given[1] if len(given) > 1 else None
    )
    tops = found.exemplars(name).ids[:, :EACH]
    strips = {unit: [*found.real.tensor(tops[unit].tolist()).numpy()] for unit in told.units}
    names = found.folder.manifest.classes
    file = out or Path(f"trace_{image.replace('/', '_').removesuffix('.png')}.png")
    write_whole(file, draw(told, [*pictures.numpy()], strips, names=names, truth=truth, target=aim))
    if json:
        typer.echo(writer.dumps(dataclasses.asdict(told) | {"classes": names}))
        return
    for line in _lines(told, names):
        typer.echo(line)
    typer.echo(f"Look at it: {file}")


def _pictures(found: "Surveyed", image: str, target: int) -> "tuple[Tensor, int | None, int | None]":
    """The image, with what the attack made of it if it is of the set; the true class and the target, if known."""
    import torch

    from interp_plugins.cli.attack import stored
    from interp_plugins.store.images import places

    if found.folder.manifest.attacked is not None and image in found.set.manifest.data.ids:
        manifest = found.set.manifest
        if target >= manifest.targets:
            raise ValueError(f"expected --target from 0 to {manifest.targets - 1}, got {target}")
        index = manifest.data.ids.index(image)
        clean = stored.clean_images(manifest, None, None)
        shard, row = found.set.read(index // manifest.images_per_shard), index % manifest.images_per_shard
        both = torch.cat([clean.tensor([places(manifest.data, clean)[index]]), shard.images[row, target][None]])
        return both, int(shard.labels[row]), int(shard.targets[row, target])
    if image in found.real.ids:
        index = found.real.ids.index(image)
        return found.real.tensor([index]), int(found.real.labels[index]), None
    if not Path(image).is_file():
        known = [*found.real.ids, *(found.set.manifest.data.ids if found.folder.manifest.attacked else ())]
        near = difflib.get_close_matches(image, known, 1, cutoff=0.0)
        raise ValueError(f"no image {image!r} in the survey, and no such file; did you mean {near[0]!r}?")
    return _file(Path(image), found.folder.manifest.real.size), None, None


def _file(path: Path, size: int | None) -> "Tensor":
    from interp_plugins.sources.images import ImageSet
    from interp_plugins.sources.layouts import Files

    return ImageSet(Files(path.parent, (path.name,)), [0], [path.name], size=size).tensor([0])


def _lines(told: "Trace", names: "tuple[str, ...]") -> list[str]:
    """What the picture shows, in words."""
    lines = []
    for title, decision in zip(("clean", "attacked"), told.decisions, strict=False):
        conflict = "" if decision.conflict != decision.conflict else f"; conflict of its units {decision.conflict:.2f}"
        lines.append(f"{title}: {names[decision.predicted]} ({decision.confidence:.0%}){conflict}")
        for unit in decision.units:
            meaning = ", ".join(f"{names[share.label]} {share.share:.0%}" for share in unit.meaning) or "nothing known"
            mark = "in both" if unit.shared else "alone" if told.attacked is not None else ""
            lines.append(f"  unit {unit.number:>4}  {unit.influence:+8.3f}  {mark:<8}{meaning}")
    return lines
