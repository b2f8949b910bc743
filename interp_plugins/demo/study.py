"""The study itself: draw a world, train four networks, attack three of them at once, ask all four.

Everything is judged on bytes, as a picture that is saved and opened again: the adversarial images are rounded to 256
levels first, then each network is asked. The fourth network is trained like the others and never attacked; it sees the
same adversarial images, and, as a control, the same changes mirrored left to right, which are as large but not aimed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.demo.hosts import HostRun, compare
from interp_plugins.demo.work import Job, Numbers, Pictures, Recipe, Workers, attack, draw, learn, workers
from interp_plugins.foundation.tiles import fill, spans
from interp_plugins.sources import scenes

Probabilities = NDArray[np.float32]
Watch = Callable[[str, float], None]  # told what is being done, and which share of it (0 to 1) is done


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the numbers. The defaults take about two minutes of processor time."""

    seed: int = 0
    size: int = 64  # of the pictures, in pixels
    training: int = 2000  # pictures to learn from
    held_out: int = 400  # pictures that tell the accuracy
    attacked: int = 48  # the first so many held-out pictures
    targets: int = 10  # least likely classes an image is attacked towards
    depths: tuple[int, ...] = (4, 8, 12)  # of the networks that are attacked
    witness: int = 16  # depth of the one that is not
    width: int = 16  # channels of the first stage
    epochs: int = 8
    steps: int = 20  # of the attack
    # These networks live with grain and need large changes; smaller steps and a dearer distance than the attack's own
    # defaults make them half as large, and cost next to no success.
    step_size: float = 2 / 255
    distance_weight: float = 0.1
    tile: int = 16  # rows a network call
    part: int = 8  # pictures a process attacks at a time

    def method(self) -> EnsembleOptimization:
        """Return the attack."""
        return EnsembleOptimization(
            steps=self.steps, step_size=self.step_size, distance_weight=self.distance_weight, tile=self.tile
        )


@dataclass(frozen=True)
class Network:
    """A trained network, and how well it does on pictures it has not seen."""

    recipe: Recipe
    weights: bytes  # a safetensors file
    training_accuracy: float
    right: int  # held-out pictures it names rightly
    attacked: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return f"depth {self.recipe.depth}"

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return hashlib.sha256(self.weights).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """All that happened, for n images, t targets, m networks (the attacked ones first, the witness last), k classes."""

    settings: Settings
    classes: tuple[str, ...]
    networks: tuple[Network, ...]
    images: Pictures  # (n, 3, h, w)
    labels: Numbers  # (n,)
    ids: tuple[str, ...]
    targets: Numbers  # (n, t)
    adversarial: Pictures  # (n, t, 3, h, w)
    clean_says: Probabilities  # (n, m, k)
    says: Probabilities  # (n, t, m, k)
    control_says: Probabilities  # (n, t, k), the witness on the mirrored changes
    hosts: tuple[HostRun, ...]
    inputs: tuple[tuple[str, str], ...]  # what went in: name, sha256
    threads: int  # a process

    @property
    def right_when_clean(self) -> NDArray[np.bool_]:
        """Which images all attacked networks name rightly before the attack, (n,)."""
        return np.asarray((self.clean_says[:, :-1].argmax(2) == self.labels[:, None]).all(1))

    @property
    def fooled(self) -> NDArray[np.bool_]:
        """Which networks say the target, (n, t, m)."""
        return np.asarray(self.says.argmax(3) == self.targets[:, :, None])

    @property
    def all_fooled(self) -> NDArray[np.bool_]:
        """Which attacks fool all attacked networks at once, (n, t)."""
        return np.asarray(np.logical_and.reduce(self.fooled[:, :, :-1], axis=2))

    @property
    def rmse(self) -> NDArray[np.float64]:
        """Root of the mean squared change of a byte, (n, t), in grey levels."""
        change = self.adversarial.astype(np.float64) - self.images[:, None]
        return np.asarray(np.sqrt((change**2).mean(axis=(2, 3, 4))))

    @property
    def linf(self) -> NDArray[np.int64]:
        """Largest change of a byte, (n, t), in grey levels."""
        change = self.adversarial.astype(np.int64) - self.images[:, None]
        return np.asarray(np.abs(change).max(axis=(2, 3, 4)))


