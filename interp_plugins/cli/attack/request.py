"""What was asked of `attack run`, and the words that ask for it again."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.lattice import LatticeRefinement
from interp_plugins.attacks.targets import TargetPolicy, parse
from interp_plugins.cli.typed import Typed


@dataclass(frozen=True, kw_only=True)
class Request(Typed):
    """The options as they were typed; `attack run --help` says what each means."""

    model: list[str]
    data: str
    out: Path
    size: int | None = None
    labels: str | None = None
    limit: int | None = None
    targets: str = "least-likely:10"
    steps: int = 20
    step_size: str = "5/255"
    fusion: str = "loss"
    balance: bool = False
    distance_weight: float = 1e-3
    epsilon: str | None = None
    norm: str = "linf"
    seed: int = 0
    refine: int = 0
    tile: int | None = None
    batch_size: int | None = None
    processes: str = "auto"
    device: str = "auto"
    precision: str = "fp32"
    resume: bool = False
    json: bool = False
    worker: bool = False

    def to_resume(self) -> str:
        """The command that goes on with the set."""
        return shlex.join(["interp-plugins", "attack", "run", *self.words(resume=True, worker=False)])

    def method(self, tile: int) -> EnsembleOptimization:
        """The attack.

        Raises:
            ValueError: A setting is out of range.
        """
        return EnsembleOptimization(
            steps=self.steps,
            step_size=fraction("step-size", self.step_size),
            fusion=self.fusion,  # type: ignore[arg-type]  # these three are checked where they are used
            balance=self.balance,
            distance_weight=self.distance_weight,
            epsilon=None if self.epsilon is None else fraction("epsilon", self.epsilon),
            norm=self.norm,  # type: ignore[arg-type]
            tile=tile,
            precision=self.precision,  # type: ignore[arg-type]
        )

    def policy(self) -> TargetPolicy:
        """Which classes each image is to be taken for."""
        return parse(self.targets)

    def refinement(self, method: EnsembleOptimization) -> LatticeRefinement | None:
        """What mends records that rounding broke, if that was asked for."""
        if not self.refine:
            return None
        return LatticeRefinement(
            rounds=self.refine,
            epsilon=method.epsilon,
            norm=method.norm,
            weights=method.weights,
            tile=method.tile,
            precision=method.precision,
        )


def fraction(name: str, text: str) -> float:
    """The number that `8/255` or `0.03` stands for.

    Raises:
        ValueError: It stands for none.
    """
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"expected --{name} as a number or a fraction such as 8/255, got {text!r}") from error
