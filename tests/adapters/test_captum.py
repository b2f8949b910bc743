"""Perturbations of ours do in Captum what its own do, and give the core's bits."""

import copy
import doctest
import inspect
import re
from functools import partial
from pathlib import Path

import jaxtyping
import pytest
import torch
from captum.robust import FGSM, AttackComparator, MinParamPerturbation, Perturbation
from torch import Tensor, nn
from toys import CLASSES, Net, modes, nets

from interp_captum.perturbations import EnsembleOptimization, PredictedLabelFGSM
from interp_plugins import attacks

OURS = [partial(EnsembleOptimization, steps=3), PredictedLabelFGSM]
SETTINGS = [
    {},
    {"fusion": "prob"},
    {"fusion": "logit", "weights": (0.5, 0.3, 0.2)},
    {"balance": True, "distance": "rmse", "distance_weight": 0.01},
    {"epsilon": 0.5, "norm": "l2", "step_size": 2 / 255},
    {"tile": 4},
]


class Shifted(nn.Module):
    """A network that takes a number for each image, and the name of a sign, besides the images."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.net = Net(seed)

    def forward(self, images: Tensor, shift: Tensor, sign: str = "+") -> Tensor:
        shift = shift[:, None, None, None]
        return self.net(images + shift if sign == "+" else images - shift)


def world(count: int = 6) -> tuple[Tensor, Tensor]:
    """Images, and what the first network says of them."""
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return images, Net(0)(images).argmax(1)


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.argmax(1) == target).float()


def sentence(match: str, error: type[Exception] = ValueError):
    return pytest.raises(error, match=match)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("targeted", [False, True])
def test_an_ensemble_of_modules_gives_the_cores_bits(settings, targeted):
    members, (images, labels) = nets(3), world()
    target = (labels + 1) % CLASSES if targeted else labels
    settings = {"steps": 5, **settings}
    found = EnsembleOptimization(members[0], members[1:], **settings).perturb(images, target, targeted=targeted)
    assert torch.equal(found, attacks.EnsembleOptimization(targeted=targeted, **settings)(members, images, target))
    assert not torch.equal(found, images)


def test_predicted_label_fgsm_gives_the_cores_bits():
    images, _ = world()
    expected = attacks.PredictedLabelFGSM(epsilon=4 / 255)(Net(0), images)
    assert torch.equal(PredictedLabelFGSM(Net(0), epsilon=4 / 255).perturb(images), expected)


def test_predicted_labels_are_used_whatever_is_passed():
    images, labels = world()
    attack = PredictedLabelFGSM(Net(0))
    assert torch.equal(attack.perturb(images, target=(labels + 1) % CLASSES), attack.perturb(images))


@pytest.mark.parametrize(
    ("ours", "core"),
    [(EnsembleOptimization, attacks.EnsembleOptimization), (PredictedLabelFGSM, attacks.PredictedLabelFGSM)],
)
def test_settings_have_the_cores_names_and_defaults_and_go_by_keyword(ours, core):
    given = {
        name: parameter.default
        for name, parameter in inspect.signature(ours).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    own = {name: parameter.default for name, parameter in inspect.signature(core).parameters.items()}
    assert given == {name: default for name, default in own.items() if name != "targeted"}  # an argument of perturb


@pytest.mark.parametrize("epsilon_or_steps", [{"epsilon": 0.01}, {"steps": 2}, {"step_size": 0.01}])
def test_what_perturb_is_given_stands_in_place_of_the_constructors(epsilon_or_steps):
    images, labels = world()
    attack = EnsembleOptimization(Net(0), steps=4)
    found = attack.perturb(images, labels, **epsilon_or_steps)
    again = EnsembleOptimization(Net(0), **{"steps": 4, **epsilon_or_steps})
    assert torch.equal(found, again.perturb(images, labels))
    assert not torch.equal(found, attack.perturb(images, labels))


def test_targets_come_in_every_form_that_captum_takes_for_logits():
    images, _ = world()
    attack = EnsembleOptimization(Net(0), steps=2)
    expected = attack.perturb(images, torch.full((6,), 3), targeted=True)
    for target in (3, torch.tensor(3), torch.tensor([3]), [3] * 6, (3,) * 6):
        assert torch.equal(attack.perturb(images, target, targeted=True), expected)


@pytest.mark.parametrize("ours", OURS)
def test_a_tuple_comes_back_for_a_tuple(ours):
    images, labels = world()
    attack = ours(Net(0))
    (found,) = attack.perturb((images,), labels)
    assert torch.equal(found, attack(images, labels))


def test_pixels_under_the_mask_stay():
    images, labels = world()
    mask = torch.ones_like(images)
    mask[:, :, :4] = 0
    found = EnsembleOptimization(Net(0), steps=3).perturb(images, labels, mask=mask)
    assert torch.equal(found[:, :, :4], images[:, :, :4])
    assert not torch.equal(found[:, :, 4:], images[:, :, 4:])


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("sign", ["+", "-"])
def test_additional_arguments_reach_the_model_row_by_row(ours, sign):
    images, labels = world(3)
    shift = torch.tensor([0.0, 0.3, -0.3])
    found = ours(Shifted(0)).perturb(images, labels, (shift, sign))
    for row, amount in enumerate(shift):

        def fixed(part: Tensor, amount: Tensor = amount) -> Tensor:
            return Shifted(0)(part, amount.expand(len(part)), sign)

        alone = ours(fixed).perturb(images[row : row + 1], labels[row : row + 1])
        assert torch.equal(found[row : row + 1], alone)


def test_an_additional_argument_that_is_no_tensor_is_handed_on():
    images, labels = world()

    def forward(part: Tensor, which: str) -> Tensor:
        return {"first": Net(0), "second": Net(1)}[which](part)

    found = EnsembleOptimization(forward, steps=2).perturb(images, labels, additional_forward_args="second")
    assert torch.equal(found, EnsembleOptimization(lambda part: Net(1)(part), steps=2).perturb(images, labels))


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("extra", [None, "shift"])
def test_a_module_comes_back_as_it_was_found(ours, extra):
    images, labels = world(2)
    net = Net(0).train() if extra is None else Shifted(0).train()
    before, state = modes(net), copy.deepcopy(net.state_dict())
    ours(net).perturb(images, labels, None if extra is None else torch.zeros(2))
    assert modes(net) == before
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("ours", OURS)
def test_it_works_under_no_grad_and_leaves_no_gradient_behind(ours):
    images, labels = world()
    attack, given = ours(Net(0)), images.clone().requires_grad_()
    with torch.no_grad():
        found = attack.perturb(given, labels)
    assert torch.equal(found, attack.perturb(images, labels))
    assert not found.requires_grad
    assert given.grad is None


@pytest.mark.filterwarnings("ignore:Input Tensor:UserWarning")  # of Captum's own attack
def test_they_stand_beside_captums_fgsm_in_its_comparator():
    members, (images, labels) = nets(2), world()
    comparator = AttackComparator(members[0], accuracy)
    by_loss = FGSM(members[0], loss_func=nn.CrossEntropyLoss(reduction="none"), lower_bound=0, upper_bound=1)
    comparator.add_attack(by_loss, "theirs", attack_kwargs={"epsilon": 8 / 255}, additional_attack_arg_names=["target"])
    ensemble = EnsembleOptimization(members[0], members[1:])
    comparator.add_attack(ensemble, additional_attack_arg_names=["target"])
    comparator.add_attack(PredictedLabelFGSM(members[0]), additional_attack_arg_names=["target"])
    for each in (images[:3], labels[:3]), (images[3:], labels[3:]):
        comparator.evaluate(each[0], target=each[1], perturbations_per_eval=2)
    summary = {name: float(found["mean"]) for name, found in comparator.summary().items()}
    with torch.no_grad():
        expected = float(accuracy(members[0](ensemble.perturb(images, labels)), labels).mean())
    assert (summary["Original"], summary["EnsembleOptimization"]) == (1, pytest.approx(expected))
    assert summary["PredictedLabelFGSM"] == pytest.approx(summary["theirs"])  # every label is the prediction here


def test_the_comparator_attacks_before_a_normalisation():
    images, labels = world()
    net = Net(0)

    def normalise(part: Tensor) -> Tensor:
        return (part - 0.5) / 0.25

    whole = nn.Sequential(Front(normalise), net)
    comparator = AttackComparator(net, accuracy, preproc_fn=normalise)
    attack = EnsembleOptimization(whole, steps=4)
    comparator.add_attack(attack, additional_attack_arg_names=["target"])
    found = comparator.evaluate(images, target=labels)
    with torch.no_grad():
        expected = accuracy(whole(attack.perturb(images, labels)), labels)
    assert torch.equal(found["EnsembleOptimization"]["mean"], expected)


class Front(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


@pytest.mark.parametrize("mode", ["linear", "binary"])
def test_the_smallest_epsilon_is_found(mode):
    net, (images, labels) = Net(0), world()
    attack = PredictedLabelFGSM(net)
    search = MinParamPerturbation(net, attack, "epsilon", 1 / 255, 33 / 255, 1 / 255, mode=mode)
    adversarial, smallest = search.evaluate(images[:1], target=labels[:1])
    assert torch.equal(adversarial, attack.perturb(images[:1], epsilon=smallest))
    with torch.no_grad():
        assert net(adversarial).argmax(1) != labels[0]
    if smallest > 1.5 / 255:
        with torch.no_grad():
            assert net(attack.perturb(images[:1], epsilon=smallest - 1 / 255)).argmax(1) == labels[0]


def test_the_smallest_number_of_steps_is_found():
    net, (images, labels) = Net(0), world()
    attack = EnsembleOptimization(net, step_size=1 / 255)
    search = MinParamPerturbation(net, attack, "steps", 1, 30, 1)
    adversarial, steps = search.evaluate(images[:1], target=labels[:1], attack_kwargs={"target": labels[:1]})
    assert torch.equal(adversarial, attack.perturb(images[:1], labels[:1], steps=steps))


@pytest.mark.parametrize("ours", OURS)
def test_they_are_perturbations(ours):
    assert isinstance(ours(Net(0)), Perturbation)


def test_settings_that_cannot_be_are_refused_at_once():
    with sentence("expected steps above 0, got -1"):
        EnsembleOptimization(Net(0), steps=-1)
    with sentence("epsilon"):
        PredictedLabelFGSM(Net(0), epsilon=-1.0)


@pytest.mark.parametrize("ours", OURS)
def test_what_is_no_image_is_refused(ours, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no shape checker before ours
    images, labels = world()
    attack = ours(Net(0))
    with sentence(r"expected inputs in \[0, 1\]"):
        attack.perturb(images * 255, labels)
    with sentence("expected inputs as a torch tensor, got list", TypeError):
        attack.perturb([images], labels)
    with sentence("expected one tensor of images, got a tuple of 2: the others can be additional_forward_args"):
        attack.perturb((images, images), labels)


def test_targets_masks_and_additional_rows_that_do_not_fit_are_refused():
    images, labels = world()
    attack = EnsembleOptimization(Net(0))
    with sentence(r"expected target of shape \(6,\), got \(5,\)"):
        attack.perturb(images, labels[:5])
    with sentence(r"expected a mask that broadcasts to \(6, 3, 8, 8\), got \(2, 3, 8, 8\)"):
        attack.perturb(images, labels, mask=torch.ones(2, 3, 8, 8))
    with sentence(r"one row for each of 6 images, got a tensor of shape \(5,\)"):
        EnsembleOptimization(Shifted(0)).perturb(images, labels, torch.zeros(5))


def test_probabilities_are_refused():
    images, labels = world()
    with sentence("probabilities"):
        EnsembleOptimization(nn.Sequential(Net(0), nn.Softmax(1))).perturb(images, labels)


def test_the_session_of_the_hosts_page_prints_what_it_says():
    page = (Path(__file__).parents[2] / "docs" / "hosts" / "captum.md").read_text(encoding="utf-8")
    session = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    said: list[str] = []
    with torch.random.fork_rng():
        parsed = doctest.DocTestParser().get_doctest(session, {}, "session", None, 0)
        result = doctest.DocTestRunner(verbose=False).run(parsed, out=said.append)
    assert result.attempted > 10
    assert "".join(said) == ""
