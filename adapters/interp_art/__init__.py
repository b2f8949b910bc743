"""Our methods as ART's own: an `EvasionAttack`, an `EvasionDetector` and three of type `Trainer` for ART's classifiers.

Importing this package does not import ART; fetching a class from it does.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from interp_plugins.hookspecs import Method, hookimpl
from interp_plugins.hosts import fetch_attribute

if TYPE_CHECKING:
    from interp_art.attacks import EnsembleOptimization as EnsembleOptimization
    from interp_art.detector import ConflictDetector as ConflictDetector
    from interp_art.trainers import ConsistentLossTrainer as ConsistentLossTrainer
    from interp_art.trainers import DomainAdaptationTrainer as DomainAdaptationTrainer
    from interp_art.trainers import EnsembleAdversarialTraining as EnsembleAdversarialTraining

__all__ = [
    "ConflictDetector",
    "ConsistentLossTrainer",
    "DomainAdaptationTrainer",
    "EnsembleAdversarialTraining",
    "EnsembleOptimization",
]


@hookimpl
def interp_methods() -> Iterator[Method]:
    """Yield the methods for ART."""
    yield Method(
        name="EnsembleOptimization",
        kind="attack",
        host="art",
        target="interp_art.attacks:EnsembleOptimization",
        summary="Adam on the pixels until one or several PyTorchClassifiers at once say the target",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="ConflictDetector",
        kind="detector",
        host="art",
        target="interp_art.detector:ConflictDetector",
        summary="flags inputs whose most influential units stand for something else than the predicted class",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="ConsistentLossTrainer",
        kind="trainer",
        host="art",
        target="interp_art.trainers:ConsistentLossTrainer",
        summary="adversarial training that keeps what a layer sees in an attacked image near what it saw in the image",
        paper="arXiv:1901.09035",
    )
    yield Method(
        name="DomainAdaptationTrainer",
        kind="trainer",
        host="art",
        target="interp_art.trainers:DomainAdaptationTrainer",
        summary="adversarial training that brings clean and attacked batches to one distribution, by CORAL and MMD",
        paper="arXiv:1810.00740",
    )
    yield Method(
        name="EnsembleAdversarialTraining",
        kind="trainer",
        host="art",
        target="interp_art.trainers:EnsembleAdversarialTraining",
        summary="adversarial training on images that are attacked on this network or on static ones",
        paper="arXiv:1705.07204",
    )


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for, or say how to get ART."""
    return fetch_attribute(interp_methods(), __name__, name)
