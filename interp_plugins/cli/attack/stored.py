"""What a finished set is made of, found again: the set, its clean images, its networks."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from interp_plugins.cli.attack.request import Request
from interp_plugins.sources import images, models
from interp_plugins.sources.images import ImageSet
from interp_plugins.sources.models import LoadedModel
from interp_plugins.store.manifest import Manifest
from interp_plugins.store.sets import AdversarialSet


def finished(folder: Path) -> AdversarialSet:
    """Open a set that was finished once, whatever happened to it since.

    Raises:
        ValueError: It is no set, or was never finished; the command that goes on with it is told.
        FileNotFoundError: There is no such folder.
    """
    found = AdversarialSet.open(folder)
    if found.manifest.digest is None:
        missing, shards = len(found.missing()), found.manifest.shards
        raise ValueError(f"{folder} is not finished, {missing} of {shards} shards are missing; type {to_resume(found)}")
    return found


def to_resume(unfinished: AdversarialSet) -> str:
    """The command that goes on with a set, from its manifest alone."""
    manifest = unfinished.manifest
    options = {name: value for name, value in manifest.settings.items() if name in Request.__dataclass_fields__}
    for name in ("step_size", "epsilon"):
        options[name] = None if manifest.settings.get(name) is None else str(manifest.settings[name])
    return Request(
        **{
            **options,
            "model": [member.spec for member in manifest.members],
            "data": manifest.data.spec,
            "out": unfinished.folder,
            "size": manifest.data.size,
            "labels": manifest.data.labels,
            "limit": len(manifest.data.ids),
            "seed": manifest.seed,
            "tile": manifest.layout.tile,
            "device": manifest.layout.device,
            "precision": manifest.layout.precision,
        }  # type: ignore[arg-type]  # a manifest's settings are those that a request made
    ).to_resume()


def clean_images(manifest: Manifest, data: str | None, labels: str | None) -> ImageSet:
    """The images a set was made from, where they lay then or where they lie now.

    Raises:
        FileNotFoundError: They are there no longer.
        ValueError: There is something else.
    """
    where = Path(data or manifest.data.spec)
    table = labels or (None if data else manifest.data.labels)
    if not where.exists():
        raise FileNotFoundError(
            f"no images at {where}" + ("" if data else ", where they lay when the set was made; name them with --data")
        )
    return images.load(where, manifest.data.size, table)


def networks(manifest: Manifest, heldout: Sequence[str], device: torch.device) -> list[LoadedModel]:
    """The members of a set and then networks that are only asked.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A spec cannot be read, or the weights do not fit.
    """
    try:
        members = [models.load(member.spec, device) for member in manifest.members]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; the set's networks are named as they were typed, so type this where the set was made"
        ) from error
    return [*members, *(models.load(spec, device) for spec in heldout)]


def names(manifest: Manifest, heldout: Sequence[LoadedModel]) -> list[str]:
    """One name for each network, members first, no two alike."""
    found = [member.name for member in manifest.members]
    for network in heldout:
        name, number = network.name, 2
        while name in found:
            name, number = f"{network.name} ({number})", number + 1
        found.append(name)
    return found


def device(manifest: Manifest) -> torch.device:
    """Where the set was made, if this machine has such a device; one thread, because verdicts are promised for one."""
    torch.set_num_threads(1)
    if manifest.layout.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("the set was made on a GPU; without one here, a verdict on the edge may come out otherwise\n")
        return torch.device("cpu")
    return torch.device(manifest.layout.device)
