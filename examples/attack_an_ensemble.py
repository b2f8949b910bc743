"""Fool several networks with one image, from the core, from torchattacks and from ART, and ask one more network.

python examples/attack_an_ensemble.py
python examples/attack_an_ensemble.py --model nets.py:first --model nets.py:second --heldout nets.py:third --data FOLDER
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.progress import track
from torch import Tensor, nn

from interp_plugins.attacks import EnsembleOptimization, LeastLikely
from interp_plugins.demo.networks import fresh, train
from interp_plugins.report.results import Row, rate
from interp_plugins.sources import images, models, scenes

Networks = dict[str, nn.Module]
NUMBERS = {"images": 16, "size": 32, "targets": 3, "steps": 20, "training": 800}


@dataclass(frozen=True)
class Result:
    """The rates, and whether each host that is installed gave the core's bits."""

    rows: dict[str, Row]
    same_bits: dict[str, bool]


# [torchattacks]
def through_torchattacks(members: Sequence[nn.Module], x: Tensor, y: Tensor, steps: int) -> Tensor:
    """The attack as a class of torchattacks."""
    from interp_torchattacks import EnsembleOptimization

    attack = EnsembleOptimization(members[0], surrogates=members[1:], steps=steps)
    attack.set_mode_targeted_by_label(quiet=True)
    return attack(x, y)


# [art]
def through_art(members: Sequence[nn.Module], x: Tensor, y: Tensor, steps: int) -> Tensor:
    """The attack as a class of ART."""
    from art.estimators.classification import PyTorchClassifier

    from interp_art import EnsembleOptimization

    facts = {"input_shape": tuple(x.shape[1:]), "nb_classes": members[0](x[:1]).shape[1], "clip_values": (0.0, 1.0)}
    first, *others = [PyTorchClassifier(model=net, loss=nn.CrossEntropyLoss(), **facts) for net in members]
    attack = EnsembleOptimization(first, surrogates=others, steps=steps, targeted=True, verbose=False)
    return torch.from_numpy(attack.generate(x=x.numpy(), y=y.numpy()))


# [drawn]
def drawn(given: argparse.Namespace) -> tuple[Networks, Networks, Tensor, Tensor]:
    """Networks that are trained here on drawn scenes, the last of them held out, and scenes they have not seen."""
    seen, unseen = scenes.draw(given.training, given.size), scenes.draw(given.images, given.size, start=given.training)
    networks: Networks = {f"depth {depth}": fresh(depth, len(seen.classes), 16, seed=0) for depth in (4, 8, 12)}
    for name, network in networks.items():
        tuple(track(train(network, seen.images, seen.labels, epochs=6, seed=0), f"training {name}", total=6))
    return networks, {(last := list(networks)[-1]): networks.pop(last)}, unseen.floats(), unseen.labels


# [real]
def real(given: argparse.Namespace) -> tuple[Networks, Networks, Tensor, Tensor]:
    """Networks and images of yours."""
    found, chosen = images.load(given.data, size=given.size), range(given.images)
    members, heldout = ({n.name: n.module for n in map(models.load, specs)} for specs in (given.model, given.heldout))
    return members, heldout, found.tensor(chosen).float() / 255, found.labels[: given.images]


# [main]
def main(argv: Sequence[str] | None = None) -> Result:
    """Attack, count, compare the hosts, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", action="append", default=[], metavar="SPEC", help="a network to attack; repeat")
    parser.add_argument("--heldout", action="append", default=[], metavar="SPEC", help="a network that is only asked")
    parser.add_argument("--data", help="images: a folder of class folders or with a labels.csv, or an .npz")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    given = parser.parse_args(argv)
    if bool(given.model) != bool(given.data):
        parser.error("--model and --data go together")
    torch.set_num_threads(1)  # bits are promised for one thread
    networks, heldout, x, labels = real(given) if given.model else drawn(given)
    # [attack]
    members = list(networks.values())
    attack = EnsembleOptimization(steps=given.steps)
    found = attack.run(members, x, LeastLikely(given.targets), labels=labels)
    # [count]
    counts = {name: found.fooled[:, :, k] for k, name in enumerate(networks)}
    counts["all of them at once"] = found.fooled.all(2)
    for name, network in heldout.items():
        with torch.no_grad():
            said = network(found.images.flatten(0, 1)).argmax(1).unflatten(0, found.targets.shape)
        counts[f"{name}, not attacked"] = said == found.targets
    rows = {name: rate(name, int(flags.sum()), flags.numel()) for name, flags in counts.items()}
    # [compare]
    y = found.targets[:, 0]  # hosts return one image for each, so one target each
    hosts: dict[str, Callable[..., Tensor]] = {"torchattacks": through_torchattacks, "ART": through_art}
    core, same_bits = attack(members, x, y), {}
    for host, through in hosts.items():
        try:
            same_bits[host] = torch.equal(through(members, x, y, given.steps), core)
        except ImportError as error:
            print(f"{host} is left out: {error}")
    # [print]
    print(f"{len(x)} images, {given.targets} targets each, {given.steps} steps; says the target:")
    for row in rows.values():
        print(f"  {row.name:<24}{row.numerator:>5} of {row.denominator}, {row.low:.1%} to {row.high:.1%}")
    print(f"median change: rmse {found.rmse.median():.1f}, largest {found.linf.median() * 255:.0f} of 255 grey levels")
    print(*(f"{host} gives {'the same' if same else 'OTHER'} bits" for host, same in same_bits.items()), sep="\n")
    # [expect]
    assert all(same_bits.values()), "a host gave other bits than the core"
    if given == parser.parse_args([]):
        assert found.fooled.all(2).float().mean() > 0.9, "too few attacks fool all the drawn networks"
    # [end]
    return Result(rows, same_bits)


if __name__ == "__main__":
    main()
