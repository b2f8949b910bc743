"""Where a training run is: its epoch, its place among the batches, and what it has summed and reported so far."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed, nn, optim
from torch.utils.data import DataLoader, DistributedSampler

from interp_plugins.errors import LossNotFinite
from interp_plugins.training.averages import WeightAverages
from interp_plugins.training.evaluation import Batches, pair, placed, several
from interp_plugins.training.reports import EpochReport
from interp_plugins.training.snapshots import chance, everyones, restore_chance
from interp_plugins.training.steps import bare

Scheduler = optim.lr_scheduler.LRScheduler
PROGRESS = ("steps", "position", "rate", "images", "sums")


@dataclass(kw_only=True)
class Course:
    """The caller's objects, and the numbers of the run that go with them."""

    model: nn.Module
    optimizer: optim.Optimizer
    loader: Batches
    scheduler: Scheduler | None
    averages: WeightAverages | None = None
    modules: Mapping[str, nn.Module] = field(default_factory=dict)  # losses that have a state, by term
    scaler: torch.amp.GradScaler | None = None
    reports: list[EpochReport] = field(default_factory=list)  # of the finished epochs
    steps: int = 0  # taken since training began
    position: int = 0  # batches of the present epoch that are done
    rate: float = 0.0  # of the first parameter group in the latest step
    images: int = 0  # trained on in the present epoch, by all processes
    sums: dict[str, float] = field(default_factory=dict)  # of each term over those images

    def __post_init__(self) -> None:
        self.device, self.dtype = placed(self.model)
        self._begin: dict[str, Any] = {}  # randomness when the present epoch began
        self._resumed: dict[str, Any] | None = None  # randomness to go on with
        self._modes = {name: module.training for name, module in self.model.named_modules()}

    @property
    def epoch(self) -> int:
        """The present epoch, from 1."""
        return len(self.reports) + 1

    def parameters(self) -> list[Tensor]:
        """What the optimiser trains."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def set_modes(self) -> None:
        """Bring each module back into the mode in which training began."""
        for name, module in self.model.named_modules():
            module.training = self._modes[name]

    def share_buffers(self) -> None:
        """Give all processes the first one's buffers, of the network and of losses, so that they judge one network."""
        if several():
            for module in (bare(self.model), *self.modules.values()):
                for buffer in module.buffers():
                    distributed.broadcast(buffer, 0)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the present epoch.

        Raises:
            TypeError: A batch that does not begin with two tensors of the right dtypes.
            ValueError: The loader yields nothing, or a batch of a wrong shape or range.
        """
        sampler = self.loader.sampler if isinstance(self.loader, DataLoader) else None
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(self.epoch - 1)
        generators, resumed = self._generators(), self._resumed
        self._resumed = None
        if resumed is not None:
            restore_chance(resumed["begin"], generators)
        self._begin = chance(generators)
        batches = iter(self.loader)
        for _ in range(self.position):  # seen before the kill; read again, so that the order and augmentation go on
            if next(batches, None) is None:
                raise ValueError(
                    f"expected more than {self.position} batches in epoch {self.epoch}, as before, got fewer; "
                    "resume with the same loader"
                )
        if resumed is not None and self.position > 0:
            restore_chance(resumed["now"], generators)
        for batch in batches:
            yield pair(batch, self.device, self.dtype)
        if self.position == 0:
            raise ValueError(
                f"expected at least one batch in epoch {self.epoch}, got none; a loader has to yield them in each "
                "epoch, which a generator does not"
            )

    def add(self, values: Mapping[str, Tensor], rows: int) -> None:
        """Add a batch's losses, of all processes, to those of the epoch.

        Args:
            values: The mean over this process's rows of each term.
            rows: How many they are.

        Raises:
            LossNotFinite: A term is NaN or infinite in any process.
        """
        table = torch.stack([*(value.detach().double() * rows for value in values.values())])
        table = torch.cat([table, table.new_tensor([rows])])
        if several():
            distributed.all_reduce(table)
        *sums, seen = table.tolist()
        for name, total in zip(values, sums, strict=True):
            if not abs(total) < float("inf"):
                raise self.not_finite(f"a finite loss, got {total} in the term {name!r}")
            self.sums[name] = self.sums.get(name, 0.0) + total
        self.images += int(seen)

    def not_finite(self, expected: str) -> LossNotFinite:
        """The error of a step that was not taken."""
        return LossNotFinite(
            f"expected {expected} at step {self.steps + 1} (epoch {self.epoch}); the weights are those before that "
            "step; lower the learning rate, or clip gradients with clip_norm (--clip on the command line)"
        )

    def losses(self) -> dict[str, float]:
        """The mean of each term over the epoch's images so far."""
        return {name: total / self.images for name, total in self.sums.items()}

    def close(self, report: EpochReport) -> None:
        """End the present epoch."""
        self.reports.append(report)
        self.position, self.images, self.sums = 0, 0, {}

    def state(self) -> dict[str, Any]:
        """Where the run is, and all processes' randomness; every process has to ask for it."""
        now = chance(self._generators())
        begin = self._begin if self.position > 0 else now  # between two epochs the next one begins here
        return {
            "progress": {name: getattr(self, name) for name in PROGRESS},
            "reports": [report.plain() for report in self.reports],
            "chance": everyones({"begin": begin, "now": now}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, value in state["progress"].items():
            setattr(self, name, value)
        self.reports = [EpochReport.of(report) for report in state["reports"]]
        self._resumed = state["chance"][distributed.get_rank() if several() else 0]

    def _generators(self) -> list[torch.Generator]:
        """Those that the loader draws from instead of torch's own."""
        if not isinstance(self.loader, DataLoader):
            return []
        found = [getattr(part, "generator", None) for part in (self.loader, self.loader.sampler)]
        return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())

    def check(self) -> None:
        """Refuse what cannot be trained, before anything is changed.

        Raises:
            TypeError: The network is in half precision.
            ValueError: The optimiser trains nothing of the network, or not what a loss has to learn, or processes have
                different numbers of batches.
        """
        if self.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"expected a network in torch.float32 or torch.float64, got {self.dtype}; use model.float(), and "
                "precision='bf16' to compute in half precision"
            )
        own = {id(parameter) for parameter in bare(self.model).parameters() if parameter.requires_grad}
        held = {id(parameter) for parameter in self.parameters()}
        if not own & held:
            raise ValueError("expected an optimizer of this network's parameters, got one of other or frozen ones")
        for name, loss in self.modules.items():
            apart = {id(parameter) for parameter in loss.parameters() if parameter.requires_grad} - own
            self._check_learning(name, apart, held)
        if several() and isinstance(self.loader, DataLoader):
            counts = torch.tensor([len(self.loader), -len(self.loader)], device=self.device)
            distributed.all_reduce(counts, distributed.ReduceOp.MAX)
            most, least = int(counts[0]), -int(counts[1])
            if most != least:
                raise ValueError(
                    f"expected as many batches in each process, got {least} in one and {most} in another; "
                    "use a DistributedSampler"
                )

    @staticmethod
    def _check_learning(name: str, parameters: Set[int], held: Set[int]) -> None:
        """Refuse a loss with parameters, by their ids, that nobody would train, or each process its own."""
        if not parameters <= held:
            raise ValueError(
                f"expected an optimizer that holds the parameters of the loss {name!r} too, got one without; hand it "
                "[*model.parameters(), *loss.parameters()], or freeze them with requires_grad_(False)"
            )
        if several() and parameters:
            raise ValueError(
                "expected losses without parameters in several processes, which average the network's alone, got "
                f"{name!r} with some; make them layers of the network, and name the layer in the term"
            )
