import itertools
import math
import warnings

import pytest
import torch
import two_processes

from interp_plugins.neurons.activations import record_scores
from interp_plugins.neurons.centres import class_centres
from interp_plugins.neurons.distance import DistanceRatios
from interp_plugins.neurons.exemplars import Exemplars
from interp_plugins.neurons.passes import Answers, AttackedPass, RealPass, Sight, last_layers
from interp_plugins.neurons.survey import Records, survey
from interp_plugins.testing import toy_classifier, toy_images
from tests.oracles import class_cosine, distance_ratio_pairs, level_and_consistency, pair_consistency

CLASSES = 4
FIELDS = ("values", "ids", "dead")


def drawn(seed):
    """Top images of three units, the last of them dead, real and attacked, and what is known of both."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.rand(CLASSES, CLASSES, generator=generator, dtype=torch.float64)
    similarity = (root @ root.T) / CLASSES
    similarity = similarity / similarity.diagonal().outer(similarity.diagonal()).sqrt()
    labels = torch.randint(CLASSES, (30,), generator=generator)
    truth = torch.randint(CLASSES, (8,), generator=generator).repeat_interleave(3)
    targets, says = (torch.randint(CLASSES, (24,), generator=generator) for _ in range(2))
    records = Records(labels=truth, targets=targets, says=says, sources=torch.arange(24) // 3)
    tops = []
    for n, k in ((30, 6), (24, 7)):
        ids = torch.stack([torch.randperm(n, generator=generator)[:k] for _ in range(3)])
        tops.append(Exemplars("layer", torch.zeros(3, k), ids, n, torch.tensor([False, False, True])))
    return tops[0], labels, similarity, tops[1], records


def shares(classes):
    return [sum(each == label for each in classes) / len(classes) for label in range(CLASSES)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_every_measure_of_a_unit_equals_its_formula_image_by_image(seed, weighted):
    real, labels, similarity, attacked, records = drawn(seed)
    found = survey(real, labels, similarity, attacked, records, weighted=weighted)
    a, plain = similarity.tolist(), torch.eye(CLASSES).tolist()
    weights = a if weighted else plain
    for unit in range(2):
        own, theirs = real.ids[unit].tolist(), attacked.ids[unit].tolist()
        p, shown = shares(labels[own].tolist()), records.labels[theirs].tolist()
        assert float(found.lc.raw[unit]) == pytest.approx(level_and_consistency(p, a))
        assert float(found.lc.debiased[unit]) == pytest.approx(
            pair_consistency([{int(labels[id])} for id in own], own, a)
        )
        assert float(found.lc_adv.raw[unit]) == pytest.approx(level_and_consistency(shares(shown), a))
        assert float(found.lc_adv.debiased[unit]) == pytest.approx(
            pair_consistency([{label} for label in shown], records.sources[theirs].tolist(), a)
        )
        fooled = [id for id in theirs if records.says[id] == records.targets[id]]
        for name, some in (("", theirs), ("_fooled", fooled)):
            for cs, classes in (("cs1", records.labels), ("cs2", records.targets)):
                value = float(getattr(found, cs + name)[unit])
                if some:
                    assert value == pytest.approx(class_cosine(p, shares(classes[some].tolist()), weights))
                else:
                    assert math.isnan(value)


def test_a_dead_unit_has_no_measure():
    real, labels, similarity, attacked, records = drawn(0)
    found = survey(real, labels, similarity, attacked, records)
    for values in (found.lc.raw, found.lc.debiased, found.lc_adv.raw, found.ceiling, found.cs1, found.cs2):
        assert values.isnan().tolist() == [False, False, True]
    assert found.cs2_fooled[2].isnan()


def test_without_attacked_images_there_is_nothing_about_them():
    real, labels, similarity, _, _ = drawn(0)
    found = survey(real, labels, similarity)
    assert (found.attacked, found.lc_adv, found.cs1, found.cs2_fooled) == (None, None, None, None)
    assert found.lc.raw.isfinite().sum() == found.ceiling.isfinite().sum() == 2


def test_answers_come_in_the_order_of_the_images_whatever_the_batches():
    metric = Answers()
    metric.update(torch.eye(4)[[2, 0]] * 9, torch.tensor([3, 1]))
    metric.update(torch.eye(4)[[1, 3]] * 9, torch.tensor([0, 2]))
    assert metric.compute().tolist() == [1, 0, 3, 2]


def test_answers_of_no_images_are_none():
    with pytest.warns(UserWarning, match="compute"):
        assert Answers().compute().tolist() == []


def test_answers_that_are_no_logits_are_refused():
    with pytest.raises(ValueError, match="expected finite logits from the model, got NaN"):
        Answers().update(torch.full((1, 3), torch.nan), torch.tensor([0]))


@pytest.mark.parametrize("size", [1, 4, 12])
def test_both_passes_find_what_one_look_at_everything_finds(size):
    model, (images, _) = toy_classifier(), toy_images(12)
    labels = torch.arange(12) % 3
    moved, _ = toy_images(8, seed=9)
    attacked, targets = moved.unflatten(0, (4, 2)), (labels[:4, None] + torch.tensor([[1, 2]])) % 3
    ids = torch.arange(8).view(4, 2)
    sight = Sight(network=model, layers=("0", "3"), representation="3")
    width = 8 * 64
    first = RealPass(sight, 3, 10, width)
    for rows in torch.arange(12).split(size):
        first.update(images[rows], labels[rows], rows)
    second = AttackedPass(sight, 2, first.metrics["centres"].compute(), held_out=False)
    for rows in torch.arange(4).split(size):
        second.update(images[rows], labels[rows], attacked[rows], targets[rows], ids[rows])
    for rows in torch.arange(4, 12).split(size):
        second.update(images[rows], labels[rows])

    for metric, pixels, k in ((first.metrics, images, 3), (second.metrics, moved, 2)):
        scores = record_scores(model, ["0", "3"], pixels)
        for layer, top in metric["exemplars"].compute().items():
            assert top.ids.tolist() == scores[layer].sort(dim=0, descending=True, stable=True).indices[:k].T.tolist()
        with torch.no_grad():
            assert metric["answers"].compute().tolist() == model(pixels).argmax(1).tolist()

    def phi(pixels):
        kept = []
        handle = model[3].register_forward_hook(lambda m, i, output: kept.append(output.double().flatten(1)))
        with torch.no_grad():
            model(pixels)
        handle.remove()
        return kept[0]

    clean, far = phi(images), phi(moved).unflatten(0, (4, 2))
    # the slow formula attacks every image; those that were not attacked get none
    copies, aims = far.tolist() + [[]] * 8, targets.tolist() + [[]] * 8
    expected = distance_ratio_pairs(clean.tolist(), labels.tolist(), copies, aims, "class_mean")
    ratios = second.metrics["ratios"].compute()
    assert ratios.r1.tolist() == pytest.approx([r1 for r1, _ in expected], rel=1e-5)
    assert ratios.r2.tolist() == pytest.approx([r2 for _, r2 in expected], rel=1e-5)


def test_the_representation_is_the_last_layer():
    assert last_layers(("a", "b"), "c") == ("a", "b", "c")
    assert last_layers(("a", "b"), "a") == ("b", "a")


def _one_of_two(rank, centres):
    """Unequal shares, and then all on one rank."""
    warnings.simplefilter("ignore")  # a rank without images is asked before it was told anything
    clean, labels, attacked, targets, ids = _far()
    found = []
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    for first in (5, 12):
        rows = torch.arange(12)[:first] if rank == 0 else torch.arange(12)[first:]
        answers, ratios = Answers(), DistanceRatios(centres)
        if len(rows):
            answers.update(logits[rows], rows)
            ratios.update(clean[rows], labels[rows], attacked[rows], targets[rows], ids[rows])
        found.append([answers.compute(), ratios.compute().r1])
    return found


def _far():
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(12) % 3
    clean, attacked = torch.rand(12, 6, generator=generator), torch.rand(12, 1, 6, generator=generator)
    return clean, labels, attacked, ((labels + 1) % 3)[:, None], torch.arange(11, -1, -1)[:, None]


@pytest.mark.slow
def test_two_processes_with_unequal_shares_or_one_without_any_give_the_answers_of_one(tmp_path):
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    clean, labels, attacked, targets, ids = _far()
    centres = class_centres(clean, labels, 3)
    whole = DistanceRatios(centres)
    whole.update(clean, labels, attacked, targets, ids)
    for says, r1 in itertools.chain(*two_processes.run(_one_of_two, tmp_path, centres)):
        assert says.tolist() == logits.argmax(1).tolist()
        torch.testing.assert_close(r1, whole.compute().r1, rtol=1e-12, atol=0)
