"""Measure a set again from the bytes on disk, and say where that differs from what the set says of itself.

No stored flag enters a number. Each shard is read, each picture goes through the original networks, each change is
measured against the clean image; then the outcome is laid beside the stored one. The only stored thing that cannot be
measured again is what the attack saw before it rounded to bytes (`fooled_before`, `steps`): it is passed on, under a
name that says so. One shard is in memory at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp_plugins.attacks.targets import mean_probabilities, parse
from interp_plugins.foundation.prepare import device_of
from interp_plugins.foundation.randomness import seeds
from interp_plugins.store.drafts import changes
from interp_plugins.store.images import Images, places
from interp_plugins.store.judging import says
from interp_plugins.store.manifest import Manifest
from interp_plugins.store.sets import AdversarialSet
from interp_plugins.store.shards import Shard

SHOWN = 10  # disagreements that are told one by one; the others are counted


@dataclass(frozen=True)
class Verification:
    """What n images with t targets each do to k members and K networks, members first; and what is wrong with the set.

    Images whose shard could not be read are left out, and their shard is among the disagreements.
    """

    names: tuple[str, ...]  # of the members
    ids: tuple[str, ...]  # of the images, n
    labels: Int[Tensor, " n"]
    targets: Int[Tensor, "n t"]
    clean_says: Int[Tensor, "n K"]  # the class each network names for the clean image
    says: Int[Tensor, "n t K"]  # and for the stored one
    fooled_before: Bool[Tensor, "n t k"]  # as the set says: only who made it saw the images before rounding
    steps: Int[Tensor, "n t"]  # likewise, the step whose image was kept
    rmse: Float[Tensor, "n t"]  # in grey levels
    linf: Int[Tensor, "n t"]  # in grey levels
    disagreements: tuple[str, ...]  # sentences, at most SHOWN
    disagreeing: int  # how many there are
    digest: str | None  # of the set, from its records as they are now; None if shards are missing

    @property
    def fooled(self) -> Bool[Tensor, "n t k"]:
        """Which members name the target."""
        return self.says[:, :, : len(self.names)] == self.targets[:, :, None]


def verify(
    adversarial: AdversarialSet,
    members: Sequence[object],
    clean: Images,
    *,
    heldout: Sequence[object] = (),
    weights: Sequence[str] = (),
    watch: Callable[[int], None] | None = None,
) -> Verification:
    """Measure a finished set again and compare.

    Args:
        adversarial: The set.
        members: The networks it was made against, in the manifest's order, as they were given and not prepared.
        clean: The images it was made from, in any order and among others.
        heldout: Networks that are only asked.
        weights: The sha256 of each member's weights, to be compared with the manifest's; none: not compared.
        watch: Called with the number of images after each shard.

    Raises:
        ValueError: The set was never finished, the members are not as many as the set's, or a clean image is missing or
            of another shape.
    """
    manifest = adversarial.manifest
    if len(members) != len(manifest.members):
        raise ValueError(f"expected the {len(manifest.members)} members of the set, got {len(members)} networks")
    if manifest.digest is None and (missing := adversarial.missing()):
        raise ValueError(
            f"expected a finished set at {adversarial.folder}, {len(missing)} of its {manifest.shards} shards are "
            "missing; run the same command again with --resume"
        )
    where = places(manifest.data, clean)
    differences = _Differences()
    for member, sha256 in zip(manifest.members, weights, strict=bool(weights)):
        if member.sha256 != sha256:
            differences.add(
                f"the weights of {member.name} are others: {member.sha256[:12]} in the set, {sha256[:12]} here"
            )
    parts = [_empty(manifest, len(members) + len(heldout))]
    ids: list[str] = []
    for number in range(manifest.shards):
        span = manifest.span(number)
        origin = _clean(manifest, clean, {i: where[i] for i in span}, differences)
        if (shard := _read(adversarial, number, differences)) is not None:
            ids.extend(shard.ids)
            parts.append(_measure(shard, origin, (*members, *heldout), manifest.layout.tile))
            _compare(shard, parts[-1], _chosen(manifest, members, shard, origin), manifest, differences)
        if watch:
            watch(len(span))
    digest = None if adversarial.missing() else adversarial.digest()
    if digest != manifest.digest:
        differences.add(f"the set's digest is {manifest.digest} in its manifest, {digest} by its records")
    return Verification(
        names=tuple(member.name for member in manifest.members),
        ids=tuple(ids),
        **_Measured(*(torch.cat(share) for share in zip(*parts, strict=True)))._asdict(),
        disagreements=tuple(differences.told),
        disagreeing=differences.number,
        digest=digest,
    )


@dataclass
class _Differences:
    """The first few as sentences, all of them as a number."""

    told: list[str] = field(default_factory=list)
    number: int = 0

    def add(self, sentence: str) -> None:
        self.number += 1
        if len(self.told) < SHOWN:
            self.told.append(sentence)


class _Measured(NamedTuple):
    """One shard's share of a Verification, field by field."""

    labels: Tensor
    targets: Tensor
    clean_says: Tensor
    says: Tensor
    fooled_before: Tensor
    steps: Tensor
    rmse: Tensor
    linf: Tensor


