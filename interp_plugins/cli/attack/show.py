"""`interp-plugins attack show`: one image of a set, and what the networks make of it."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from interp_plugins.report.page import Verdict
    from interp_plugins.store.manifest import Manifest


def show(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="Folder of the set.")],
    image: Annotated[str, typer.Argument(metavar="ID", help="Which image, such as test/00042.")],
    target: Annotated[int, typer.Option(min=0, help="Which of its targets, counted from 0.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The picture.  [default: made from ID and target, here]")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A network that was not attacked, to be asked as well; repeat it.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Where the clean images lie now, if they were moved.")] = None,
    labels: Annotated[str | None, typer.Option(help="Where their table of labels lies now.")] = None,
) -> None:
    """Draw a clean image, its change ten times enlarged, the stored image, and what each network says of both."""
    from interp_plugins.cli.attack import stored
    from interp_plugins.foundation.files import write_whole
    from interp_plugins.report.example import Example, draw
    from interp_plugins.store.drafts import changes
    from interp_plugins.store.images import places

    found = stored.finished(folder)
    manifest = found.manifest
    index = _find(manifest, image)
    if target >= manifest.targets:
        raise ValueError(f"expected --target from 0 to {manifest.targets - 1}, got {target}")
    clean = stored.clean_images(manifest, data, labels)
    origin = clean.tensor([places(manifest.data, clean)[index]])
    shard = found.read(index // manifest.images_per_shard)
    row = index % manifest.images_per_shard
    adversarial, truth, aim = shard.images[row, target], int(shard.labels[row]), int(shard.targets[row, target])
    rmse, linf = changes(adversarial[None, None], origin)
    networks = stored.networks(manifest, model or (), stored.device(manifest))
    names = stored.names(manifest, networks[len(manifest.members) :])
    asked = [f"{name}, not attacked" if k >= len(manifest.members) else name for k, name in enumerate(names)]
    before, after = (
        _verdicts(manifest, asked, [network.module for network in networks], pixels, truth, aim)
        for pixels in (origin, adversarial[None])
    )
    example = Example(
        image=origin[0].numpy(),
        adversarial=adversarial.numpy(),
        truth=_name(manifest, truth),
        target=_name(manifest, aim),
        rmse=rmse[0][0],
        linf=linf[0][0],
        before=before,
        after=after,
    )
    file = out or Path(f"{image.replace('/', '_')}_{target}.png")
    write_whole(file, draw(example))
    typer.echo(f"{image} ({example.truth}), aimed at {example.target}: look at {file}")


def _find(manifest: "Manifest", image: str) -> int:
    ids = manifest.data.ids
    if image not in ids:
        near = difflib.get_close_matches(image, ids, 1, cutoff=0.0)
        raise ValueError(f"no image {image!r} in the set of {len(ids)}; did you mean {near[0]!r}?")
    return ids.index(image)


def _name(manifest: "Manifest", number: int) -> str:
    classes = manifest.data.classes
    return classes[number] if classes and number < len(classes) else f"class {number}"


def _verdicts(
    manifest: "Manifest", names: Sequence[str], modules: Sequence[object], image: "Tensor", truth: int, target: int
) -> "tuple[Verdict, ...]":
    from interp_plugins.foundation.prepare import device_of, judge
    from interp_plugins.foundation.tiles import fill
    from interp_plugins.report.page import Verdict

    tile = fill(image.to(device_of(modules, image.device)), manifest.layout.tile).float() / 255
    found = []
    for name, module in zip(names, modules, strict=True):
        confidence, said = judge(module, tile)[0].softmax(0).max(0)
        k = int(said)
        tone: Literal["truth", "target", "other"] = "truth" if k == truth else "target" if k == target else "other"
        found.append(Verdict(who=name, says=_name(manifest, k), confidence=float(confidence), tone=tone))
    return tuple(found)
