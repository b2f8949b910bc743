"""The attacks that judge a network; AutoAttack is torchattacks' own, and only needs that where it is asked for."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn

from interp_plugins.attacks import FGSM
from interp_plugins.cli.train.asked import Judgement
from interp_plugins.cli.train.attacks import FOREIGN, NORMS, Spec, search
from interp_plugins.hookspecs import Method
from interp_plugins.hosts import TORCHATTACKS, fetch

TILE = 256  # rows a call on a GPU
FEWEST = 4  # classes that AutoAttack's losses compare
AUTOATTACK = Method(
    name="AutoAttack",
    kind="attack",
    target="torchattacks:AutoAttack",
    summary="Four attacks without settings, one after the other.",
    host=TORCHATTACKS.name,
    paper="arXiv:2003.01690",
)

Judge = Callable[[Float[Tensor, "n c h w"], Int[Tensor, " n"], list[int]], Tensor]


def judge_of(spec: Spec, network: nn.Module, classes: int, given: Judgement) -> Judge:
    """What attacks images, given with their true classes and their places among all images.

    Raises:
        ValueError: AutoAttack of a network with too few classes.
        HostMissing: AutoAttack without torchattacks.
    """
    tile = TILE if next(network.parameters()).device.type == "cuda" else None
    if spec.kind in FOREIGN:
        if classes < FEWEST:
            raise ValueError(
                f"expected a network of at least {FEWEST} classes for AutoAttack, whose losses compare as many, got "
                f"one of {classes}; leave it out"
            )
        foreign = fetch(AUTOATTACK)(
            network,
            norm=NORMS[spec.norm],
            eps=spec.epsilon,
            version=given.autoattack,
            n_classes=classes,
            seed=given.seed,
        )
        return lambda images, labels, _places: foreign(images, labels)
    if spec.kind == "fgsm":
        step = FGSM(epsilon=spec.epsilon, tile=tile)
        return lambda images, labels, _places: step(network, images, labels)
    if spec.kind == "clean":
        return lambda images, _labels, _places: images
    pgd = search(spec, tile)
    return lambda images, labels, places: pgd(network, images, labels, seed=given.seed, ids=places)
