"""The demo's fourth long job: one of its networks learns for longer, in three ways, and is looked into after each.

as before           clean pictures alone
consistent loss     clean pictures and pictures one step of FGSM away; what the last convolution sees in both is
                    brought together pair by pair (Dong et al., arXiv:1901.09035)
adapted domains     the same pictures; the covariances and means of what it sees are brought together (Song et al.,
                    arXiv:1810.00740, on a layer of features as in Xie's report)

All three begin with the same weights and see the same pictures equally often, so what differs is what they were asked.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from interp_plugins.attacks import PredictedLabelFGSM
from interp_plugins.demo.folder import Folder, Recipe
from interp_plugins.demo.networks import Convolution, ResidualNetwork
from interp_plugins.dissection.dissection import NetworkDissection
from interp_plugins.neurons.averages import Average, average
from interp_plugins.neurons.survey import survey_of
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.training import Accuracy, ConsistentLoss, Coral, MeanDifference, Mixed, Term, Trainer
from interp_plugins.training.evaluation import accuracies

BATCH = 32
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
RATIOS = ("r1", "r2")
AS_BEFORE = "as before"
CONSISTENT = "consistent loss"
ADAPTED = "adapted domains"


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the three have in common.

    Args:
        epochs: How often each picture is seen.
        rate: Of learning.
        epsilon: Of the step of FGSM, in training and in judging.
        tile: Rows a network call.
        share: Of the pictures that stand for a unit.
        seed: Of the order of the pictures.
    """

    epochs: int
    rate: float
    epsilon: float
    tile: int
    share: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Pupil:
    """A network after its lesson; all that is said of units is of those of the last convolution."""

    remedy: str
    clean: Accuracy  # on held-out pictures
    adversarial: Accuracy  # on the same, one step of FGSM away
    means: dict[str, Average]  # LC (corrected), LC of attacked pictures, CS1, CS2, r1 and r2
    detectors: tuple[int, int]  # units that detect a concept, clean and attacked
    unique: tuple[int, int]  # concepts they detect


def teach(
    remedy: str,
    folder: Folder,
    recipe: Recipe,
    lesson: Lesson,
    learned: Labelled,
    unseen: Labelled,
    adversarial: Labelled,
    similarity: Float[Tensor, "c c"],
) -> Pupil:
    """Teach the network of a recipe for longer, and look into it.

    Args:
        remedy: `AS_BEFORE`, `CONSISTENT` or `ADAPTED`.
        folder: Where its weights are, which stay, and the labelled pictures.
        recipe: The network's.
        lesson: What the three have in common.
        learned: Byte pictures (n, 3, h, w) and their classes.
        unseen: The same, held out.
        adversarial: The set's pictures (m, t, 3, h, w), of the first m held-out ones, and their targets (m, t).
        similarity: Of the classes.
    """
    model = folder.network(recipe)
    layer = last_convolution(model)
    step = PredictedLabelFGSM(epsilon=lesson.epsilon, tile=lesson.tile)

    def attack(network: nn.Module, images: Tensor, _labels: Tensor) -> Tensor:
        return step(network, images)

    clean_only = remedy == AS_BEFORE
    trainer = Trainer(
        epochs=lesson.epochs, classify=Mixed(alpha=1.0 if clean_only else 0.5), terms=_terms(remedy, layer)
    )
    optimizer = torch.optim.SGD(model.train().parameters(), lr=lesson.rate, momentum=0.9, weight_decay=5e-4)
    order = torch.Generator().manual_seed(lesson.seed)
    loader = DataLoader(TensorDataset(*map(torch.from_numpy, learned)), BATCH, shuffle=True, generator=order)
    for _report in trainer(model, optimizer, loader, attack=None if clean_only else attack):
        pass  # how it goes on the way is not told
    model.eval()
    held_out = DataLoader(TensorDataset(*map(torch.from_numpy, unseen)), lesson.tile, generator=order)
    clean, attacked = accuracies(model, held_out, [None, attack])
    method = NetworkDissection(seed=lesson.seed, tile=lesson.tile, permutations=0, draws=0)
    found = method(model, [layer], open_labelled(folder.labelled), lambda images, _numbers: step(model, images))[layer]
    assert found.attacked is not None  # it was asked for
    sides = (found.clean.labels, found.attacked.labels)
    return Pupil(
        remedy=remedy,
        clean=clean,
        adversarial=attacked,
        means=_means(model, layer, lesson, unseen, adversarial, similarity),
        detectors=(int(sides[0].detectors.sum()), int(sides[1].detectors.sum())),
        unique=(sides[0].unique, sides[1].unique),
    )


def _means(
    model: nn.Module,
    layer: str,
    lesson: Lesson,
    unseen: Labelled,
    adversarial: Labelled,
    similarity: Float[Tensor, "c c"],
) -> dict[str, Average]:
    """What the units mean, on average."""
    (real, labels), (attacked, targets) = ([torch.from_numpy(each) for each in pair] for pair in (unseen, adversarial))
    found = survey_of(
        model,
        real.float() / 255,
        labels,
        similarity,
        attacked.float() / 255,
        targets,
        layers=[layer],
        share=lesson.share,
        tile=lesson.tile,
    )
    units, ratios = found.layers[layer], found.ratios
    measured = {
        "LC": units.lc.debiased,
        "LC, attacked": units.lc_adv.debiased if units.lc_adv else None,
        "CS1": units.cs1,
        "CS2": units.cs2,
        **{name: getattr(ratios, name) for name in RATIOS if ratios},
    }
    return {name: average(values) for name, values in measured.items() if values is not None}


def last_convolution(model: ResidualNetwork) -> str:
    """The last convolution before the maps are pooled: after that a map has few places to point with."""
    return [f"features.{place}" for place, part in enumerate(model.features) if isinstance(part, Convolution)][-1]


def _terms(remedy: str, layer: str) -> tuple[Term, ...]:
    if remedy == CONSISTENT:
        return (Term(name="consistent", layer=layer, loss=ConsistentLoss(), weight=0.1),)
    if remedy == ADAPTED:
        return (
            Term(name="covariances", layer=layer, loss=Coral(), weight=1 / 3, shape="pooled"),
            Term(name="means", layer=layer, loss=MeanDifference(), weight=1 / 3, shape="pooled"),
        )
    return ()
