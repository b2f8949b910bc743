"""A copy of a classifier to search with: frozen, BatchNorm folded, channels-last, on request in bf16.

An attack calls its networks thousands of times and needs nothing of them but gradients with respect to images. A
prepared copy gives the same function in about three quarters of the time, in less where `convolution` helps: on a CPU
in fp32. What changes the function, checked on a fixed noise image, is left out, and so is the memory format where a
network does not run in it; where no copy can be made, the model itself is used. Whatever was found with a copy is
judged by the original, in its own precision: `judge`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.copies import Plan, find, structure
from interp_plugins.foundation.precision import PRECISIONS, Precision, dtype
from interp_plugins.kinds import LossGradient

TOLERANCE = 1e-3  # of the largest logit: what a copy may change before the next plainer one is tried

Cotangents = Callable[[Tensor], Sequence[Tensor]]
Search = Callable[[nn.Module, Tensor], Plan]  # by running a network on noise
# of each network, what its layers and images were and the plan of each rung that served: in training every batch asks
_FOUND: WeakKeyDictionary[nn.Module, tuple[tuple[object, ...], dict[int, Plan]]] = WeakKeyDictionary()


class Prepared:
    """A classifier ready to be searched, and the original that judges what was found.

    Attributes:
        original: The classifier as it was given.
        classes: How many classes it knows.
    """

    def __init__(
        self,
        original: object,
        network: Callable[[Tensor], Tensor],
        classes: int,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.original = original
        self.classes = classes
        self._network = network
        self._dtype = _dtype_of(network)
        self._memory_format = memory_format

    def logits(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits of the prepared copy, without a graph."""
        with torch.no_grad():
            return self._forward(images)[1]

    def gradients(
        self, images: Float[Tensor, "n c h w"], cotangents: Cotangents
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "t n c h w"]]:
        """Logits, and one gradient with respect to the images for each cotangent, all from one forward pass.

        Args:
            images: Float images in [0, 1].
            cotangents: From the logits (n, k) to the gradients of t losses with respect to them, each (n, k).

        Raises:
            ValueError: The classifier cannot be differentiated by torch, or a gradient is not finite.
        """
        with torch.enable_grad():
            leaf, logits = self._forward(images, wants_gradient=True)
        if not logits.requires_grad:
            raise ValueError("expected a classifier that torch can differentiate, got logits without a graph")
        pulls = cotangents(logits.detach())
        last = len(pulls) - 1
        gradients = [
            torch.autograd.grad(logits, leaf, pull, retain_graph=number < last)[0] for number, pull in enumerate(pulls)
        ]
        found = torch.stack(gradients).to(images.dtype).contiguous()
        check.finite_rows(found.transpose(0, 1), "gradients")
        return logits.detach(), found

    def _forward(self, images: Tensor, wants_gradient: bool = False) -> tuple[Tensor, Tensor]:
        wanted = self._dtype or images.dtype
        leaf = images.detach().to(wanted).contiguous(memory_format=self._memory_format).requires_grad_(wants_gradient)
        return leaf, _widen(self._network(leaf))


@torch.inference_mode(False)
def prepare(model: object, example: Float[Tensor, "n c h w"], precision: Precision = "fp32") -> Prepared:
    """A frozen, folded, channels-last copy of `model` to search with.

    Args:
        model: A module or another callable from images in [0, 1] to logits. What is prepared already comes back as it
            is, and a callable that is no module is used as it stands.
        example: Images whose shape, dtype and device the model expects; their values play no part.
        precision: "fp32" keeps the model's own precision, "bf16" casts the copy.

    Raises:
        TypeError: The model cannot be called.
        ValueError: It does not return finite logits of shape (n, classes).
    """
    check.one_of("precision", precision, PRECISIONS)
    if isinstance(model, Prepared):
        return model
    if not callable(model):
        raise TypeError(f"expected a classifier that can be called, got {type(model).__name__}")
    noise = torch.rand((2, *example.shape[1:]), generator=torch.Generator().manual_seed(0)).to(example)
    if not isinstance(model, nn.Module):
        return Prepared(model, model, judge(model, noise).shape[1])
    with borrow(model):
        expected = judge(model, noise)
    form = (noise.shape, noise.dtype, noise.device, precision, structure(model))
    if model not in _FOUND or _FOUND[model][0] != form:
        _FOUND[model] = form, {}
    plans = _FOUND[model][1]
    for rung, search in enumerate(_ladder(precision)):  # always from the first: the copy must not depend on the past
        found = _copied(model, plans.get(rung, search), noise, expected)
        if found is not None:
            plans[rung], network = found
            searched = network if precision == "fp32" else network.to(dtype(precision))
            return Prepared(model, searched, expected.shape[1], plans[rung].memory_format)
    return Prepared(model, model, expected.shape[1])


def judge(classifier: object, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """The logits of a classifier as it was given, neither folded nor cast, without a graph.

    Args:
        classifier: A module, another callable, what `prepare` made of one, or a `LossGradient`; its mode is the
            caller's care.
        images: Float images in [0, 1]; they are cast to the module's dtype.
    """
    model = classifier.original if isinstance(classifier, Prepared) else classifier
    if isinstance(model, LossGradient):
        return check.logits(model.logits(images), len(images))
    images = images.to(_dtype_of(model) or images.dtype)
    with torch.no_grad():
        return _widen(check.logits(model(images), len(images)))  # type: ignore[operator]


def device_of(classifiers: Sequence[object], default: torch.device) -> torch.device:
    """The device of the first classifier that has parameters; `default` if none has."""
    nets = [getattr(classifier, "original", classifier) for classifier in classifiers]
    parameters = (next(net.parameters(), None) for net in nets if isinstance(net, nn.Module))
    return next((parameter.device for parameter in parameters if parameter is not None), default)


def _dtype_of(model: object) -> torch.dtype | None:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return parameter.dtype if parameter is not None and parameter.is_floating_point() else None


def _widen(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _ladder(precision: Precision) -> list[Search]:
    """Ways to find what can be done to a copy, the quickest first."""
    ladder: list[Search] = [
        partial(find, memory_format=torch.channels_last, folding=True),
        partial(find, memory_format=torch.channels_last),
        partial(find, memory_format=torch.contiguous_format, folding=True),  # of one that flattens its maps by `view`
    ]
    quickest = partial(find, memory_format=torch.channels_last, folding=True, quickening=True)
    return [quickest, *ladder] if precision == "fp32" else ladder


def _copied(model: nn.Module, plan: Plan | Search, noise: Tensor, expected: Tensor) -> tuple[Plan, nn.Module] | None:
    """A copy by a plan, or by what a search finds; None if there can be none, or if it is another function."""
    noise = noise.to(_dtype_of(model) or noise.dtype)
    try:
        used = plan if isinstance(plan, Plan) else plan(model, noise)
        network = used.copy_of(model)
        ready = Prepared(model, network, expected.shape[1], used.memory_format)
        if used is plan:
            logits = ready.logits(noise)
        else:
            logits, _ = ready.gradients(noise, lambda z: [torch.ones_like(z)])
    except Exception:  # a stranger may refuse to be copied, miss what its layers had, or refuse the way back
        return None
    return (used, network) if (logits - expected).abs().max() <= TOLERANCE * expected.abs().max() else None