def _measure(shard: Shard, origin: Tensor, networks: Sequence[object], tile: int) -> _Measured:
    rmse, linf = changes(shard.images, origin)
    said = says(networks, shard.images.flatten(0, 1), tile).unflatten(0, shard.targets.shape)
    return _Measured(
        labels=shard.labels,
        targets=shard.targets,
        clean_says=says(networks, origin, tile),
        says=said,
        fooled_before=shard.fooled_before,
        steps=shard.steps,
        rmse=torch.tensor(rmse, dtype=torch.float64),
        linf=torch.tensor(linf),
    )


def _compare(shard: Shard, found: _Measured, chosen: Tensor, manifest: Manifest, differences: _Differences) -> None:
    """Lay a shard's own statements beside what was measured."""
    numbers = torch.tensor([manifest.data.numbers[i] for i in manifest.span(shard.number)])
    for i in (shard.labels != numbers).nonzero().flatten().tolist():
        differences.add(f"{shard.ids[i]}: label {shard.labels[i]} in the shard, {numbers[i]} in the manifest")
    k = len(manifest.members)
    fooled = found.says[:, :, :k] == shard.targets[:, :, None]
    for i, j, member in (fooled != shard.fooled).nonzero().tolist():
        name, said = manifest.members[member].name, int(found.says[i, j, member])
        claim = "fooled" if shard.fooled[i, j, member] else "not fooled"
        differences.add(
            f"{shard.ids[i]}, target {int(shard.targets[i, j])}: {name} stands there as {claim} and says {said}"
        )
    for what, stored, measured in (
        ("target", shard.targets, chosen),
        ("linf", shard.linf, found.linf),
        ("rmse", shard.rmse, found.rmse),
    ):
        for i, j in (stored != measured.to(stored.dtype)).nonzero().tolist():
            differences.add(
                f"{shard.ids[i]}, target number {j}: {what} {stored[i, j].item():g} stored, "
                f"{measured[i, j].item():g} measured"
            )


def _chosen(manifest: Manifest, members: Sequence[object], shard: Shard, origin: Tensor) -> Tensor:
    """The targets that the set's policy chooses; those of the shard where the policy has no name."""
    if (named := manifest.settings.get("targets")) is None:
        return shard.targets
    device = device_of(members, origin.device)
    probabilities = mean_probabilities(members, origin.to(device).float() / 255, manifest.layout.tile)
    labels = torch.tensor([manifest.data.numbers[i] for i in manifest.span(shard.number)], device=device)
    return parse(str(named))(probabilities, labels, seeds(manifest.seed, shard.ids, len(shard.ids))).cpu()


def _clean(manifest: Manifest, clean: Images, where: Mapping[int, int], differences: _Differences) -> Tensor:
    """The clean images of a shard, (n, c, h, w), compared with what the manifest knows of them."""
    data = manifest.data
    for i, place in where.items():
        if (sha256 := clean.sha256(place)) != data.sha256s[i]:
            differences.add(
                f"{data.ids[i]}: the clean image is another, {data.sha256s[i][:12]} in the set, {sha256[:12]} here"
            )
        if (label := int(clean.labels[place])) != data.numbers[i]:
            differences.add(f"{data.ids[i]}: label {data.numbers[i]} in the set, {label} beside the clean image")
    images = clean.tensor(where.values())
    if tuple(images.shape[1:]) != manifest.shape:
        raise ValueError(f"expected clean images of shape {manifest.shape}, got {tuple(images.shape[1:])}")
    return images


def _read(adversarial: AdversarialSet, number: int, differences: _Differences) -> Shard | None:
    """A shard; one that is not as it was written is told of, and measured all the same if there is anything to read."""
    try:
        return adversarial.read(number)
    except (ValueError, FileNotFoundError) as error:
        differences.add(str(error))
    try:
        return adversarial.read(number, deep=False)
    except (ValueError, FileNotFoundError):
        return None


def _empty(manifest: Manifest, networks: int) -> _Measured:
    """No images, so that a set of which nothing can be read is measured as any other."""
    t, k = manifest.targets, len(manifest.members)
    whole = torch.int64
    return _Measured(
        labels=torch.empty(0, dtype=whole),
        targets=torch.empty(0, t, dtype=whole),
        clean_says=torch.empty(0, networks, dtype=whole),
        says=torch.empty(0, t, networks, dtype=whole),
        fooled_before=torch.empty(0, t, k, dtype=torch.bool),
        steps=torch.empty(0, t, dtype=whole),
        rmse=torch.empty(0, t, dtype=torch.float64),
        linf=torch.empty(0, t, dtype=whole),
    )
