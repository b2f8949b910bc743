"""Train a network on clean and attacked images, with the caller's own model, optimiser, scheduler, loader and attack.

    trainer = Trainer(epochs=10, terms=(Term(name="consistent", layer="layer4", loss=ConsistentLoss(), weight=0.1),))
    for report in trainer(model, optimizer, loader, attack=attack, held_out=others):
        print(report)

Dong, Bao, Su and Zhu (arXiv:1901.09035) train so with one step of FGSM; with `MADRY` and PGD it is the training of
Madry et al. (arXiv:1706.06083). The trainer runs epochs and prints nothing: each yields a report.

The network's modes are the caller's: what is in training mode trains, what is frozen in eval mode stays so, in each
epoch, whatever the caller does with the network between two reports. The attack sees all of it in eval mode unless
`attack_mode` is "train". Randomness is torch's own, in the caller's hands. A killed run that is resumed
ends with the same bits on a CPU, unless the caller draws random numbers between two reports.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn, optim
from torch.optim.lr_scheduler import ReduceLROnPlateau

from interp_plugins.foundation import check
from interp_plugins.foundation.record import record
from interp_plugins.training.averages import WeightAverages
from interp_plugins.training.configuration import configuration
from interp_plugins.training.course import Course, Scheduler
from interp_plugins.training.evaluation import Attack, Batches, check_exact
from interp_plugins.training.judging import Judge, Probe
from interp_plugins.training.keeping import Keeper
from interp_plugins.training.objectives import Mixed
from interp_plugins.training.reports import EpochReport
from interp_plugins.training.snapshots import Checkpoints
from interp_plugins.training.steps import AttackMode, Classify, Objective, bare
from interp_plugins.training.terms import Term, layers
from interp_plugins.training.watch import Watch

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Settings of a training run; a call begins one."""

    epochs: int = 10
    classify: Classify = field(default_factory=Mixed)  # called with clean logits, attacked logits (or None) and labels
    terms: tuple[Term, ...] = ()  # what is added to it, each with its weight
    attack_mode: AttackMode = "eval"  # of the network under attack; "train": as it trains
    schedule: Literal["epoch", "step"] = "epoch"  # when the scheduler steps
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of the forward pass; half by autocast, fp16 with a scaler
    clip_norm: float | None = None  # the length to which longer gradients of all parameters together are cut
    clip_value: float | None = None  # the size to which each larger entry of a gradient is cut
    save_every: int | None = None  # steps between checkpoints within an epoch; None: at the end of each epoch alone

    def __post_init__(self) -> None:
        check.positive(epochs=self.epochs)
        check.one_of("attack_mode", self.attack_mode, ("eval", "train"))
        check.one_of("precision", self.precision, tuple(AUTOCAST))
        for name in ("clip_norm", "clip_value", "save_every"):
            if getattr(self, name) is not None:
                check.positive(**{name: getattr(self, name)})
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("expected clip_norm or clip_value, got both; choose one")
        check.one_of("schedule", self.schedule, ("epoch", "step"))
        names = ["classify", "total", *(term.name for term in self.terms)]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"expected a name of its own for each term, got {twice[0]!r} twice")

    def __call__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        loader: Batches,
        *,
        attack: Attack | None = None,
        scheduler: Scheduler | None = None,
        held_out: Batches | None = None,
        watch: Watch | None = None,
        probes: Mapping[str, Probe] | None = None,
        averages: WeightAverages | None = None,
        checkpoints: Checkpoints | None = None,
        resume: bool = False,
    ) -> Iterator[EpochReport]:
        """Train; an epoch runs when its report is asked for.

        Args:
            model: From images in [0, 1] to logits, maybe in DistributedDataParallel; its modes are kept.
            optimizer: Of its parameters.
            loader: Yields batches (images in [0, 1] or grey levels in uint8, labels) anew in each epoch.
            attack: Called with the network, images and labels, returns attacked images; None: clean images alone.
            scheduler: Of the optimiser; `ReduceLROnPlateau` looks at the total loss of an epoch.
            held_out: Batches on which each epoch's network is judged.
            watch: A probe for catastrophic overfitting, on the first held-out batch.
            probes: Called with each epoch's network, in eval mode and frozen; what they say is in the report, by name.
            averages: Of the network's weights, updated after each step; then they are what is judged.
            checkpoints: Where the last and the best state are kept, such as `store.checkpoints.CheckpointFolder`.
            resume: Go on from the last one, if there is one.

        Yields:
            A report after each epoch; a resumed run yields those of the finished epochs again.

        Raises:
            TypeError: A wrong type, or a network in half precision.
            ValueError: A layer that does not exist, terms without an attack, an optimiser of something else or without
                a loss's parameters, a loader that yields nothing, a batch out of range, a checkpoint that is there
                though `resume` was not asked for, or one of another configuration.
            LossNotFinite: A loss or a gradient is NaN or infinite; the step is not taken.
        """
        losses = {"classify": self.classify} | {term.name: term.loss for term in self.terms}
        course = Course(
            model=model,
            optimizer=optimizer,
            loader=loader,
            scheduler=scheduler,
            averages=averages,
            modules={name: loss for name, loss in losses.items() if isinstance(loss, nn.Module)},
        )
        course.check()
        if attack is None and (self.terms or self.classify != Mixed(alpha=1)):
            raise ValueError(
                "expected an attack, as the objective compares clean with attacked images, got None; for clean images "
                "alone use classify=Mixed(alpha=1) and no terms"
            )
        with record(bare(model), layers(self.terms)):
            pass  # layers that do not exist are told before anything is done
        if averages is not None and not averages.owner_is(model):
            raise ValueError("expected averages of this network, got those of another")
        if watch is not None and (held_out is None or attack is None):
            raise ValueError("expected held-out images and an attack for the watch to compare, got none")
        if isinstance(scheduler, ReduceLROnPlateau) and self.schedule == "step":
            raise ValueError(
                "expected schedule='epoch' for ReduceLROnPlateau, which looks at an epoch's loss, got 'step'"
            )
        if self.precision == "fp16":
            course.scaler = torch.amp.GradScaler(course.device.type)
        if held_out is not None:
            check_exact(held_out)
        probes = dict(probes or {})
        for name, probe in probes.items():
            if not callable(probe):
                raise TypeError(
                    f"expected probes that are called with a network, got {type(probe).__name__} for {name!r}"
                )
        for loss in course.modules.values():
            loss.to(course.device)
        keeper = Keeper(checkpoints, course, configuration(self, course, attack))
        keeper.begin(resume)
        return self._run(course, keeper, Judge(attack, held_out, watch, probes))

    def _run(self, course: Course, keeper: Keeper, judge: Judge) -> Iterator[EpochReport]:
        objective = Objective(
            classify=self.classify,
            terms=self.terms,
            attack=judge.attack,
            attack_mode=self.attack_mode,
            autocast=AUTOCAST[self.precision],
        )
        yield from tuple(course.reports)
        while course.epoch <= self.epochs:
            course.set_modes()
            for images, labels in course.batches():
                self._step(course, objective, images, labels)
                if self.save_every is not None and course.steps % self.save_every == 0:
                    keeper.keep("last")
            course.share_buffers()
            report = judge(course)
            if isinstance(course.scheduler, ReduceLROnPlateau):
                course.scheduler.step(report.losses["total"])
            elif course.scheduler is not None and self.schedule == "epoch":
                course.scheduler.step()
            course.close(report)
            if report.best:
                keeper.keep("best")
            keeper.keep("last")
            yield report
        course.set_modes()

    def _step(self, course: Course, objective: Objective, images: torch.Tensor, labels: torch.Tensor) -> None:
        values, moves = objective(course.model, images, labels)
        course.add(values, len(images))
        course.optimizer.zero_grad()
        if course.scaler is None:
            values["total"].backward()
            self._clip(course)
            course.optimizer.step()
        else:
            course.scaler.scale(values["total"]).backward()
            course.scaler.unscale_(course.optimizer)
            self._clip(course)
            course.scaler.step(course.optimizer)
            course.scaler.update()
        course.optimizer.zero_grad()
        for move in moves:
            move()
        if course.averages is not None:
            course.averages.update()
        course.position += 1
        course.steps, course.rate = course.steps + 1, float(course.optimizer.param_groups[0]["lr"])
        if course.scheduler is not None and self.schedule == "step":
            course.scheduler.step()

    def _clip(self, course: Course) -> None:
        parameters = [parameter for parameter in course.parameters() if parameter.grad is not None]
        length = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if course.scaler is None and not length.isfinite():  # a scaler leaves such a step out and goes on
            raise course.not_finite("finite gradients, got NaN or infinity")
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, length)
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, self.clip_value)
