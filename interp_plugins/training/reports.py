"""What a trainer says after each epoch: losses by term, and counts on held-out images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Accuracy:
    """A share of images, with its counts.

    Example:
        >>> Accuracy(3, 4).value
        0.75
    """

    correct: int  # images whose class the network says
    images: int  # of so many, one or more

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.correct / self.images

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.correct} of {self.images})"


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch of training."""

    epoch: int  # from 1
    steps: int  # of the optimiser since training began
    images: int  # trained on in this epoch, by all processes
    losses: Mapping[str, float]  # the mean of each term over the epoch's images, without its weight, and the "total"
    rate: float  # the learning rate of the first parameter group during the epoch's last step
    clean: Accuracy | None  # on held-out images; None: there are none
    adversarial: Accuracy | None  # on the same, attacked as in training
    watched: Accuracy | None  # on the first held-out batch, attacked as in training; None: nothing is watched
    probed: Accuracy | None  # on the same batch, attacked by the watch's probe
    best: bool  # no earlier epoch had as high a score
    probes: Mapping[str, float] = field(default_factory=dict)  # what the caller's probes said, by name

    @property
    def score(self) -> float | None:
        """(clean + adversarial accuracy) / 2, by which the best network is chosen; None without held-out images."""
        values = [accuracy.value for accuracy in (self.clean, self.adversarial) if accuracy is not None]
        return sum(values) / len(values) if values else None

    def __str__(self) -> str:
        said = [f"epoch {self.epoch}", *(f"{name} {value:.4f}" for name, value in self.losses.items())]
        said += [f"{name} {getattr(self, name)}" for name in ("clean", "adversarial", "probed") if getattr(self, name)]
        said += [f"{name} {value:.4g}" for name, value in self.probes.items()]
        return ", ".join(said)

    def plain(self) -> dict[str, Any]:
        """The report as numbers and dictionaries."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "EpochReport":
        """The report that `plain` made."""
        counts = {
            name: plain[name] and Accuracy(**plain[name]) for name in ("clean", "adversarial", "watched", "probed")
        }
        return cls(**{**plain, **counts})
