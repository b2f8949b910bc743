"""An attack of ours does in torchattacks what a built-in does: the host's checklist, a line a test."""

import copy
import doctest
import pickle
import re
from itertools import product
from pathlib import Path

import jaxtyping
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchattacks import FGSM, LGV, PGD, VANILA, MultiAttack
from torchattacks.attack import Attack
from torchattacks_world import world
from toys import Net, nets

from interp_torchattacks.attacks import EnsembleOptimization, PredictedLabelFGSM

OURS = [EnsembleOptimization, PredictedLabelFGSM]


@pytest.fixture
def attack() -> EnsembleOptimization:
    first, *others = nets(3)
    return EnsembleOptimization(first, surrogates=others, steps=4)


@pytest.mark.parametrize("attack_class", OURS)
def test_the_model_alone_is_enough(attack_class):
    images, labels = world()
    assert attack_class(Net(0))(images, labels).shape == images.shape


def test_in_the_default_mode_the_labels_lose_ground_with_the_members_together():
    members = nets(3)
    images, labels = world()
    adversarial = EnsembleOptimization(members[0], surrogates=members[1:])(images, labels)
    with torch.no_grad():
        before, after = (
            torch.stack([cross_entropy(net(x), labels, reduction="none") for net in members]).mean(0)
            for x in (images, adversarial)
        )
    assert (after > before + 1).all()


def test_several_networks_say_the_target():
    members = nets(3)
    images, labels = world()
    attack = EnsembleOptimization(members[0], surrogates=members[1:])
    attack.set_mode_targeted_by_function(lambda images, labels: (labels + 1) % 12, quiet=True)
    adversarial = attack(images, labels)
    with torch.no_grad():
        assert all((net(adversarial).argmax(1) == (labels + 1) % 12).all() for net in members)


def test_repr_shows_every_setting_and_no_module(attack):
    shown = repr(attack)
    assert shown.startswith("EnsembleOptimization(")
    for setting in (
        "steps=4",
        "fusion=loss",
        "weights=None",
        "balance=False",
        "distance=l2",
        "eps=None",
        "norm=linf",
        "tile=None",
        "precision=fp32",
    ):
        assert setting in shown
    assert "Conv2d" not in shown


@pytest.mark.parametrize("attack_class", OURS)
def test_no_setting_shadows_a_name_of_the_host(attack_class):
    added = vars(attack_class(Net(0))).keys() - vars(VANILA(Net(0))).keys()
    assert added
    assert not added & set(dir(Attack))


def test_settings_may_be_changed_afterwards_as_with_a_built_in(attack):
    images, labels = world()
    attack.steps = 1
    assert torch.equal(
        attack(images, labels), EnsembleOptimization(attack.model, attack._surrogates, steps=1)(images, labels)
    )


def test_settings_that_cannot_be_are_refused_at_once():
    with pytest.raises(ValueError, match="steps"):
        EnsembleOptimization(Net(0), steps=-1)


def test_surrogates_in_a_list_do_not_trip_the_hosts_attribute_check():
    assert len(EnsembleOptimization(Net(0), surrogates=[Net(1), Net(2)])._surrogates) == 2


@pytest.mark.parametrize("attack_class", OURS)
def test_it_is_a_member_of_multiattack(attack_class):
    net = Net(0)
    images, labels = world()
    adversarial = MultiAttack([attack_class(net), PGD(net)])(images, labels)
    with torch.no_grad():
        assert (net(adversarial).argmax(1) != labels).all()


def test_it_is_the_attack_inside_lgv():
    images, labels = world()
    lgv = LGV(Net(0), trainloader=None, n_grad=-1, verbose=False, attack_class=EnsembleOptimization, steps=5)
    lgv.load_models(nets(2))
    lgv.set_mode_targeted_least_likely(kth_min=2, quiet=True)
    adversarial = lgv(images, labels)
    assert (lgv.base_attack.steps, lgv.base_attack.targeted) == (5, True)
    assert not torch.equal(adversarial, images)


