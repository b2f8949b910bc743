import pytest
import torch
from oracles import best, pgd

from interp_plugins.attacks import FGSM, PGD, PredictedLabelFGSM
from interp_plugins.testing import Affine, toy_classifier, toy_images


def test_fgsm_by_hand():
    model = Affine(torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]]))
    images, label = torch.full((1, 3, 1, 1), 0.5), torch.tensor([0])
    away = FGSM(epsilon=0.1)(model, images, label)
    towards = FGSM(epsilon=0.1, targeted=True)(model, images, label)
    torch.testing.assert_close(away.flatten(), torch.tensor([0.4, 0.6, 0.5]))
    torch.testing.assert_close(towards.flatten(), torch.tensor([0.6, 0.4, 0.5]))


def test_the_predicted_label_stands_in_for_a_missing_one():
    model, (images, labels) = toy_classifier(), toy_images(5)
    said = model(images).argmax(1)
    assert not torch.equal(said, labels)
    assert torch.equal(PredictedLabelFGSM()(model, images), FGSM()(model, images, said))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_pgd_equals_the_oracle(norm, targeted):
    model, (images, labels) = toy_classifier().double(), toy_images(4)
    images = images.double()
    settings = {"epsilon": 0.3, "step_size": 0.1, "steps": 6, "norm": norm, "targeted": targeted}
    found = PGD(**settings)(model, images, labels)
    for i in range(4):
        visited = pgd(model, images[i], int(labels[i]), **settings)
        torch.testing.assert_close(found[i], visited[best(visited)][0], rtol=0, atol=1e-9)


def test_the_last_iterate_is_scored_too():
    model = Affine(torch.tensor([[1.0], [-1.0]]), torch.tensor([0.0, 0.0]))
    images = torch.full((1, 1, 1, 1), 0.5)
    found = PGD(epsilon=0.3, step_size=0.1, steps=1)(model, images, torch.tensor([0]))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.4]))


def test_a_random_start_depends_on_seed_and_id_alone():
    model, (images, labels) = toy_classifier(), toy_images(3)
    attack = PGD(random_start=True, steps=2)
    found = attack(model, images, labels, seed=3, ids=["a", "b", "c"])
    alone = attack(model, images[2:], labels[2:], seed=3, ids=["c"])
    assert torch.equal(alone[0], found[2])
    assert not torch.equal(attack(model, images, labels, seed=4, ids=["a", "b", "c"]), found)


def test_a_classifier_in_training_mode_is_attacked_in_eval_mode():
    model, (images, labels) = toy_classifier(), toy_images(3)
    expected = PGD()(model, images, labels)
    assert torch.equal(PGD()(model.train(), images, labels), expected)


def test_pgd_works_under_inference_mode():
    model, (images, labels) = toy_classifier(), toy_images(3)
    expected = PGD()(model, images, labels)
    with torch.inference_mode():
        assert torch.equal(PGD()(model, images * 1, labels), expected)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PGD(steps=0), "expected steps above 0"),
        (lambda: PGD(step_size=-1), "expected step_size above 0"),
        (lambda: PGD(norm="l1"), "expected norm to be one of"),
        (lambda: FGSM(epsilon=8), "write 8 / 255"),
        (lambda: PredictedLabelFGSM(tile=5), "power of two"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_settings_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match="expected labels from 0 to 9, got 10"):
        FGSM()(toy_classifier(), toy_images(2)[0], torch.tensor([0, 10]))


def test_two_logits_that_sum_to_one_are_attacked():
    image = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    found = FGSM(epsilon=0.25)(Affine(torch.eye(2)), image, torch.tensor([1]))
    assert found.flatten().tolist() == [0.25, 0.75]


def test_two_probabilities_of_a_single_image_are_refused():
    model = torch.nn.Sequential(toy_classifier(classes=2), torch.nn.Softmax(1))
    with pytest.raises(ValueError, match="expected logits from the classifier, got probabilities"):
        FGSM()(model, toy_images(1)[0], torch.tensor([1]))


def test_a_model_in_bf16_search_still_fools():
    model, (images, _) = toy_classifier(), toy_images(8)
    said = model(images).argmax(1)
    found = PGD(epsilon=0.3, step_size=0.05, precision="bf16")(model, images, said)
    assert (model(found).argmax(1) != said).float().mean() > 0.5
