"""What a survey is made from: a network, real images, an adversarial set; and the manifest that says so."""

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interp_plugins.cli import networks
from interp_plugins.cli.attack import stored
from interp_plugins.cli.neurons import classes
from interp_plugins.cli.neurons.request import Request
from interp_plugins.foundation import check
from interp_plugins.foundation.measuring import conv_layers, for_measuring, last_map
from interp_plugins.foundation.taxonomy import METRICS
from interp_plugins.foundation.tiles import check_tile, tile_size
from interp_plugins.neurons.activations import REDUCTIONS
from interp_plugins.neurons.exemplars import refuse_chance, top_count
from interp_plugins.neurons.passes import Sight, last_layers
from interp_plugins.sources import images, weights
from interp_plugins.sources.images import ImageSet
from interp_plugins.sources.models import LoadedModel
from interp_plugins.store.dataset import AdversarialImages
from interp_plugins.store.images import places
from interp_plugins.store.manifest import Member
from interp_plugins.store.surveys import SurveyFolder, SurveyManifest
from interp_plugins.store.work import Used

SHARD = 512  # forward passes between two savings, about


class Attacked(NamedTuple):
    """An adversarial set, and the clean images to go over with it."""

    records: AdversarialImages
    clean: ImageSet  # the real images, or others that the set was made from
    places: dict[int, int]  # of a clean image that was attacked: its number in the set
    spans: Sequence[int]  # the clean images to go over
    inside: bool  # whether these are the real ones

    @property
    def each(self) -> int:
        """Attacked images of a picture."""
        return self.records.set.manifest.targets


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What was loaded for a request."""

    given: Request
    model: LoadedModel
    sight: Sight
    width: int  # numbers in a representation
    real: ImageSet
    attacked: Attacked | None
    similarity: Float[Tensor, "c c"]
    manifest: SurveyManifest

    def pixels(self, source: ImageSet, numbers: Sequence[int]) -> Float[Tensor, "n c h w"]:
        """Images in [0, 1], where the network is."""
        return self.put(source.tensor(numbers))

    def put(self, pixels: Tensor) -> Tensor:
        """Bytes as numbers in [0, 1], where the network is."""
        return pixels.to(next(self.sight.network.parameters()).device).float() / 255


def load(given: Request, device: torch.device, quiet: bool) -> Inputs:
    """Load what was asked for, and look at the network once.

    Raises:
        ValueError: A setting, the model, the images or the set are not as expected, or do not belong together.
        FileNotFoundError: A file is not there.
    """
    check.one_of("--reduction", given.reduction, REDUCTIONS)
    check.one_of("--metric", given.metric, METRICS)
    check_tile(given.tile)
    real = images.load(given.data, given.size, given.labels, split=given.split)
    count = given.limit or len(real)
    if count > len(real):
        raise ValueError(f"expected --limit of at most {len(real)}, the images in {given.data}, got {count}")
    model = networks.load(given.model, device, quiet)
    if not all(given.layers.split(",")):
        raise ValueError(f"expected --layers auto, or names with commas between, got {given.layers!r}")
    example = real.tensor([0]).to(device).float() / 255
    networks.check_takes(model, example)
    representation = last_map(model.module, example) if given.representation == "auto" else given.representation
    layers = conv_layers(model.module) if given.layers == "auto" else given.layers.split(",")
    sight = Sight(
        network=for_measuring(model.module, example),
        layers=last_layers(layers, representation),
        representation=representation,
        reduction=given.reduction,  # type: ignore[arg-type]  # checked above
        tile=tile_size(given.tile, device),
    )
    seen, again = sight.look(example), sight.look(example)
    refuse_chance({**seen.scores, "the last": seen.logits}, {**again.scores, "the last": again.logits})
    number = check.logits(seen.logits, 1, "the model").shape[1]
    check.class_range(real.labels[:count], number, "labels of the real images")
    attacked = None if given.adversarial is None else _attacked(given.adversarial, real, count, number)
    names, wnids = classes.of(real, number)
    similarity = classes.similarity_of(given, names, wnids)
    if given.worker is None:
        manifest = _manifest(given, model, sight, len(layers), real, count, attacked, names)
    else:  # the process that started this one has just read every image for it
        manifest = SurveyFolder.open(given.out).manifest
    width = 0 if seen.whole is None else seen.whole[0].numel()
    return Inputs(given=given, model=model, sight=sight, width=width, real=real, attacked=attacked,
                  similarity=similarity, manifest=manifest)  # fmt: skip


def _attacked(folder: Path, real: ImageSet, count: int, number: int) -> Attacked:
    found = stored.finished(folder)
    data = found.manifest.data
    here = set(real.ids[:count])
    common = sum(name in here for name in data.ids)
    if common not in (0, len(data.ids)):
        raise ValueError(
            f"expected all or none of the {len(data.ids)} images that {folder} was made from among the {count} real "
            f"ones, got {common}; take a larger --limit, or other real images"
        )
    clean = real if common else stored.clean_images(found.manifest, None, None)
    where = places(data, clean)
    known = zip(data.ids, where, data.sha256s, strict=True)
    if changed := [name for name, place, sha256 in known if clean.sha256(place) != sha256]:
        raise ValueError(
            f"expected the images that {folder} was made from, got {len(changed)} others of the same name, the first "
            f"{changed[0]!r}; name the folder it was made from with --data"
        )
    labelled = zip(data.ids, where, data.numbers, strict=True)
    if changed := [name for name, place, label in labelled if int(clean.labels[place]) != label]:
        raise ValueError(
            f"expected the classes that {folder} was made for, got {len(changed)} images of other classes, the first "
            f"{changed[0]!r}; name the labels it was made with by --labels"
        )
    check.class_range(clean.labels[where], number, f"labels of the images of {folder}")
    shape = tuple(clean.tensor([where[0]]).shape[1:])
    if shape != found.manifest.shape:
        raise ValueError(f"expected images of {found.manifest.shape} as in {folder}, got {shape}; give the same --size")
    last = max(max(map(max, found.line(shard).targets)) for shard in range(found.manifest.shards))
    if last >= number:
        raise ValueError(f"expected targets from 0 to {number - 1}, the model's classes, got {last} in {folder}")
    spans = range(count) if common else sorted(where)
    return Attacked(AdversarialImages(found), clean, {place: i for i, place in enumerate(where)}, spans, bool(common))


def _manifest(
    given: Request,
    model: LoadedModel,
    sight: Sight,
    asked: int,
    real: ImageSet,
    count: int,
    attacked: Attacked | None,
    names: tuple[str, ...],
) -> SurveyManifest:
    content = hashlib.sha256()
    for number in range(count):
        content.update(f"{real.ids[number]} {int(real.labels[number])} {real.sha256(number)}\n".encode())
    shards = {"real": -(-count // SHARD)}
    used = None
    if attacked is not None:
        records = len(attacked.records)
        shards["attacked"] = -(-len(attacked.spans) // span(attacked))
        digest = attacked.records.set.manifest.digest
        assert digest is not None  # the set is finished
        used = Used(spec=str(given.adversarial and given.adversarial.absolute()), count=records, sha256=digest)
    return SurveyManifest(
        model=Member(name=model.name, spec=model.spec, sha256=weights.digest(model.module)),
        real=Used(
            spec=str(Path(given.data).absolute()),
            count=count,
            sha256=content.hexdigest(),
            size=given.size,
            labels=None if given.labels is None else str(Path(given.labels).absolute()),
            split=given.split,
        ),
        attacked=used,
        classes=names,
        layers=sight.layers,
        settings={
            "representation": sight.representation,
            "layers asked for": asked,
            "k": top_count(count, given.share),
            "k attacked": None if used is None else top_count(used.count, given.share),
            "reduction": given.reduction,
            "taxonomy": given.taxonomy,
            "metric": given.metric,
            "sigma": given.sigma,
            "weighted": given.weighted,
            "tile": sight.tile,
        },
        shards=shards,  # type: ignore[arg-type]  # the two phases are its keys
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("interp-plugins", "torch", "torchmetrics", "numpy")},
        },
    )


def span(attacked: Attacked) -> int:
    """Clean images of a shard of the second pass."""
    return max(1, SHARD // (1 + (0 if attacked.inside else attacked.each)))
