"""Objectives that keep a network's representations where they were when its images are attacked."""

from interp_plugins.training.domains import Coral, MeanDifference, MultiKernelMMD
from interp_plugins.training.margin import MarginLoss
from interp_plugins.training.objectives import MADRY, ConsistentLoss, Mixed, Trades

__all__ = [
    "MADRY",
    "ConsistentLoss",
    "Coral",
    "MarginLoss",
    "MeanDifference",
    "Mixed",
    "MultiKernelMMD",
    "Trades",
]
