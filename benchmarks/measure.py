"""Time several ways of doing one thing so that a busy machine disturbs them alike.

CPU time (user and system) of this process and of those it waited for, one thread each, in rounds that go through all
variants (A B C, A B C, ...). What counts is the ratio of two variants in one round, and of those the median over the
rounds: seconds depend on the neighbours, ratios hardly do.
"""

import gc
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Job = Callable[[], Any]


def cpu_seconds() -> float:
    """CPU seconds this process has used so far, and those that it started and waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


@dataclass
class Timing:
    """Seconds of each variant in each round, what each brought last, and why some could not run."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def ratio(self, variant: str, other: str) -> float:
        """Median over the rounds of variant / other.

        Raises:
            KeyError: One of them did not run.
        """
        return median(a / b for a, b in zip(self.seconds[variant], self.seconds[other], strict=True))

    def spread(self, variant: str, other: str) -> tuple[float, float]:
        """Smallest and largest of the rounds' ratios."""
        found = [a / b for a, b in zip(self.seconds[variant], self.seconds[other], strict=True)]
        return min(found), max(found)


def interleave(
    variants: Mapping[str, Job],
    rounds: int,
    *,
    warm: Mapping[str, Job] | None = None,
    watch: Callable[[int, str], None] | None = None,
) -> Timing:
    """Time all variants in `rounds` rounds.

    A variant that raises is left out from there on, and its sentence kept: a peer that cannot run is a result too.

    Args:
        variants: Name to job; jobs take no arguments.
        rounds: At least 1.
        warm: What each variant does once before the first round, untimed; None: the job itself.
        watch: Told the round (0 warms up) and the variant before it starts.
    """
    timing = Timing()
    for number in range(rounds + 1):
        for name, job in (variants if number else warm or variants).items():
            if name in timing.problems:
                continue
            if watch is not None:
                watch(number, name)
            gc.collect()
            start = cpu_seconds()
            try:
                timing.results[name] = job()
            except Exception as error:  # whatever a stranger's library raises
                timing.problems[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                timing.seconds.pop(name, None)
                timing.results.pop(name, None)
                continue
            if number:
                timing.seconds.setdefault(name, []).append(cpu_seconds() - start)
    return timing
