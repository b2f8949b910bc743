"""Make the shards of a set: attack, round, refine what rounding broke, write, and judge what was written.

A shard depends on its images and the manifest alone, so it does not matter who makes it, when, or after how many
interruptions. Networks are prepared once for all shards. When memory runs out, fewer tiles are held at once; the tile
itself never changes, because it decides the bits.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.ensemble import Step
from interp_plugins.attacks.lattice import LatticeRefinement, to_bytes
from interp_plugins.attacks.targets import TargetPolicy
from interp_plugins.foundation.prepare import Prepared, device_of, prepare
from interp_plugins.store.drafts import ShardDraft
from interp_plugins.store.images import Images, places
from interp_plugins.store.judging import says
from interp_plugins.store.sets import AdversarialSet

Watch = Callable[[int, int], None]


@dataclass
class Generator:
    """Whoever makes shards of one set in this process.

    Args:
        target_set: Where they go, and the manifest that says what they are.
        classifiers: The members, on the device they are to run on, or what `prepare` made of them; their originals are
            the judges of what was written, too.
        images: The clean images, those of the manifest and perhaps others.
        method: The attack, with the manifest's tile.
        policy: Which classes each image is to be taken for.
        refinement: What mends records that rounding broke; None leaves them.
        held: Tiles of images attacked at once; memory, not the result, depends on it. Falls when memory runs out.

    Raises:
        ValueError: Images of the set are missing, or the attack has another tile than the manifest.
    """

    target_set: AdversarialSet
    classifiers: Sequence[nn.Module | Prepared]
    images: Images
    method: EnsembleOptimization
    policy: TargetPolicy
    refinement: LatticeRefinement | None = None
    held: int = 1
    _places: list[int] = field(init=False, repr=False)
    _members: list[Prepared] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        manifest = self.target_set.manifest
        if self.method.tile != manifest.layout.tile:
            raise ValueError(f"expected an attack in tiles of {manifest.layout.tile} rows, got {self.method.tile}")
        if self.held < 1:
            raise ValueError(f"expected at least 1 tile to be held, got {self.held}")
        self._places = places(manifest.data, self.images)

    def make(self, numbers: Iterable[int], watch: Watch = lambda number, done: None) -> None:
        """Make shards one after the other; each is on disk before the next begins.

        Args:
            numbers: Which shards.
            watch: Called with a shard's number and how many of its records have been attacked so far, tile by tile.

        Raises:
            ValueError: An image has changed since the manifest was written, or cannot be attacked.
            MemoryError: Not even one tile fits into memory.
            OSError: The shard could not be written; those before it are safe.
        """
        for number in numbers:
            self.target_set.write(number, self._draft(number, watch), self._judge)

    def _draft(self, number: int, watch: Watch) -> ShardDraft:
        """The shard before it is written: attacked and rounded, piece by piece."""
        manifest = self.target_set.manifest
        span = manifest.span(number)
        origin, labels = self._clean(span), torch.tensor([manifest.data.numbers[i] for i in span])
        ids = tuple(manifest.data.ids[i] for i in span)
        pieces: list[_Piece] = []
        done = 0
        while done < len(span):
            part = slice(done, done + self.held * manifest.layout.tile)
            tell = _Tell(watch, number, done * manifest.targets, len(ids[part]) * manifest.targets)
            piece = self._within_memory(origin[part], labels[part], ids[part], tell)
            if piece is not None:
                pieces.append(piece)
                done += len(piece.targets)
        whole = _Piece(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))
        return ShardDraft(ids=ids, labels=labels, origin=origin, **whole._asdict())

    def _clean(self, span: range) -> Tensor:
        """The clean images, which must be those of the manifest."""
        manifest = self.target_set.manifest
        for i in span:
            if (found := self.images.sha256(self._places[i])) != manifest.data.sha256s[i]:
                raise ValueError(
                    f"the image {manifest.data.ids[i]!r} has changed since the set was begun: expected sha256 "
                    f"{manifest.data.sha256s[i][:12]}, got {found[:12]}; bring the old one back, or begin another set"
                )
        images = self.images.tensor([self._places[i] for i in span])
        if tuple(images.shape[1:]) != manifest.shape:
            raise ValueError(f"expected images of shape {manifest.shape}, got {tuple(images.shape[1:])}")
        return images

    def _within_memory(self, origin: Tensor, labels: Tensor, ids: Sequence[str], tell: "_Tell") -> "_Piece | None":
        """The attacked images; None, and fewer tiles to be held from now on, where memory ran out."""
        try:
            return self._attack(origin, labels, ids, tell)
        except (RuntimeError, MemoryError) as error:
            if not _memory_ran_out(error):
                raise
            tiles = -(-len(ids) // self.target_set.manifest.layout.tile)
            if tiles == 1:
                raise MemoryError(
                    f"one tile of {self.method.tile} rows does not fit into memory ({str(error).splitlines()[0]}); "
                    "free some, or begin another set with a smaller --tile, because a set has one throughout"
                ) from error
        self.held = tiles // 2  # out here, where the error no longer holds what did not fit
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return None

    def _attack(self, origin: Tensor, labels: Tensor, ids: Sequence[str], tell: "_Tell") -> "_Piece":
        clean = origin.float() / 255
        found = self.method.run(
            self._prepared(clean),
            clean,
            self.policy,
            labels=labels,
            seed=self.target_set.manifest.seed,
            ids=ids,
            watch=lambda step: tell(step) if step.step == self.method.steps else None,
        )
        centres = origin.repeat_interleave(found.targets.shape[1], 0)
        levels = to_bytes(found.images.flatten(0, 1), centres, self.method.epsilon, self.method.norm)
        if self.refinement is not None:
            levels = self._mend(levels, centres, found.targets.flatten(), found.fooled.flatten(0, 1), self.refinement)
        return _Piece(
            targets=found.targets,
            images=levels.unflatten(0, found.targets.shape),
            fooled_before=found.fooled,
            steps=found.steps,
            gradient_norms=found.gradient_norms,
        )

    def _mend(
        self, levels: Tensor, origin: Tensor, targets: Tensor, fooled: Tensor, refinement: LatticeRefinement
    ) -> Tensor:
        """The same records (n, c, h, w), those refined that fooled a member before rounding and no longer do."""
        broken = (fooled & ~self._fooled(levels, targets)).any(1)
        if broken.any():
            levels[broken] = refinement(self._members, levels[broken], origin[broken], targets[broken])
        return levels

    def _prepared(self, clean: Tensor) -> list[Prepared]:
        if not self._members:
            example = clean[:1].to(device_of(self.classifiers, clean.device))
            self._members = [prepare(each, example, self.method.precision) for each in self.classifiers]
        return self._members

    def _judge(self, images: Tensor, targets: Tensor) -> Tensor:
        """Which members stored images (n, t, c, h, w) fool: (n, t, k)."""
        fooled: Tensor = self._fooled(images.flatten(0, 1), targets.flatten()).unflatten(0, targets.shape)
        return fooled

    def _fooled(self, levels: Tensor, targets: Tensor) -> Tensor:
        return says(self.classifiers, levels, self.target_set.manifest.layout.tile) == targets[:, None]


class _Piece(NamedTuple):
    """What came of some images: targets and steps (n, t), images uint8 (n, t, c, h, w), the others (n, t, k)."""

    targets: Tensor
    images: Tensor
    fooled_before: Tensor
    steps: Tensor
    gradient_norms: Tensor


@dataclass
class _Tell:
    """Counts finished tiles; the rows that fill the last one up are no records."""

    watch: Watch
    number: int
    before: int  # records of the shard in earlier pieces
    records: int  # of this piece
    done: int = 0

    def __call__(self, step: Step) -> None:
        self.done = min(self.done + len(step.targets), self.records)
        self.watch(self.number, self.before + self.done)


def _memory_ran_out(error: BaseException) -> bool:
    """Whether torch, on a GPU or a CPU, or Python could not get the memory that it asked for."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
