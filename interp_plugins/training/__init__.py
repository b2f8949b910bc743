"""Objectives that keep a network's representations where they were when its images are attacked, and a trainer."""

from interp_plugins.training.adaptation import insert_adaptation
from interp_plugins.training.averages import WeightAverages
from interp_plugins.training.domains import Coral, MeanDifference, MultiKernelMMD
from interp_plugins.training.margin import MarginLoss
from interp_plugins.training.objectives import MADRY, ConsistentLoss, Mixed, Trades
from interp_plugins.training.reports import Accuracy, EpochReport
from interp_plugins.training.shared import SharedFGSM
from interp_plugins.training.terms import Term
from interp_plugins.training.trainer import Trainer
from interp_plugins.training.watch import CatastrophicOverfitting, Watch

__all__ = [
    "MADRY",
    "Accuracy",
    "CatastrophicOverfitting",
    "ConsistentLoss",
    "Coral",
    "EpochReport",
    "MarginLoss",
    "MeanDifference",
    "Mixed",
    "MultiKernelMMD",
    "SharedFGSM",
    "Term",
    "Trades",
    "Trainer",
    "Watch",
    "WeightAverages",
    "insert_adaptation",
]
