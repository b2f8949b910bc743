"""Judge a network after an epoch: clean and attacked, on held-out images, and against the epochs before."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

from interp_plugins.training.course import Course
from interp_plugins.training.evaluation import Attack, Batches, accuracies
from interp_plugins.training.reports import Accuracy, EpochReport
from interp_plugins.training.steps import bare
from interp_plugins.training.watch import Watch


@dataclass(frozen=True)
class Judge:
    """What a network is judged by; where its weights are averaged, the average is judged."""

    attack: Attack | None
    held_out: Batches | None
    watch: Watch | None

    def __call__(self, course: Course) -> EpochReport:
        """The report of the epoch that has just ended."""
        with course.averages.in_place() if course.averages is not None else nullcontext():
            clean, adversarial, watched, probed = self._counts(course)
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
