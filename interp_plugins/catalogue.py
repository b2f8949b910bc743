"""The core's own methods, one record each. They enter through the hook like anybody else's."""

from collections.abc import Iterator

from interp_plugins.hookspecs import Method, hookimpl


@hookimpl
def interp_methods() -> Iterator[Method]:
    """Yield the methods that need torch and no host."""
    yield Method(
        name="FGSM",
        kind="attack",
        target="interp_plugins.attacks:FGSM",
        summary="one step along the sign of the gradient, away from the label or towards a target",
        paper="arXiv:1412.6572",
    )
    yield Method(
        name="PredictedLabelFGSM",
        kind="attack",
        target="interp_plugins.attacks:PredictedLabelFGSM",
        summary="one step away from what the classifier itself says, so that no label leaks",
        paper="arXiv:1611.01236",
    )
    yield Method(
        name="PGD",
        kind="attack",
        target="interp_plugins.attacks:PGD",
        summary="many steps inside an L2 or Linf ball; the best image on the way is kept",
        paper="arXiv:1706.06083",
    )
    yield Method(
        name="FeaturePGD",
        kind="attack",
        target="interp_plugins.attacks:FeaturePGD",
        summary="many steps that move a layer's outputs, or the logits, as far as they go; no labels needed",
        paper="arXiv:1901.08573",
    )
    yield Method(
        name="EnsembleOptimization",
        kind="attack",
        target="interp_plugins.attacks:EnsembleOptimization",
        summary="Adam on the pixels until several classifiers at once say the target",
        paper="arXiv:1708.05493",
    )
    yield Method(
        name="ConflictDetector",
        kind="detector",
        target="interp_plugins.neurons.detection:ConflictDetector",
        summary="flags images whose most influential units stand for something else than the predicted class",
        paper="arXiv:1708.05493",
    )
