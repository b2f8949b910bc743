"""Objectives that keep a network's representations where they were when its images are attacked, and a trainer."""

from interp_plugins.training.domains import Coral, MeanDifference, MultiKernelMMD
from interp_plugins.training.margin import MarginLoss
from interp_plugins.training.objectives import MADRY, ConsistentLoss, Mixed, Trades
from interp_plugins.training.reports import Accuracy, EpochReport
from interp_plugins.training.steps import Term
from interp_plugins.training.trainer import Trainer

__all__ = [
    "MADRY",
    "Accuracy",
    "ConsistentLoss",
    "Coral",
    "EpochReport",
    "MarginLoss",
    "MeanDifference",
    "Mixed",
    "MultiKernelMMD",
    "Term",
    "Trades",
    "Trainer",
]
