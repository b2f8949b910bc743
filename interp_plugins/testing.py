"""Toy classifiers and the contract of an attack, for our own tests and for those of plugin authors.

from interp_plugins.testing import check_attack

def test_my_attack_keeps_the_contract():
check_attack(lambda model, images, labels: MyAttack()(model, images, labels), epsilon=8 / 255)
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp_plugins.foundation.ball import Norm, length

AttackCall = Callable[[nn.Module, Tensor, Tensor], Tensor]


class BrokenContract(AssertionError):
    """An attack does not keep what attacks promise; the message says which promise."""


class Affine(nn.Module):
    """Logits W x + b of the flattened image: every gradient is known by hand."""

    def __init__(self, weight: Float[Tensor, "k d"], bias: Float[Tensor, " k"] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(weight)).to(weight) if bias is None else bias)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits (n, k) of images (n, c, h, w)."""
        return torch.nn.functional.linear(images.flatten(1), self.weight, self.bias)


def toy_classifier(seed: int = 0, classes: int = 10, channels: int = 3, width: int = 8) -> nn.Module:
    """A small untrained convolutional classifier with BatchNorm, dropout and a shortcut, in eval mode.

    Its BatchNorm statistics are off their initial values, so that a folded or a wrongly moded one shows.
    """
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _Shortcut(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(0.5 + noise.abs() if name.endswith("running_var") else 0.4 * noise)
    return net.eval()


class _Shortcut(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.body(x))


def toy_images(n: int = 3, size: int = 8, seed: int = 0) -> tuple[Float[Tensor, "n 3 h w"], Int[Tensor, " n"]]:
    """Noise images in [0, 1] and labels below ten."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, size, size, generator=generator), torch.randint(10, (n,), generator=generator)


def check_attack(attack: AttackCall, *, epsilon: float | None = None, norm: Norm = "linf", size: int = 8) -> None:
    """Check the contract of an attack on a toy classifier.

    Args:
        attack: Called with a classifier, images (n, 3, size, size) in [0, 1] and labels (n,) below ten.
        epsilon: The radius it promises to keep, in [0, 1] pixels; None: only the box is checked.
        norm: The norm of the ball.
        size: Height and width of the images.

    Raises:
        BrokenContract: It leaves the box or the ball, changes its input, the model, its gradients or the global
            random state, gives another answer when asked again, in another batch or under `torch.no_grad`, or does
            not give the model back when the model raises.
    """
    images, labels = toy_images(3, size)
    model, before = toy_classifier().train(), images.clone()
    model[1].eval()  # type: ignore[index]  # a BatchNorm frozen inside a training model
    state, random_state = _state(model), torch.get_rng_state()
    adversarial = attack(model, images, labels)

    _demand(adversarial.shape == images.shape and adversarial.dtype == images.dtype, "the images' shape and dtype")
    _demand(bool((adversarial >= 0).all() and (adversarial <= 1).all()), "images in the box [0, 1]")
    if epsilon is not None:
        change = adversarial - images
        size_of = change.abs().amax() if norm == "linf" else length(change).amax()
        _demand(float(size_of) <= epsilon * (1 + 1e-5), f"a change of at most {epsilon:.4g}, got {float(size_of):.4g}")
    _demand(not adversarial.requires_grad, "images without a graph")
    _demand(torch.equal(images, before), "an input that is left alone")
    _demand(_state(model) == state, "a model given back as found: modes, requires_grad, gradients, hooks")
    _demand(torch.equal(torch.get_rng_state(), random_state), "the global random state left alone")
    _demand(torch.equal(attack(model, images, labels), adversarial), "the same answer to the same question")
    alone = torch.cat([attack(model, images[i : i + 1], labels[i : i + 1]) for i in range(len(images))])
    _demand(torch.equal(alone, adversarial), "the same bits alone and in a batch")
    with torch.no_grad():
        _demand(torch.equal(attack(model, images, labels), adversarial), "the same answer under torch.no_grad")
    _check_raising_model(attack, images, labels)


def _check_raising_model(attack: AttackCall, images: Tensor, labels: Tensor) -> None:
    class Failure(Exception):
        pass

    def fail(_module: nn.Module, _inputs: object) -> None:
        raise Failure

    model = toy_classifier().train()
    model[4].eval()  # type: ignore[index]
    model[7].register_forward_pre_hook(fail)  # type: ignore[index]
    state = _state(model)
    try:
        attack(model, images, labels)
    except Failure:
        _demand(_state(model) == state, "a model given back as found when it raises")
    else:
        raise BrokenContract("expected a classifier's own exception to come through")


def _state(model: nn.Module) -> object:
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad is None for parameter in model.parameters()],
        [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()],
        [float(value.double().sum()) for value in model.state_dict().values()],
    )


def _demand(kept: bool, promise: str) -> None:
    if not kept:
        raise BrokenContract(f"expected {promise}")
