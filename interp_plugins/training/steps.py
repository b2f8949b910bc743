"""One step of training: attack a batch, run clean and attacked images together, and add the terms up.

    L = classify(f(x), f(x*), y) + sum over terms of weight * loss(phi(x), phi(x*))     phi a layer, or f itself

Clean and attacked images run in one forward pass, so that BatchNorm sees one batch and DistributedDataParallel one
forward. What the loss does not need is not run: `Mixed(alpha=0)` without terms has no use for clean logits.

`SharedFGSM` has two passes instead, of which the clean one serves the attack as well.

The attack's images carry no graph, and the attack sees the network itself, not DistributedDataParallel around it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.record import record
from interp_plugins.training.evaluation import Attack, attacked
from interp_plugins.training.objectives import Mixed
from interp_plugins.training.shared import SharedFGSM, check_shared
from interp_plugins.training.terms import Term, layers

Classify = Callable[[Tensor | None, Tensor | None, Tensor], Tensor]
AttackMode = Literal["eval", "train"]
Moves = Sequence[Callable[[], None]]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a trainer minimises, in one call a batch."""

    classify: Classify
    terms: Sequence[Term]
    attack: Attack | None
    attack_mode: AttackMode
    autocast: torch.dtype | None = None  # None: in the network's own precision

    def __call__(
        self, model: nn.Module, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[dict[str, Float[Tensor, ""]], Moves]:
        """What a batch says.

        Returns:
            The value of each term without its weight, and the "total" with a graph to the parameters; and what is to
            be called after the optimiser's step, so that losses follow the representations.

        Raises:
            ValueError: A layer does not exist, or the attack or a loss refuses what it is given.
        """
        network = bare(model)
        images = _as_laid_out(images, network)
        attacked_alone = not self.terms and self.classify == Mixed(alpha=0)
        if isinstance(self.attack, SharedFGSM) and not attacked_alone:
            return self._shared(self.attack, model, images, labels)
        batch, parts = images, ["clean"]
        if self.attack is not None:
            with borrow(network) if self.attack_mode == "eval" else nullcontext():
                moved = attacked(self.attack, network, images, labels)
            batch, parts = torch.cat([images, moved]), ["clean", "adversarial"]
            if attacked_alone:
                batch, parts = moved, ["adversarial"]
        with self._recorded(network, images) as outputs:
            logits = model(batch)
        return self._sum(dict(zip(parts, logits.chunk(len(parts)), strict=True)), outputs, labels)

    def _shared(
        self, attack: SharedFGSM, model: nn.Module, images: Tensor, labels: Tensor
    ) -> tuple[dict[str, Tensor], Moves]:
        """As above; the attack takes its gradient from the forward pass of the clean images."""
        check_shared(model, self.attack_mode)
        watched = images.detach().requires_grad_()
        with self._recorded(model, images) as outputs:
            logits = {"clean": model(watched)}
            clean = dict(outputs)
            # where gradients are small numbers in fp16 they are 0, and have no sign
            moved = attack.step(watched, logits["clean"], labels, 1024 if self.autocast == torch.float16 else 1)
            logits["adversarial"] = model(moved)
        both = {layer: torch.cat([clean[layer], outputs[layer]]) for layer in clean}
        return self._sum(logits, both, labels)

    @contextmanager
    def _recorded(self, network: nn.Module, images: Tensor) -> Iterator[Mapping[str, Tensor]]:
        """What the terms' layers put out, in the precision of the forward pass."""
        precision = torch.autocast(images.device.type, self.autocast, enabled=self.autocast is not None)
        with record(network, layers(self.terms)) as outputs, precision:
            yield outputs

    def _sum(
        self, logits: dict[str, Tensor], outputs: Mapping[str, Tensor], labels: Tensor
    ) -> tuple[dict[str, Tensor], Moves]:
        values = {"classify": self.classify(logits.get("clean"), logits.get("adversarial"), labels)}
        both = torch.cat(list(logits.values()))
        seen = [(term, both if term.layer is None else outputs[term.layer]) for term in self.terms]
        values |= {term.name: term(found, labels) for term, found in seen}
        weighted = [values["classify"], *(term.weight * values[term.name] for term in self.terms)]
        total = torch.stack([value.to(weighted[0]) for value in weighted]).sum()
        return values | {"total": total}, [partial(term.follow, found, labels) for term, found in seen if term.follows]


def bare(model: nn.Module) -> nn.Module:
    """The network itself, without DistributedDataParallel around it."""
    network: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
    return network


def _as_laid_out(images: Tensor, network: nn.Module) -> Tensor:
    """Images in channels-last memory where the network's convolutions are."""
    weights = (parameter for parameter in network.parameters() if parameter.ndim == 4)
    if any(not w.is_contiguous() and w.is_contiguous(memory_format=torch.channels_last) for w in weights):
        return images.contiguous(memory_format=torch.channels_last)
    return images
