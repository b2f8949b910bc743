"""What a training run is made from: a network built anew, images, an objective; and the manifest that says so."""

import platform
from dataclasses import dataclass
from importlib.metadata import version

import torch
from jaxtyping import Float
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from interp_plugins.cli import networks
from interp_plugins.cli.train import attacks, batches
from interp_plugins.cli.train.attacks import Spec
from interp_plugins.cli.train.batches import Part, Told
from interp_plugins.cli.train.objectives import OBJECTIVES
from interp_plugins.cli.train.request import Request
from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.distributed import Place
from interp_plugins.foundation.measuring import last_map, levels
from interp_plugins.foundation.record import record
from interp_plugins.sources import weights
from interp_plugins.sources.models import LoadedModel
from interp_plugins.store.manifest import Member
from interp_plugins.store.trainings import TrainingManifest
from interp_plugins.training import Term, Trainer, Watch, WeightAverages
from interp_plugins.training.course import Scheduler
from interp_plugins.training.evaluation import Attack

PROBE = 20  # steps of the watch's probe
LARGEST = {"cpu": 64, "cuda": 256}  # rows a call of an attack, at most


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What was loaded for a request."""

    given: Request
    device: torch.device
    place: Place
    model: LoadedModel
    loader: Told
    held_out: DataLoader[tuple[Tensor, Tensor]] | None
    trainer: Trainer
    attack: Attack | None
    watch: Watch | None
    manifest: TrainingManifest

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.model.module

    def shared(self) -> nn.Module:
        """The network, which averages its gradients over all processes."""
        if self.place.world == 1:
            return self.module
        return DistributedDataParallel(self.module, static_graph=True)  # it then finds parameters that play no part

    def optimizer(self) -> optim.Optimizer:
        """A new one."""
        given = self.given
        return optim.SGD(
            self.module.parameters(), lr=given.lr, momentum=given.momentum, weight_decay=given.weight_decay
        )

    def scheduler(self, optimizer: optim.Optimizer) -> Scheduler | None:
        """A new one, that steps after each step."""
        steps = self.given.epochs * len(self.loader)
        if self.given.schedule == "onecycle":
            return optim.lr_scheduler.OneCycleLR(optimizer, self.given.lr, total_steps=steps, cycle_momentum=False)
        return optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if self.given.schedule == "cosine" else None

    def averages(self) -> WeightAverages | None:
        """New ones, where they were asked for."""
        return None if self.given.ema is None else WeightAverages(self.module, decay=self.given.ema)


def load(given: Request, device: torch.device, place: Place) -> Inputs:
    """Load what was asked for; the network is built from the seed, the same in each process.

    Raises:
        LayerNotReached: The layer did not run.
        ValueError: A setting, the model or the images are not as expected, or do not belong together.
        FileNotFoundError: A file is not there.
    """
    spec, weight = given.check()
    data, held = batches.parts(given)
    torch.manual_seed(given.seed)
    model = networks.load(given.model, device, quiet=place.rank > 0)
    example = levels(data.images.tensor([data.numbers[0]]), device)
    networks.check_takes(model, example)
    _check_classes(model, example, data, held)
    _lay_out(model.module, example)
    objective = OBJECTIVES[given.objective]
    layer, terms = None, tuple[Term, ...]()
    if objective.losses and weight is not None:
        layer = last_map(model.module, example) if given.layer == "auto" else given.layer
        terms = objective.terms(layer, _dimensions(model.module, layer, example), weight)
    loader = batches.training(data, given, device, place)
    tile = min(LARGEST[device.type], 2 ** ((given.batch_size // place.world).bit_length() - 1))
    watch = None
    if given.watch and spec is not None:
        if held is None:
            raise ValueError("expected held-out images for --watch to look at, got --held-out 0")
        watch = Watch(probe=attacks.AnywhereInTheBall(attacks.search(Spec(spec.ball, spec.epsilon, PROBE), tile)))
    trainer = Trainer(
        epochs=given.epochs,
        classify=objective.classify(weight),
        terms=terms,
        attack_mode="train" if spec is not None and spec.kind == "shared-fgsm" else "eval",
        schedule="step",
        precision=given.precision,  # type: ignore[arg-type]  # checked above
        clip_norm=given.clip,
        save_every=given.save_every,
    )
    attack, answers = None, given.objective == "trades"
    if spec is not None:
        attack = attacks.for_training(spec, tile, given.attack_precision, layer, answers)  # type: ignore[arg-type]
    return Inputs(
        given=given,
        device=device,
        place=place,
        model=model,
        loader=loader,
        held_out=None if held is None else batches.judging(held, place),
        trainer=trainer,
        attack=attack,
        watch=watch,
        manifest=_manifest(given, model, data, held, spec, weight, trainer),
    )


def _check_classes(model: LoadedModel, example: Float[Tensor, "1 c h w"], data: Part, held: Part | None) -> None:
    with borrow(model.module), torch.no_grad():
        classes = check.logits(model.module(example), 1, model.name).shape[1]
    for part in (data, held):
        if part is not None and int(part.labels().max()) >= classes:
            raise ValueError(
                f"expected labels from 0 to {classes - 1}, the classes that {model.name} knows, got "
                f"{int(part.labels().max())} in {part.spec}"
            )


def _lay_out(module: nn.Module, example: Float[Tensor, "1 c h w"]) -> None:
    """Bring a network into the memory format in which convolutions are quick, unless it does not run in it."""
    module.to(memory_format=torch.channels_last)
    try:
        with borrow(module), torch.no_grad():
            module(example.contiguous(memory_format=torch.channels_last))
    except RuntimeError:  # such as a `view` of maps
        module.to(memory_format=torch.contiguous_format)


def _dimensions(module: nn.Module, layer: str, example: Float[Tensor, "1 c h w"]) -> int:
    with borrow(module), torch.no_grad(), record(module, [layer]) as outputs:
        module(example)
    return outputs[layer].ndim


def _manifest(
    given: Request,
    model: LoadedModel,
    data: Part,
    held: Part | None,
    spec: Spec | None,
    weight: float | None,
    trainer: Trainer,
) -> TrainingManifest:
    names = ("objective", "batch_size", "lr", "momentum", "weight_decay", "schedule", "augment", "seed",
             "precision", "attack_precision", "clip", "ema", "watch")  # fmt: skip
    return TrainingManifest(
        model=Member(name=model.name, spec=model.spec, sha256=weights.digest(model.module)),
        data=data.used(),
        held_out=None if held is None else held.used(),
        layers=tuple(dict.fromkeys(term.layer for term in trainer.terms if term.layer is not None)),
        settings={
            **{name: getattr(given, name) for name in names},
            "attack": None if spec is None else str(spec),
            "weight": weight,
        },
        shards={"train": given.epochs},
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("interp-plugins", "torch", "numpy")},
        },
    )