@pytest.mark.parametrize(
    ("save_type", "predictions", "clean"), list(product(["float", "int"], [False, True], [False, True]))
)
@pytest.mark.parametrize("attack_class", OURS)
def test_what_save_writes_load_reads(attack_class, save_type, predictions, clean, tmp_path: Path):
    images, labels = world()
    path = str(tmp_path / "set.pt")
    attack = attack_class(Net(0))
    loader = DataLoader(TensorDataset(images.contiguous(memory_format=torch.channels_last), labels), batch_size=4)
    attack.save(loader, save_path=path, save_type=save_type, save_predictions=predictions, save_clean_inputs=clean)
    read = Attack.load(path, batch_size=6, load_predictions=predictions, load_clean_inputs=clean)
    adversarial, read_labels, *more = next(iter(read))
    assert torch.allclose(adversarial, attack(images, labels), atol=1 / 255 if save_type == "int" else 0, rtol=0)
    assert torch.equal(read_labels, labels)
    assert len(more) == predictions + clean


def test_save_without_display_fails_on_predictions_for_every_attack_of_the_host(attack, tmp_path: Path):
    loader = DataLoader(TensorDataset(*world()), batch_size=4)
    for each in (FGSM(Net(0)), attack):
        with pytest.raises(UnboundLocalError, match="pred"):
            each.save(loader, save_path=str(tmp_path / "set.pt"), save_predictions=True, verbose=False)


def test_set_device_decides_where_the_images_go():
    net, images_and_labels = Net(0), world()
    elsewhere = EnsembleOptimization(copy.deepcopy(net).to("meta"), steps=2)
    elsewhere.set_model(net)
    elsewhere.set_device(torch.device("cpu"))
    assert torch.equal(elsewhere(*images_and_labels), EnsembleOptimization(net, steps=2)(*images_and_labels))


@pytest.mark.parametrize("attack_class", OURS)
def test_it_works_under_no_grad(attack_class):
    images, labels = world()
    attack = attack_class(Net(0))
    with torch.no_grad():
        adversarial = attack(images, labels)
    assert torch.equal(adversarial, attack(images, labels))


def channels_last(images):
    return images.contiguous(memory_format=torch.channels_last)


def every_second(images):
    return images.repeat_interleave(2, dim=3)[..., ::2]


def requiring_grad(images):
    return images.clone().requires_grad_()


@pytest.mark.parametrize("form", [channels_last, every_second, requiring_grad])
@pytest.mark.parametrize("attack_class", OURS)
def test_the_memory_of_the_input_does_not_matter_and_the_output_is_plain(attack_class, form):
    images, labels = world(8)  # a whole tile: nothing is padded, and so copied, on the way
    attack = attack_class(Net(0))
    given = form(images)
    adversarial = attack(given, labels)
    assert torch.equal(adversarial, attack(images, labels))
    assert adversarial.is_contiguous()
    assert not adversarial.requires_grad
    assert torch.equal(given, images)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda attack: pickle.loads(pickle.dumps(attack))])  # noqa: S301
def test_a_copy_does_the_same(attack, again):
    images, labels = world()
    attack.set_mode_targeted_least_likely(kth_min=3, quiet=True)
    assert torch.equal(again(attack)(images, labels), attack(images, labels))


@pytest.mark.parametrize("attack_class", OURS)
def test_no_gradient_is_left_in_a_parameter(attack_class):
    net, images_and_labels = Net(0), world()
    attack_class(net)(*images_and_labels)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("attack_class", OURS)
def test_grey_levels_from_0_to_255_are_refused(attack_class):
    images, labels = world()
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\]"):
        attack_class(Net(0))(images * 255, labels)


@pytest.mark.parametrize("attack_class", OURS)
def test_integer_images_are_refused(attack_class, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no shape checker before ours
    images, labels = world()
    with pytest.raises(TypeError, match="float"):
        attack_class(Net(0))((images * 255).to(torch.uint8), labels)


def test_predicted_labels_are_used_whatever_is_passed():
    images, labels = world()
    attack = PredictedLabelFGSM(Net(0))
    assert torch.equal(attack(images, (labels + 1) % 12), attack(images))


def test_the_session_of_the_hosts_page_prints_what_it_says():
    page = (Path(__file__).parents[2] / "docs" / "hosts" / "torchattacks.md").read_text(encoding="utf-8")
    (session,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    said: list[str] = []
    with torch.random.fork_rng():
        runner = doctest.DocTestRunner(verbose=False)
        result = runner.run(doctest.DocTestParser().get_doctest(session, {}, "session", None, 0), out=said.append)
    assert result.attempted == 10
    assert "".join(said) == ""


def test_predicted_label_fgsm_has_no_targeted_mode():
    with pytest.raises(ValueError, match="Targeted mode is not supported"):
        PredictedLabelFGSM(Net(0)).set_mode_targeted_random(quiet=True)
