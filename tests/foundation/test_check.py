import pytest
import torch

from interp_plugins.foundation import check

GOOD = torch.rand(2, 3, 4, 4)


def changed(value, index=(1, 0, 0, 0)):
    images = GOOD.clone()
    images[index] = value
    return images


@pytest.mark.parametrize(
    ("images", "error", "sentence"),
    [
        ([[1.0]], TypeError, "expected images as a torch tensor, got list"),
        (
            torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
            TypeError,
            r"floating dtype in \[0, 1\], got torch.uint8; divide by 255",
        ),
        (GOOD[0], ValueError, r"expected images of shape \(n, channels, height, width\), got \(3, 4, 4\)"),
        (GOOD[:0], ValueError, r"expected at least one image in images, got shape \(0, 3, 4, 4\)"),
        (torch.rand(2, 32, 32, 3), ValueError, r"looks like channels last; use .permute\(0, 3, 1, 2\)"),
        (changed(float("nan")), ValueError, "NaN or infinity in row 1; look at how they were read"),
        (changed(float("inf")), ValueError, "NaN or infinity in row 1"),
        (GOOD * 255, ValueError, r"expected images in \[0, 1\], got values from .* to .*; divide by 255"),
        (GOOD - 0.9, ValueError, "undo the normalisation: it belongs inside the model"),
    ],
)
def test_wrong_images_are_refused_with_one_sentence(images, error, sentence):
    with pytest.raises(error, match=sentence):
        check.images(images)


def test_rounding_slack_is_clamped_and_more_is_refused():
    assert float(check.images(changed(1 + 0.9e-5)).max()) == 1.0
    assert float(check.images(changed(-0.9e-5)).min()) == 0.0
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        check.images(changed(1 + 2e-5))


def test_good_images_come_back_as_they_are():
    assert check.images(GOOD).data_ptr() == GOOD.data_ptr()


@pytest.mark.parametrize(
    ("labels", "error", "sentence"),
    [
        ([0, 1], TypeError, "expected labels as a torch tensor, got list"),
        (torch.zeros(2), TypeError, r"integer dtype, got torch.float32; one-hot rows become labels by .argmax\(1\)"),
        (torch.zeros(3, dtype=torch.long), ValueError, r"expected labels of shape \(2,\), got \(3,\)"),
        (torch.tensor([0, 10]), ValueError, "expected labels from 0 to 9, got 10"),
        (torch.tensor([-1, 0]), ValueError, "expected labels from 0 to 9, got -1"),
    ],
)
def test_wrong_labels_are_refused_with_one_sentence(labels, error, sentence):
    with pytest.raises(error, match=sentence):
        check.labels(labels, 2, 10)


@pytest.mark.parametrize(
    ("logits", "error", "sentence"),
    [
        ((torch.zeros(2, 3),), TypeError, r"expected logits of shape \(2, classes\) from the classifier, got tuple"),
        (
            torch.zeros(2, 3, 4),
            ValueError,
            r"expected logits of shape \(2, classes\) from the classifier, got \(2, 3, 4\)",
        ),
        (torch.full((2, 3), float("nan")), ValueError, "expected finite logits"),
        (torch.randn(2, 3).softmax(1), ValueError, "got probabilities .* drop its softmax"),
    ],
)
def test_what_is_no_logits_is_refused_with_one_sentence(logits, error, sentence):
    with pytest.raises(error, match=sentence):
        check.logits(logits, 2)


@pytest.mark.parametrize(
    "rows",
    [
        [[0.0, 1.0]],
        [[0.0, 1.0], [1.0, 0.0]],
        [[0.25, 0.75]],
        [[0.25, 0.75], [0.25, 0.75]],  # one image, repeated to fill a tile
        [[0.0, 1.0, 0.0]],
        [[0.2, 0.8], [0.3, 0.8]],
        [[1.5, -0.5], [0.2, 0.8]],
    ],
)
def test_logits_that_sum_to_one_by_accident_are_logits(rows):
    logits = torch.tensor(rows)
    assert check.logits(logits, len(rows)) is logits


@pytest.mark.parametrize("classes", [2, 3, 1000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_what_a_softmax_gives_is_refused(classes, dtype, scale):
    logits = torch.randn(2, classes, generator=torch.Generator().manual_seed(0)) * scale
    with pytest.raises(ValueError, match="got probabilities"):
        check.logits(logits.softmax(1).to(dtype), 2)


def test_one_row_of_several_classes_is_enough_to_refuse_a_softmax():
    with pytest.raises(ValueError, match="got probabilities"):
        check.logits(torch.tensor([[0.2, 0.3, 0.5]]), 1)


def test_a_row_of_zeros_and_ones_does_not_hide_a_softmax():
    with pytest.raises(ValueError, match="got probabilities"):
        check.logits(torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]), 2)


def test_a_target_that_is_the_label_is_refused_with_its_place():
    with pytest.raises(ValueError, match=r"got target 3 for image 1 whose label it is \(target number 0\)"):
        check.differ(torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, 3]))


def test_members_must_agree_on_the_classes():
    with pytest.raises(ValueError, match=r"one number of classes, got \[10, 1000\]"):
        check.same_classes([10, 1000])


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match=r"expected finite gradients, got NaN or infinity in row 1 of a tile"):
        check.finite_rows(changed(float("nan")), "gradients")


def test_large_finite_rows_whose_sum_overflows_are_finite():
    check.finite_rows(torch.full((4, 3), 3e38), "gradients")


def test_infinities_that_cancel_are_found():
    with pytest.raises(ValueError, match="in rows 0, 2 of a tile"):
        check.finite_rows(torch.tensor([[float("inf")], [0.0], [float("-inf")]]), "gradients")


def test_a_mask_must_broadcast():
    assert check.broadcasts(torch.ones(4, 4), GOOD, "mask").shape == GOOD.shape
    with pytest.raises(ValueError, match=r"expected a mask that broadcasts to \(2, 3, 4, 4\), got \(5, 5\)"):
        check.broadcasts(torch.ones(5, 5), GOOD, "mask")


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_positive_numbers_only(value):
    with pytest.raises(ValueError, match="expected epsilon above 0"):
        check.positive(epsilon=value)


def test_choices_are_listed():
    with pytest.raises(ValueError, match="expected norm to be one of 'linf', 'l2', got 'l1'"):
        check.one_of("norm", "l1", ("linf", "l2"))
