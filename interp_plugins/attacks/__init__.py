"""Attacks: images in, adversarial images out."""

from interp_plugins.attacks.ensemble import EnsembleOptimization, EnsembleResult, Step
from interp_plugins.attacks.features import FeaturePGD
from interp_plugins.attacks.gradient import FGSM, PGD, PredictedLabelFGSM
from interp_plugins.attacks.lattice import LatticeRefinement, to_bytes
from interp_plugins.attacks.targets import FixedTargets, LeastLikely, RandomTargets

__all__ = [
    "FGSM",
    "PGD",
    "EnsembleOptimization",
    "EnsembleResult",
    "FeaturePGD",
    "FixedTargets",
    "LatticeRefinement",
    "LeastLikely",
    "PredictedLabelFGSM",
    "RandomTargets",
    "Step",
    "to_bytes",
]
