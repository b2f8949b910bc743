"""Our attacks as torchattacks' own: they subclass `torchattacks.attack.Attack` and behave like a built-in.

Importing this package does not import torchattacks; fetching a class from it does.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from interp_plugins.hookspecs import Method, hookimpl
from interp_plugins.hosts import fetch_attribute

if TYPE_CHECKING:
    from interp_torchattacks.attacks import EnsembleOptimization as EnsembleOptimization
    from interp_torchattacks.attacks import PredictedLabelFGSM as PredictedLabelFGSM

__all__ = ["EnsembleOptimization", "PredictedLabelFGSM"]


@hookimpl
def interp_methods() -> Iterator[Method]:
    """Yield the methods for torchattacks."""
    yield Method(
        name="EnsembleOptimization",
        kind="attack",
        host="torchattacks",
        target="interp_torchattacks.attacks:EnsembleOptimization",
        summary="Adam on the pixels until a model and its surrogates at once say the target",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="PredictedLabelFGSM",
        kind="attack",
        host="torchattacks",
        target="interp_torchattacks.attacks:PredictedLabelFGSM",
        summary="one step away from what the model itself says, so that no label leaks",
        paper="arXiv:1611.01236",
    )


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for, or say how to get torchattacks."""
    return fetch_attribute(interp_methods(), __name__, name)
