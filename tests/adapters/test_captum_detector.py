"""The detector takes what a Captum user has, and gives what the core gives."""

import pytest
import torch
from evaluated import ALIKE, IMAGES, LABELS, MOVED, REAL
from torch.utils.data import DataLoader, TensorDataset
from toys import CLASSES, Net, modes

from interp_captum.detector import ConflictDetector
from interp_plugins.neurons import detection, neuron_exemplars
from interp_plugins.neurons.histograms import histogram

HELD_OUT = (IMAGES[20:], LABELS[20:])


def meanings(images, labels):
    found = neuron_exemplars(Net(0), ["second"], [(images, torch.arange(len(images)))], 5)["second"]
    return histogram(found.ids, labels, CLASSES)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_conflict_scores_and_threshold_are_the_cores():
    method = detection.ConflictDetector(units=3)
    fitted = method.fit(
        Net(0), "second", [HELD_OUT], histograms=meanings(IMAGES[:20], LABELS[:20]), similarity=ALIKE.double()
    )
    net = Net(0)
    found = ConflictDetector(net, net.second, k=5, units=3, similarity=ALIKE)
    found = found.fit((IMAGES[:20], LABELS[:20]), HELD_OUT).evaluate(MOVED)
    close(found.scores, method.scores(Net(0), "second", MOVED, fitted))
    assert found.threshold == pytest.approx(float(fitted.threshold))
    assert torch.equal(found.flagged, found.scores > found.threshold)
    assert found.layer == "second"


def test_without_held_out_images_the_same_ones_set_the_threshold():
    method = detection.ConflictDetector(units=3)
    fitted = method.fit(Net(0), "second", [REAL], histograms=meanings(*REAL))
    assert ConflictDetector(Net(0), "second", k=5, units=3).fit(REAL).evaluate(MOVED).threshold == fitted.threshold


def test_distance_scores_are_the_cores():
    method = detection.ConflictDetector(score="distance")
    fitted = method.fit(Net(0), "second", [REAL])
    found = ConflictDetector(Net(0), "second", score="distance").fit(REAL).evaluate(MOVED)
    close(found.scores, method.scores(Net(0), "second", MOVED, fitted))


@pytest.mark.parametrize("settings", [{"k": 5, "units": 3}, {"score": "distance"}])
def test_dataloaders_give_what_tuples_and_tensors_give(settings):
    loaders = [DataLoader(TensorDataset(*data), batch_size=7) for data in (REAL, (MOVED, LABELS))]
    found = ConflictDetector(Net(0), "second", **settings).fit(loaders[0]).evaluate(loaders[1])
    close(found.scores, ConflictDetector(Net(0), "second", **settings).fit(REAL).evaluate(MOVED).scores)


def test_clean_images_are_flagged_as_rarely_as_was_asked_for():
    found = ConflictDetector(Net(0), "second", score="distance", false_alarms=0.2).fit(REAL)
    assert (found.fitted.clean > found.fitted.threshold).sum() <= 8


def test_the_model_comes_back_as_it_was_found():
    net = Net(0).train()
    before = modes(net)
    ConflictDetector(net, net.second, k=5, units=3).fit(REAL).evaluate(MOVED)
    assert modes(net) == before


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]):
    detector = ConflictDetector(Net(0), "second", k=5, units=3).fit(REAL)
    detector.evaluate(MOVED)
    assert capsys.readouterr().err == ""
    detector.fit(REAL, show_progress=True).evaluate(MOVED, show_progress=True)
    said = capsys.readouterr().err
    assert all(words in said for words in ("ConflictDetector, exemplars", "clean scores", "ConflictDetector:"))


def test_the_data_frame_has_a_row_for_each_image():
    pytest.importorskip("pandas")
    found = ConflictDetector(Net(0), "second", score="distance").fit(REAL).evaluate(MOVED)
    assert list(found.to_dataframe().columns) == ["layer", "image", "scores", "flagged"]


def test_a_detector_that_was_not_fitted_is_refused():
    with pytest.raises(ValueError, match="got one without: call fit first"):
        ConflictDetector(Net(0), "second", k=5).evaluate(MOVED)


@pytest.mark.parametrize("settings", [{}, {"k": 5, "score": "distance"}])
def test_k_belongs_to_conflict_alone(settings):
    with pytest.raises(ValueError, match="expected k with score 'conflict' alone, got k="):
        ConflictDetector(Net(0), "second", **settings)


def test_clean_images_that_can_be_gone_through_once_only_are_refused():
    with pytest.raises(TypeError, match="expected inputs that can be gone through twice"):
        ConflictDetector(Net(0), "second", k=5).fit(iter([REAL]))


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="expected at least one batch of images, got none"):
        ConflictDetector(Net(0), "second", score="distance").fit(REAL).evaluate([])
