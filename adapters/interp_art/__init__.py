"""Our attack and our detector as ART's own: an `EvasionAttack` and an `EvasionDetector` on ART's classifiers.

Importing this package does not import ART; fetching a class from it does.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from interp_plugins.hookspecs import Method, hookimpl
from interp_plugins.hosts import fetch_attribute

if TYPE_CHECKING:
    from interp_art.attacks import EnsembleOptimization as EnsembleOptimization
    from interp_art.detector import ConflictDetector as ConflictDetector

__all__ = ["ConflictDetector", "EnsembleOptimization"]


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


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for, or say how to get ART."""
    return fetch_attribute(interp_methods(), __name__, name)
