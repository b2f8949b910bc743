"""What was asked of `train run`, and the words that ask for it again."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from interp_plugins.cli.train.attacks import Spec
from interp_plugins.cli.train.objectives import OBJECTIVES, attack_of, check_layer, weight_of
from interp_plugins.cli.typed import Typed
from interp_plugins.foundation import check
from interp_plugins.foundation.precision import PRECISIONS
from interp_plugins.training.trainer import AUTOCAST

SCHEDULES = ("onecycle", "cosine", "constant")


@dataclass(frozen=True, kw_only=True)
class Request(Typed):
    """The options as they were typed; `train run --help` says what each means."""

    model: str
    data: str
    objective: str
    out: Path
    attack: str | None = None
    layer: str = "auto"
    weight: float | None = None
    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "onecycle"
    augment: bool = True
    held_out: str = "auto"
    size: int | None = None
    limit: int | None = None
    seed: int = 0
    precision: str = "fp32"
    attack_precision: str = "fp32"
    clip: float | None = None
    ema: float | None = None
    watch: bool = False
    save_every: int | None = None
    device: str = "auto"
    resume: bool = False
    json: bool = False

    def to_resume(self) -> str:
        """The command that goes on with the run."""
        return shlex.join(["interp-plugins", "train", "run", *self.words(resume=True)])

    def check(self) -> tuple[Spec | None, float | None]:
        """Refuse what cannot be, before anything is loaded.

        Returns:
            The attack, and the weight.

        Raises:
            ValueError: A setting is out of range, or does not go with the objective.
        """
        for name, value, choices in (
            ("objective", self.objective, tuple(OBJECTIVES)),
            ("schedule", self.schedule, SCHEDULES),
            ("precision", self.precision, tuple(AUTOCAST)),
            ("attack-precision", self.attack_precision, PRECISIONS),
        ):
            check.one_of(f"--{name}", value, choices)
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"expected --lr above 0, got {self.lr:g}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"expected --momentum from 0 to below 1, got {self.momentum:g}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"expected --weight-decay of at least 0, got {self.weight_decay:g}")
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise ValueError(f"expected --clip above 0, got {self.clip:g}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"expected --ema between 0 and 1, got {self.ema:g}")
        check_layer(self.objective, self.layer)
        attack = attack_of(self.objective, self.attack)
        if self.watch and attack is None:
            raise ValueError(
                f"expected no --watch for --objective {self.objective}, which meets no attack; leave it out"
            )
        return attack, weight_of(self.objective, self.weight)
