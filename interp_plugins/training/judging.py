"""Judge a network after an epoch: clean and attacked, on held-out images, and against the epochs before."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

from torch import nn

from interp_plugins.foundation.borrow import borrow
from interp_plugins.training.course import Course
from interp_plugins.training.evaluation import Attack, Batches, accuracies
from interp_plugins.training.reports import Accuracy, EpochReport
from interp_plugins.training.steps import bare
from interp_plugins.training.watch import Watch

Probe = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Judge:
    """What a network is judged by; where its weights are averaged, the average is judged."""

    attack: Attack | None
    held_out: Batches | None
    watch: Watch | None
    probes: Mapping[str, Probe]

    def __call__(self, course: Course) -> EpochReport:
        """The report of the epoch that has just ended."""
        with course.averages.in_place() if course.averages is not None else nullcontext():
            clean, adversarial, watched, probed = self._counts(course)
            probes = self._probed(bare(course.model))
        report = EpochReport(
            epoch=course.epoch,
            steps=course.steps,
            images=course.images,
            losses=course.losses(),
            rate=course.rate,
            clean=clean,
            adversarial=adversarial,
            watched=watched,
            probed=probed,
            best=False,
            probes=probes,
        )
        scores = [earlier.score for earlier in course.reports if earlier.score is not None]
        best = report.score is not None and all(report.score > score for score in scores)
        return replace(report, best=best)

    def _counts(self, course: Course) -> tuple[Accuracy | None, ...]:
        if self.held_out is None:
            return (None,) * 4
        network = bare(course.model)
        if self.attack is None:
            return (*accuracies(network, self.held_out, [None]), None, None, None)
        found = accuracies(network, self.held_out, [None, self.attack])
        watched = self.watch(network, self.held_out, self.attack) if self.watch is not None else (None, None)
        return (*found, *watched)

    def _probed(self, network: nn.Module) -> dict[str, float]:
        """What each probe says of the network, which is in eval mode and frozen meanwhile."""
        found = {}
        for name, probe in self.probes.items():
            with borrow(network):
                value = probe(network)
            try:
                found[name] = float(value)
            except (TypeError, ValueError, RuntimeError) as error:
                raise TypeError(f"expected a number from the probe {name!r}, got {type(value).__name__}") from error
        return found
