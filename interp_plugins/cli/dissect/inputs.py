"""What a dissection is made from: a network, labelled images, an attack; and the manifest that says so."""

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from interp_plugins.cli import networks
from interp_plugins.cli.attack import stored
from interp_plugins.cli.dissect.ahead import Ahead
from interp_plugins.cli.dissect.attacks import Spec, attack_of
from interp_plugins.cli.dissect.request import Request
from interp_plugins.dissection.dissection import ATTACKED, CLEAN, Attack, NetworkDissection
from interp_plugins.dissection.memory import memory
from interp_plugins.dissection.passes import Key, Sight
from interp_plugins.dissection.ranks import above
from interp_plugins.foundation.measuring import for_measuring, last_map, levels
from interp_plugins.foundation.tiles import check_tile, tile_size
from interp_plugins.neurons.exemplars import refuse_chance
from interp_plugins.sources import weights
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.sources.marked import MarkedImages
from interp_plugins.sources.models import LoadedModel
from interp_plugins.store.dissections import DissectionFolder, DissectionManifest, Phase
from interp_plugins.store.manifest import Member
from interp_plugins.store.work import Used

SHARD = 64  # images in memory together, and between two savings
MOST = 2 * 2**30  # bytes that a process may keep of the maps
CELLS = 4 * 24  # bytes of the cells around a place that is lit, at most
TOP = 16  # images of each unit that are kept to be drawn


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network before labelled images, clean and attacked."""

    model: LoadedModel
    sight: Sight
    images: MarkedImages
    attack: Attack | None
    device: torch.device

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which kinds of images there are."""
        return (CLEAN,) if self.attack is None else (CLEAN, ATTACKED)

    @property
    def keys(self) -> list[Key]:
        """Each kind with each layer."""
        return [(kind, layer) for kind in self.kinds for layer in self.sight.layers]

    def pixels(self, kind: str, numbers: Sequence[int]) -> Float[Tensor, "n 3 h w"]:
        """Images in [0, 1], where the network is."""
        clean = levels(self.images.tensor(numbers), self.device)
        if kind == CLEAN or self.attack is None:
            return clean
        return self.attack(clean, torch.tensor(numbers))

    def sha256s(self) -> UInt8[Tensor, "n 32"]:
        """Of each image, one sha256 of its file and its labels."""
        return torch.stack([self.sha256(number) for number in range(len(self.images))])

    def sha256(self, number: int) -> UInt8[Tensor, " 32"]:
        """Of one image, one sha256 of its file and its labels."""
        text = f"{self.images.ids[number]} {self.images.sha256(number)} {self.images.labels_sha256(number)}"
        return torch.frombuffer(bytearray(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Inputs(Subject):
    """What was loaded for a request."""

    given: Request
    shapes: dict[str, tuple[int, int, int]]  # units, height and width of each layer's maps
    method: NetworkDissection
    digests: Tensor  # uint8 (n, 32), of each image and its labels
    manifest: DissectionManifest
    ahead: Ahead

    def numbers(self, shard: int) -> range:
        """The images of a shard."""
        return range(shard * SHARD, min((shard + 1) * SHARD, len(self.images)))

    def expect(self, shards: Sequence[int]) -> None:
        """Announce the shards whose images will be asked for, in this order."""
        self.ahead.expect([self.numbers(shard) for shard in shards])

    def shard(self, shard: int) -> Iterator[tuple[str, Float[Tensor, "n 3 h w"], Int64[Tensor, " n"]]]:
        """The images of a shard, those of each kind with their numbers, the clean ones first."""
        ids, pixels = torch.tensor(self.numbers(shard)), self.ahead.tensor(self.numbers(shard))
        clean = levels(pixels, self.device)
        yield CLEAN, clean, ids
        if self.attack is not None:
            yield ATTACKED, self.attack(clean, ids), ids


def load(given: Request, device: torch.device, quiet: bool) -> Inputs:
    """Load what was asked for, and look at the network once.

    Raises:
        LayerNotReached: A layer did not run.
        TypeError: A layer put out something other than a tensor.
        ValueError: A setting, the model, the images or the set are not as expected, or do not belong together.
        FileNotFoundError: A file is not there.
    """
    method, spec = given.method(), None if given.attack is None else Spec.read(given.attack)
    check_tile(given.tile)
    images = open_labelled(given.data, split(given.categories, "categories"), size=given.size, limit=given.limit)
    if spec is not None and given.draws and len(images) < 2:
        raise ValueError(f"expected at least 2 images to draw from, got {len(images)}; take more, or --draws 0")
    found = subject(networks.load(given.model, device, quiet), images, given.layers, spec, given.tile, device)
    shapes = _looked_at(found.sight, found.pixels(CLEAN, [0]))
    for units, height, width in shapes.values():  # what is out of range is told before the work
        above(given.share, len(images) * height * width)
        method.overlaps(units, images, attacked=spec is not None)
    if given.worker is None:
        digests = found.sha256s()
        manifest = _manifest(given, found, shapes, spec, digests)
    else:  # the process that started this one has just read every image for it
        digests, manifest = torch.empty(0, 32, dtype=torch.uint8), DissectionFolder.open(given.out).manifest
    return Inputs(
        **{field.name: getattr(found, field.name) for field in fields(found)},
        given=given, shapes=shapes, method=method, digests=digests, manifest=manifest,
        ahead=Ahead(images, device),
    )  # fmt: skip


def subject(
    model: LoadedModel, images: MarkedImages, layers: str, attack: Spec | None, tile: int | None, device: torch.device
) -> Subject:
    """A network before images; arguments as the options of `dissect run`.

    Raises:
        ValueError: The network does not take the images or cannot be attacked, or layers are named twice.
        FileNotFoundError: There is no such set.
    """
    example = levels(images.tensor([0]), device)
    networks.check_takes(model, example)
    names = split(layers, "layers") or ()
    if len(set(names)) < len(names):
        raise ValueError(f"expected the names of different layers, got {layers!r}")
    if layers == "auto":
        names = (last_map(model.module, example),)
    rows = tile_size(tile, device)
    sight = Sight(network=for_measuring(model.module, example), layers=names, tile=rows)
    made = None if attack is None else attack_of(attack, model.module, images, rows)
    return Subject(model=model, sight=sight, images=images, attack=made, device=device)


def split(words: str | None, option: str) -> tuple[str, ...] | None:
    """The names in NAME,NAME.

    Raises:
        ValueError: One of them is empty.
    """
    if words is None:
        return None
    names = tuple(word.strip() for word in words.split(","))
    if not all(names):
        raise ValueError(f"expected --{option} as names with commas between, got {words!r}")
    return names


def phases(given: Request, shapes: dict[str, tuple[int, int, int]], images: int, kinds: int) -> tuple[Phase, ...]:
    """Look once where what has to be kept fits into memory, and otherwise count twice before."""
    kept = 0
    for units, height, width in shapes.values():
        positions = images * height * width
        kept += kinds * memory(units, positions, given.share, given.quantile).largest  # type: ignore[arg-type]
        kept += kinds * units * above(given.share, positions) * CELLS
    return ("look", "tally") if kept <= MOST else ("coarse", "fine", "tally")


def _looked_at(sight: Sight, example: Float[Tensor, "1 3 h w"]) -> dict[str, tuple[int, int, int]]:
    """The shapes of all maps, from a network that answers an image in one way."""
    first, again = (next(sight.maps(example))[1] for _ in range(2))
    refuse_chance(*({layer: maps.amax((2, 3)) for layer, maps in each.items()} for each in (first, again)))
    return {layer: (maps.shape[1], maps.shape[2], maps.shape[3]) for layer, maps in first.items()}


def _manifest(
    given: Request, found: Subject, shapes: dict[str, tuple[int, int, int]], attack: Spec | None, digests: Tensor
) -> DissectionManifest:
    images, data = found.images, hashlib.sha256(digests.numpy().tobytes())
    data.update(repr(images.vocabulary.concepts).encode())
    attacked = None
    if attack is not None and attack.kind == "set":
        made = stored.finished(attack.folder).manifest
        attacked = Used(spec=str(attack.folder), count=len(images), sha256=str(made.digest))
    shards = -(-len(images) // SHARD)
    return DissectionManifest(
        model=Member(name=found.model.name, spec=found.model.spec, sha256=weights.digest(found.model.module)),
        data=Used(spec=str(Path(given.data).absolute()), count=len(images), sha256=data.hexdigest(), size=given.size),
        attack=given.attack,
        attacked=attacked,
        layers=found.sight.layers,
        settings={
            "categories": list(images.vocabulary.categories),
            "share": given.share,
            "quantile": given.quantile,
            "union": given.union,
            "threshold": given.threshold,
            "detector": given.detector,
            "permutations": given.permutations,
            "draws": given.draws,
            "seed": given.seed,
            "tile": found.sight.tile,
        },
        shards=dict.fromkeys(phases(given, shapes, len(images), len(found.kinds)), shards),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("interp-plugins", "torch", "torchmetrics", "numpy")},
        },
    )