def run(settings: Settings, *, processes: int = 1, watch: Watch | None = None) -> Outcome:
    """Run the study.

    Args:
        settings: What decides the numbers.
        processes: How many to start for the long parts, one thread each; 1 works in this process. The numbers are the
            same for any, if this process has one thread too.
        watch: Told how far the work is.
    """
    watch = watch or (lambda doing, share: None)
    names = scenes.draw(1, 16).classes
    total = settings.training + settings.held_out
    with workers(processes) as work:
        images, labels = _draw(settings, total, work, watch)
        learned = images[: settings.training], labels[: settings.training]
        unseen = images[settings.training :], labels[settings.training :]
        networks = _train(settings, len(names), learned, unseen, work, watch)
        chosen, truth = unseen[0][: settings.attacked], unseen[1][: settings.attacked]
        adversarial, targets = _attack(settings, networks[:-1], chosen, truth, work, watch)
    models = [network.recipe.build(network.weights) for network in networks]
    watch("asking the networks", 0.0)
    clean = np.stack([ask(model, chosen, settings.tile) for model in models], 1)
    says = np.stack([ask(model, adversarial, settings.tile) for model in models], 2)
    control = ask(models[-1], mirrored_change(chosen, adversarial), settings.tile)
    watch("asking the networks", 1.0)
    watch("comparing the hosts", 0.0)
    hosts = compare(settings.method(), models[:-1], chosen[: settings.part], targets[: settings.part, 0], len(names))
    watch("comparing the hosts", 1.0)
    inputs = [("training images", _digest(*learned)), ("held-out images", _digest(*unseen))]
    return Outcome(
        settings=settings,
        classes=names,
        networks=networks,
        images=chosen,
        labels=truth,
        ids=tuple(f"scenes/{settings.seed}/{settings.training + i}" for i in range(len(chosen))),
        targets=targets,
        adversarial=adversarial,
        clean_says=clean,
        says=says,
        control_says=control,
        hosts=hosts,
        inputs=(*inputs, *((f"network of {network.name}", network.sha256) for network in networks)),
        threads=torch.get_num_threads() if processes == 1 else 1,
    )


def ask(model: nn.Module, images: Pictures, tile: int) -> Probabilities:
    """Return a network's probabilities for byte images: (..., 3, h, w) to (..., k)."""
    flat = torch.from_numpy(images.reshape(-1, *images.shape[-3:]))
    with torch.no_grad():
        parts = [
            model(fill(flat[span], tile).float() / 255)[: span.stop - span.start].softmax(1)
            for span in spans(len(flat), tile)
        ]
    return np.asarray(torch.cat(parts).unflatten(0, images.shape[:-3]).numpy())


def mirrored_change(images: Pictures, adversarial: Pictures) -> Pictures:
    """Add each change to its image mirrored left to right: as large, but aimed at nothing."""
    change = adversarial.astype(np.int16) - images[:, None]
    return (images[:, None] + change[..., ::-1]).clip(0, 255).astype(np.uint8)


def _draw(settings: Settings, total: int, work: Workers, watch: Watch) -> tuple[Pictures, Numbers]:
    starts = range(0, total, 200)
    jobs: list[Job] = [(draw, (min(200, total - at), settings.size, settings.seed, at)) for at in starts]
    parts = _collect(work, jobs, [1.0] * len(jobs), "drawing the world", watch)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _train(
    settings: Settings,
    classes: int,
    learned: tuple[Pictures, Numbers],
    unseen: tuple[Pictures, Numbers],
    work: Workers,
    watch: Watch,
) -> tuple[Network, ...]:
    recipes = [
        Recipe(depth, settings.width, classes, settings.epochs, settings.seed)
        for depth in (*settings.depths, settings.witness)
    ]
    # The deepest first: the processes then finish at about the same time.
    order = sorted(range(len(recipes)), key=lambda i: -recipes[i].depth)
    jobs: list[Job] = [(learn, (recipes[i], *learned)) for i in order]
    trained = _collect(work, jobs, [recipes[i].depth for i in order], "training four networks", watch)
    networks = []
    for i, recipe in enumerate(recipes):
        weights, training_accuracy = trained[order.index(i)]
        says = ask(recipe.build(weights), unseen[0], settings.tile).argmax(1)
        right = int((says == unseen[1]).sum())
        networks.append(Network(recipe, weights, training_accuracy, right, i < len(settings.depths)))
    return tuple(networks)


def _attack(
    settings: Settings,
    members: Sequence[Network],
    images: Pictures,
    labels: Numbers,
    work: Workers,
    watch: Watch,
) -> tuple[Pictures, Numbers]:
    fixed = (settings.method(), settings.targets, [(member.recipe, member.weights) for member in members])
    parts = list(spans(len(images), settings.part))
    jobs: list[Job] = [(attack, (*fixed, images[part], labels[part])) for part in parts]
    doing = f"attacking {len(images)} images with {settings.targets} targets each"
    found = _collect(work, jobs, [1.0] * len(jobs), doing, watch)
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])


def _collect(work: Workers, jobs: Sequence[Job], sizes: Sequence[float], doing: str, watch: Watch) -> list[Any]:
    """Do the jobs and return their results in their order, telling how much of the work is done."""
    results: list[Any] = [None] * len(jobs)
    done = 0.0
    watch(doing, 0.0)
    for number, result in work(jobs):
        results[number] = result
        done += sizes[number] / sum(sizes)
        watch(doing, min(done, 1.0))
    return results


def _digest(images: Pictures, labels: Numbers) -> str:
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
