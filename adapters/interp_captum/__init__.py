"""Our attacks as perturbations that run inside Captum's own tools, and evaluators of layers in Captum's manner.

Importing this package does not import Captum; fetching a class from it does.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from interp_plugins.hookspecs import Method, hookimpl
from interp_plugins.hosts import fetch_attribute

if TYPE_CHECKING:
    from interp_captum.consistency import NeuronConsistency as NeuronConsistency
    from interp_captum.detector import ConflictDetector as ConflictDetector
    from interp_captum.dissection import NetworkDissection as NetworkDissection
    from interp_captum.exemplars import NeuronExemplars as NeuronExemplars
    from interp_captum.influence import NeuronInfluence as NeuronInfluence
    from interp_captum.perturbations import EnsembleOptimization as EnsembleOptimization
    from interp_captum.perturbations import PredictedLabelFGSM as PredictedLabelFGSM
    from interp_captum.shift import RepresentationShift as RepresentationShift
    from interp_captum.similarity import ClassSimilarity as ClassSimilarity

__all__ = [
    "ClassSimilarity",
    "ConflictDetector",
    "EnsembleOptimization",
    "NetworkDissection",
    "NeuronConsistency",
    "NeuronExemplars",
    "NeuronInfluence",
    "PredictedLabelFGSM",
    "RepresentationShift",
]


@hookimpl
def interp_methods() -> Iterator[Method]:
    """Yield the methods for Captum."""
    yield Method(
        name="EnsembleOptimization",
        kind="attack",
        host="captum",
        target="interp_captum.perturbations:EnsembleOptimization",
        summary="Adam on the pixels until a forward function and its surrogates at once say the target",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="PredictedLabelFGSM",
        kind="attack",
        host="captum",
        target="interp_captum.perturbations:PredictedLabelFGSM",
        summary="one step away from what the forward function itself says, so that no label leaks",
        paper="arXiv:1611.01236",
    )
    yield Method(
        name="NeuronExemplars",
        kind="measure",
        host="captum",
        target="interp_captum.exemplars:NeuronExemplars",
        summary="the images that each unit of some layers answers most strongly, in one pass",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="NeuronConsistency",
        kind="measure",
        host="captum",
        target="interp_captum.consistency:NeuronConsistency",
        summary="how specific and consistent each unit is: LC, consis and consis_adv of its top images",
        paper="arXiv:1901.09035",
    )
    yield Method(
        name="ClassSimilarity",
        kind="measure",
        host="captum",
        target="interp_captum.similarity:ClassSimilarity",
        summary="whether a unit's attacked top images show what its real ones show: CS_1 and CS_2",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="RepresentationShift",
        kind="measure",
        host="captum",
        target="interp_captum.shift:RepresentationShift",
        summary="whether attacked images leave their class and near the target's in a layer: r_1 and r_2",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="NeuronInfluence",
        kind="measure",
        host="captum",
        target="interp_captum.influence:NeuronInfluence",
        summary="what the score of a class loses without each unit of a layer, running only what follows it",
        paper="arXiv:1702.04595",
    )
    yield Method(
        name="NetworkDissection",
        kind="measure",
        host="captum",
        target="interp_captum.dissection:NetworkDissection",
        summary="the concept each unit of some layers points at, clean and attacked, on Broden or any masks",
        paper="arXiv:1704.05796",
    )
    yield Method(
        name="ConflictDetector",
        kind="detector",
        host="captum",
        target="interp_captum.detector:ConflictDetector",
        summary="flags images whose most influential units stand for something else than the predicted class",
        paper="arXiv:1708.05493",
    )


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for, or say how to get Captum."""
    return fetch_attribute(interp_methods(), __name__, name)
