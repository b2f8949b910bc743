"""`interp-plugins neurons trace`: which units carried the decision about an image, and what do they stand for?"""

import difflib
from dataclasses import fields, is_dataclass
from json import dumps
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.neurons.trace import Trace

EACH = 6  # top images that are drawn of a unit


class _Shown(NamedTuple):
    """An image, with what the attack made of it if it is of the set."""

    pixels: "Tensor"  # uint8 (1 or 2, c, h, w)
    truth: int | None = None  # the true class, if it is known
    target: int | None = None  # the class that the attack aimed at, if there was one


def trace(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image's id, such as test/00042, or a file.")],
    survey: Annotated[Path, typer.Option(help="Folder that neurons run made.")],
    target: Annotated[int, typer.Option(min=0, help="Which of its attacked images, counted from 0.")] = 0,
    layer: Annotated[
        str | None, typer.Option(help="Whose units; one of the survey's.  [default: the last maps]")
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="How many units are told.")] = 8,
    out: Annotated[Path | None, typer.Option(help="The picture.  [default: made from IMAGE and target, here]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the trace as JSON instead of a summary.")] = False,
) -> None:
    """Draw the units that carried the decision about an image, with what they stand for.

    An image of the survey's adversarial set is drawn beside what the attack made of it: units that carry the wrong
    decision alone are marked.
    """
    from interp_plugins.cli.neurons.surveyed import Surveyed
    from interp_plugins.foundation.files import write_whole
    from interp_plugins.neurons.trace import DecisionTrace
    from interp_plugins.report.tracing import draw

    found = Surveyed.open(survey)
    name = found.layer(layer, units)
    shown = _shown(found, image, target)
    given = found.put(shown.pixels)
    told = DecisionTrace(units=units)(
        found.network, name, found.histograms(name), found.similarity, given[0], given[1] if len(given) > 1 else None
    )
    tops = found.exemplars(name)
    strips = {
        unit: [] if tops.dead[unit] else [*found.real.tensor(tops.ids[unit, :EACH].tolist()).numpy()]
        for unit in told.units
    }
    names = found.folder.manifest.classes
    file = out or _file_name(image, None if told.attacked is None else target)
    write_whole(file, draw(told, [*shown.pixels.numpy()], strips, names=names, truth=shown.truth, target=shown.target))
    if json:
        about = {"image": image, "truth": shown.truth, "target": shown.target, "classes": names, "picture": str(file)}
        typer.echo(dumps(about | {"trace": _plain(told)}, indent=2, ensure_ascii=False))
        return
    for line in (_title(image, shown, names), *_lines(told, names)):
        typer.echo(line)
    typer.echo(f"Look at it: {file}")


def _shown(found: "Surveyed", image: str, target: int) -> _Shown:
    """The image of that id, of the set or else of the real ones, or the one in that file."""
    import torch

    from interp_plugins.cli.neurons.surveyed import originals

    attacked = found.adversarial if found.folder.manifest.attacked is not None else None
    if attacked is not None and image in attacked.manifest.data.ids:
        manifest = attacked.manifest
        if target >= manifest.targets:
            raise ValueError(f"expected --target from 0 to {manifest.targets - 1}, got {target}")
        index = manifest.data.ids.index(image)
        clean, places = originals(attacked, [index])
        shard, row = attacked.read(index // manifest.images_per_shard), index % manifest.images_per_shard
        both = torch.cat([clean.tensor(places), shard.images[row, target][None]])
        return _Shown(both, int(shard.labels[row]), int(shard.targets[row, target]))
    if image not in found.real.ids and not Path(image).is_file():
        known = [*found.real.ids, *(attacked.manifest.data.ids if attacked is not None else ())]
        near = difflib.get_close_matches(image, known, 1, cutoff=0.0)
        raise ValueError(f"no image {image!r} in the survey, and no such file; did you mean {near[0]!r}?")
    if target:
        raise ValueError(f"expected --target with an image of the survey's adversarial set alone, got it with {image}")
    if image in found.real.ids:
        index = found.real.ids.index(image)
        return _Shown(found.real.tensor([index]), int(found.real.labels[index]))
    return _Shown(_read(Path(image), found))


def _read(file: Path, found: "Surveyed") -> "Tensor":
    from interp_plugins.sources.images import ImageSet
    from interp_plugins.sources.layouts import Files

    size = found.folder.manifest.real.size
    pixels = ImageSet(Files(file.parent, (file.name,)), [0], [file.name], size=size).tensor([0])
    if (shape := tuple(pixels.shape[1:])) != found.shape:
        raise ValueError(f"expected an image of {found.shape}, as the survey's are, got {shape} in {file}; cut it")
    return pixels


def _file_name(image: str, target: int | None) -> Path:
    stem = Path(image).with_suffix("").as_posix().strip("/").replace("/", "_")
    return Path(f"trace_{stem}.png" if target is None else f"trace_{stem}_{target}.png")


def _title(image: str, shown: _Shown, names: "tuple[str, ...]") -> str:
    truth = "" if shown.truth is None else f" ({names[shown.truth]})"
    return image + truth + ("" if shown.target is None else f", aimed at {names[shown.target]}")


def _lines(told: "Trace", names: "tuple[str, ...]") -> list[str]:
    """What the picture shows, in words."""
    lines = []
    titles = ("image",) if told.attacked is None else ("clean", "attacked")
    for title, decision in zip(titles, told.decisions, strict=True):
        conflict = "" if isnan(decision.conflict) else f"; conflict of its units {decision.conflict:.2f}"
        lines.append(f"{title}: {names[decision.predicted]} ({decision.confidence:.0%}){conflict}")
        for unit in decision.units:
            meaning = ", ".join(f"{names[share.label]} {share.share:.0%}" for share in unit.meaning) or "nothing known"
            mark = "" if told.attacked is None else "in both " if unit.shared else "alone   "
            lines.append(f"  unit {unit.number:>4}  {unit.influence:+8.3f}  {mark}{meaning}")
    return lines


def _plain(value: object) -> object:
    """What JSON can hold; it has no nan."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        named = getattr(value, "_asdict", None)
        return named() if named else [_plain(each) for each in value]
    return None if isinstance(value, float) and isnan(value) else value
