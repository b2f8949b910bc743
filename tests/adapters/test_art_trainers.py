"""Our trainers do in ART what a built-in does, and train what the core trains."""

import copy
import inspect

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences import trainer as hosts
from art_world import SHAPE, Net, classifier, nets, said, softmaxed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from toys import CLASSES, modes

import interp_plugins
from interp_art import ConsistentLossTrainer, DomainAdaptationTrainer, EnsembleAdversarialTraining
from interp_plugins.attacks import FGSM, PGD, PredictedLabelFGSM
from interp_plugins.training import ConsistentLoss, Coral, MeanDifference, Mixed, MultiKernelMMD, Term, Trainer

QUIET = {"verbose": False}


class Nested(nn.Module):
    """A network with a layer inside another, BatchNorm that ends in one value a channel, and dropout."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), nn.AdaptiveAvgPool2d(1))
            self.norm, self.drop, self.head = nn.BatchNorm2d(6), nn.Dropout(0.5), nn.Linear(6, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.body(images)).flatten(1)))


class FlatNet(nn.Sequential):
    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            super().__init__(
                nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES)
            )


def data(count: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class shows in their brightness."""
    y = np.arange(count) % CLASSES
    noise = np.random.default_rng(seed).random((count, *SHAPE), dtype=np.float32)
    return (noise * 0.2 + 0.8 * (y / CLASSES)[:, None, None, None]).astype(np.float32), y


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one: nn.Module, other: nn.Module, tolerance: float = 0) -> bool:
    values = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a.double(), b.double(), rtol=0, atol=tolerance) for a, b in values)


def fitted(trainer, seed=0, **settings):
    x, y = data()
    torch.manual_seed(seed)
    trainer.fit(x, y, **({"batch_size": 8, "nb_epochs": 2} | settings))
    return trainer


def by_the_core(net: nn.Module, **settings) -> nn.Module:
    """The network, trained by the core on what `fitted` trains on."""
    x, y = data()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    torch.manual_seed(0)
    fgsm = PredictedLabelFGSM()
    loader = Shuffles(torch.from_numpy(x), torch.from_numpy(y))
    attack = settings.pop("attack", lambda model, images, _labels: fgsm(model, images))
    tuple(Trainer(epochs=2, **settings)(net.train(), optimizer, loader, attack=attack))
    return net


class Shuffles:
    """Batches of eight in another order each epoch."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __iter__(self):
        for rows in torch.randperm(len(self.images)).split(8):
            yield self.images[rows], self.labels[rows]


# ------------------------------------------------------------------ the host's contract


TRAINERS = {
    "consistent": lambda net, **more: ConsistentLossTrainer(classifier(net), **QUIET, **more),
    "domain": lambda net, **more: DomainAdaptationTrainer(classifier(net), **QUIET, **more),
    "ensemble": lambda net, **more: EnsembleAdversarialTraining(classifier(net), [classifier(Net(9))], **QUIET, **more),
}


@pytest.fixture(params=TRAINERS)
def build(request):
    return TRAINERS[request.param]


def test_it_is_a_trainer_of_art_around_the_classifier_it_was_given(build):
    trainer = build(Net(0))
    assert isinstance(trainer, hosts.Trainer)
    assert trainer.classifier is trainer.get_classifier()
    x, _ = data()
    assert np.array_equal(trainer.predict(x), trainer.classifier.predict(x))


@pytest.mark.parametrize("kind", [ConsistentLossTrainer, DomainAdaptationTrainer, EnsembleAdversarialTraining])
def test_install_adds_it_where_arts_own_trainers_are(kind):
    with interp_plugins.install("art"):
        assert getattr(hosts, kind.__name__) is kind
    assert not hasattr(hosts, kind.__name__)


def test_fit_takes_what_the_trainer_for_trades_takes_in_its_order():
    def words(method):
        return [name for name in inspect.signature(method).parameters if name != "kwargs"]

    host = hosts.AdversarialTrainerTRADESPyTorch
    for kind in (ConsistentLossTrainer, DomainAdaptationTrainer, EnsembleAdversarialTraining):
        assert words(kind.fit)[: len(words(host.fit))] == words(host.fit)
        assert words(kind.fit_generator)[: len(words(host.fit_generator))] == words(host.fit_generator)
    for kind in (ConsistentLossTrainer, DomainAdaptationTrainer):
        assert words(kind.__init__)[:4] == words(host.__init__)


def test_fit_returns_nothing_and_changes_weights_but_no_array(build):
    x, y = data()
    before = x.copy(), y.copy()
    trainer = build(Net(0))
    kept = weights(trainer.classifier.model)
    assert trainer.fit(x, y, batch_size=8, nb_epochs=1) is None
    assert not torch.equal(kept["head.weight"], trainer.classifier.model.head.weight)
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])


@pytest.mark.parametrize("count", [9, 17])
def test_a_last_batch_of_one_joins_the_batch_before_it(build, count):
    x, y = data(count)
    trainer = build(Nested())
    trainer.fit(x, y, batch_size=8, nb_epochs=1)
    (report,) = trainer.history
    assert (report.images, report.steps) == (count, count // 8)


def test_a_last_batch_can_be_dropped():
    x, y = data(20)
    trainer = ConsistentLossTrainer(classifier(Net(0)), **QUIET)
    trainer.fit(x, y, batch_size=8, nb_epochs=1, drop_last=True)
    assert trainer.history[0].images == 16


def test_index_and_one_hot_labels_are_the_same(build):
    one, other = build(Net(0)), build(Net(0))
    x, y = data()
    for trainer, labels in ((one, y), (other, np.eye(CLASSES, dtype=np.float32)[y])):
        torch.manual_seed(0)
        trainer.fit(x, labels, batch_size=8, nb_epochs=1)
    assert same(one.classifier.model, other.classifier.model)


def test_torchs_seed_decides_all_and_another_seed_another_network(build):
    one, again, other = (fitted(build(Net(0)), seed).classifier.model for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)


def test_history_has_an_epoch_an_entry_with_clean_and_attacked_counts():
    x, y = data()
    trainer = fitted(ConsistentLossTrainer(classifier(Net(0)), layer="second", **QUIET), validation_data=(x, y))
    assert [report.epoch for report in trainer.history] == [1, 2]
    last = trainer.history[-1]
    assert last.clean.correct == (said(trainer.classifier, x) == y).sum()
    attacked = PredictedLabelFGSM()(trainer.classifier.model, torch.from_numpy(x)).numpy()
    assert last.adversarial.correct == (said(trainer.classifier, attacked) == y).sum()
    assert set(last.losses) == {"classify", "consistent", "total"}


def test_history_is_of_the_latest_fit():
    trainer = fitted(fitted(ConsistentLossTrainer(classifier(Net(0)), **QUIET)), nb_epochs=1)
    assert len(trainer.history) == 1


def test_each_epoch_is_logged_as_the_host_does(caplog):
    with caplog.at_level("INFO", logger="interp_art"):
        trainer = fitted(ConsistentLossTrainer(classifier(Net(0)), **QUIET))
    assert [record.message for record in caplog.records] == [str(report) for report in trainer.history]


def test_a_bar_counts_the_batches_of_each_epoch(capsys):
    fitted(ConsistentLossTrainer(classifier(Net(0)), verbose=True))
    shown = capsys.readouterr().err
    assert "epoch 1 of 2" in shown
    assert "epoch 2 of 2" in shown
    assert "/3 [" in shown


def test_nothing_is_shown_where_that_is_asked_for(capsys):
    fitted(ConsistentLossTrainer(classifier(Net(0)), **QUIET))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


# ------------------------------------------------------------------ the network comes back


def half_frozen() -> Net:
    net = Net(0).train()
    net.norm.eval()
    net.first.weight.requires_grad_(False)
    return net


def test_modes_gradients_hooks_and_frozen_parameters_come_back(build):
    net = half_frozen()
    kept = modes(net)
    trainer = fitted(build(net))
    assert modes(net) == kept
    assert [name for name, value in net.named_parameters() if not value.requires_grad] == ["first.weight"]
    assert all(value.grad is None for value in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
    copy.deepcopy(trainer.classifier.model)


def test_modes_come_back_when_the_attack_fails():
    def fails(model, images, labels):
        raise RuntimeError("no")

    net = half_frozen()
    kept = modes(net)
    with pytest.raises(RuntimeError, match="no"):
        fitted(ConsistentLossTrainer(classifier(net), fails, **QUIET))
    assert modes(net) == kept
    assert net.head.weight.requires_grad


def test_batchnorm_and_dropout_are_in_training_mode_whatever_came(build):
    net = Net(0).eval()
    before = net.norm.running_mean.clone()
    fitted(build(net))
    assert not torch.equal(net.norm.running_mean, before)


def test_training_mode_can_be_left_out_as_in_arts_fit(build):
    net = Net(0).train()
    before = net.norm.running_mean.clone()
    fitted(build(net), training_mode=False)
    assert torch.equal(net.norm.running_mean, before)


# ------------------------------------------------------------------ what is trained


def test_the_consistent_loss_is_the_cores_to_the_bit():
    terms = (Term(name="consistent", layer="second", loss=ConsistentLoss(), weight=0.1),)
    trainer = fitted(ConsistentLossTrainer(classifier(Net(0)), layer="second", **QUIET))
    assert same(trainer.classifier.model, by_the_core(Net(0), terms=terms))


def test_the_settings_of_the_consistent_loss_are_the_cores():
    loss = ConsistentLoss(distance="cosine", reduction="sum", detach="clean")
    terms = (Term(name="consistent", layer="second", loss=loss, weight=2.0, shape="pooled"),)
    words = {"layer": "second", "beta": 2.0, "alpha": 0.3, "shape": "pooled", "clip_norm": 0.5}
    trainer = ConsistentLossTrainer(
        classifier(Net(0)), distance="cosine", reduction="sum", detach="clean", **words, **QUIET
    )
    expected = by_the_core(Net(0), terms=terms, classify=Mixed(alpha=0.3), clip_norm=0.5)
    assert same(fitted(trainer).classifier.model, expected)


def test_without_a_layer_the_logits_are_compared():
    terms = (Term(name="consistent", loss=ConsistentLoss(), weight=0.1),)
    trainer = fitted(ConsistentLossTrainer(classifier(Net(0)), **QUIET))
    assert same(trainer.classifier.model, by_the_core(Net(0), terms=terms))


def test_domains_are_the_cores_on_pooled_maps():
    losses = {"coral": Coral(), "mmd": MeanDifference()}
    terms = tuple(
        Term(name=name, layer="second", loss=loss, weight=1 / 3, shape="pooled") for name, loss in losses.items()
    )
    trainer = fitted(DomainAdaptationTrainer(classifier(Net(0)), layer="second", **QUIET))
    assert same(trainer.classifier.model, by_the_core(Net(0), terms=terms))
    assert set(trainer.history[-1].losses) == {"classify", "coral", "mmd", "total"}


def test_domains_of_logits_and_of_kernels_are_the_cores():
    terms = (Term(name="mmd", loss=MultiKernelMMD(), weight=1.0),)
    trainer = fitted(DomainAdaptationTrainer(classifier(Net(0)), beta=1.0, coral=None, mmd="kernels", **QUIET))
    assert same(trainer.classifier.model, by_the_core(Net(0), terms=terms))


def test_a_layer_that_puts_out_vectors_is_taken_as_it_is():
    terms = (Term(name="coral", layer="head", loss=Coral(norm="frobenius", covariance="scatter"), weight=1 / 3),)
    trainer = DomainAdaptationTrainer(
        classifier(Net(0)), layer="head", coral="frobenius", covariance="scatter", mmd=None, **QUIET
    )
    assert same(fitted(trainer).classifier.model, by_the_core(Net(0), terms=terms))


@pytest.mark.parametrize(("net", "layer"), [(FlatNet, "0"), (Nested, "body.0.0")])
def test_layers_of_a_sequential_and_of_a_nested_network_go_by_their_dotted_names(net, layer):
    terms = (Term(name="consistent", layer=layer, loss=ConsistentLoss(), weight=5.0),)
    trainer = fitted(ConsistentLossTrainer(classifier(net()), beta=5.0, layer=layer, **QUIET))
    assert same(trainer.classifier.model, by_the_core(net(), terms=terms))


def test_an_attack_of_the_core_stays_in_torch():
    def attack(model, images, labels):
        return FGSM(epsilon=0.1)(model, images, labels)

    terms = (Term(name="consistent", loss=ConsistentLoss(), weight=0.1),)
    trainer = fitted(ConsistentLossTrainer(classifier(Net(0)), FGSM(epsilon=0.1), **QUIET))
    assert same(trainer.classifier.model, by_the_core(Net(0), terms=terms, attack=attack))


def test_eps_is_in_the_units_of_x():
    terms = (Term(name="consistent", loss=ConsistentLoss(), weight=0.1),)
    fgsm = PredictedLabelFGSM(epsilon=0.1)
    expected = by_the_core(Net(0), terms=terms, attack=lambda model, images, _labels: fgsm(model, images))
    assert same(fitted(ConsistentLossTrainer(classifier(Net(0)), eps=0.1, **QUIET)).classifier.model, expected)
    assert same(fitted(ConsistentLossTrainer(classifier(Net(0)), fgsm, **QUIET)).classifier.model, expected)
    grey = classifier(nn.Sequential(Net(0)), clip_values=(0, 255))
    assert ConsistentLossTrainer(grey, eps=25.5, **QUIET)._attack().fgsm.epsilon == pytest.approx(0.1)


def test_a_random_start_is_another_in_each_batch():
    seeds = []

    class Noted(PGD):
        def __call__(self, classifier, images, labels, *, seed=0, ids=None):
            seeds.append(seed)
            return super().__call__(classifier, images, labels, seed=seed, ids=ids)

    fitted(ConsistentLossTrainer(classifier(Net(0)), Noted(steps=1, random_start=True), **QUIET), nb_epochs=1)
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("layer", ["second", None])
def test_preprocessing_and_a_range_change_nothing_but_rounding(layer):
    plain = fitted(ConsistentLossTrainer(classifier(Net(0)), layer=layer, **QUIET))
    grey = classifier(Net(0), clip_values=(0, 255), preprocessing=(0.0, 255.0))
    trainer = ConsistentLossTrainer(grey, layer=layer, **QUIET)
    x, y = data()
    torch.manual_seed(0)
    trainer.fit(x * 255, y, batch_size=8, nb_epochs=2)
    assert same(plain.classifier.model, grey.model, tolerance=1e-3)
    assert trainer.history[0].losses["total"] == pytest.approx(plain.history[0].losses["total"], abs=1e-3)


def test_preprocessing_stands_before_the_network_in_training():
    mean, std = (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)

    class Normalised(Net):
        def forward(self, images):
            return super().forward((images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))

    inside = fitted(DomainAdaptationTrainer(classifier(Normalised(0)), layer="second", **QUIET))
    outside = fitted(DomainAdaptationTrainer(classifier(Net(0), preprocessing=(mean, std)), layer="second", **QUIET))
    assert same(inside.classifier.model, outside.classifier.model, tolerance=1e-5)


def test_a_network_that_ends_in_a_softmax_is_read_through_its_logarithm():
    plain = fitted(ConsistentLossTrainer(classifier(FlatNet()), layer="0", **QUIET))
    probable = classifier(softmaxed(FlatNet()))
    trainer = fitted(ConsistentLossTrainer(probable, layer="0.0", **QUIET))
    assert same(plain.classifier.model, probable.model[0], tolerance=1e-4)
    assert trainer.history[0].losses["classify"] == pytest.approx(plain.history[0].losses["classify"], abs=1e-4)


def test_channels_last_inputs_are_turned():
    x, y = data()

    class Turned(Net):
        def forward(self, x):
            return super().forward(x.permute(0, 3, 1, 2))

    last = classifier(Turned(0), input_shape=(8, 8, 3), channels_first=False)
    trainer = ConsistentLossTrainer(last, layer="second", **QUIET)
    torch.manual_seed(0)
    trainer.fit(x.transpose(0, 2, 3, 1), y, batch_size=8, nb_epochs=2)
    plain = fitted(ConsistentLossTrainer(classifier(Net(0)), layer="second", **QUIET))
    assert same(plain.classifier.model, last.model, tolerance=1e-4)


def test_half_precision_is_torchs_own_autocast():
    seen = []

    class Noted(Net):
        def forward(self, images):
            out = super().forward(images)
            seen.append(out.dtype)
            return out

    fitted(ConsistentLossTrainer(classifier(Noted(0)), precision="bf16", **QUIET), nb_epochs=1)
    assert torch.bfloat16 in seen


def test_a_network_that_knew_nothing_learns(build):
    y = np.arange(48) % CLASSES
    x = np.zeros((48, *SHAPE), dtype=np.float32)
    x[np.arange(48), :, y // 8, y % 8] = 0.9  # one bright pixel tells the class
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    nn.init.zeros_(net[1].weight)
    trainer = build(net, eps=0.01)
    trainer.classifier.optimizer.param_groups[0]["lr"] = 1.0
    torch.manual_seed(0)
    trainer.fit(x, y, batch_size=16, nb_epochs=15, validation_data=(x, y))
    first, last = trainer.history[0], trainer.history[-1]
    assert last.losses["classify"] < first.losses["classify"] / 2
    assert last.clean.correct == 48
    assert last.adversarial.value > 0.9


# ------------------------------------------------------------------ schedulers


def rates(trainer):
    return [report.rate for report in trainer.history]


def test_any_scheduler_of_torch_steps_once_an_epoch():
    estimator = classifier(Net(0))
    scheduler = torch.optim.lr_scheduler.StepLR(estimator.optimizer, 1, gamma=0.5)
    trainer = fitted(ConsistentLossTrainer(estimator, **QUIET), nb_epochs=3, scheduler=scheduler)
    assert rates(trainer) == [0.01, 0.005, 0.0025]


def test_a_scheduler_that_waits_for_a_plateau_is_told_the_loss():
    estimator = classifier(Net(0))
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(estimator.optimizer, patience=0, threshold=10.0)
    trainer = fitted(ConsistentLossTrainer(estimator, **QUIET), nb_epochs=3, scheduler=scheduler)
    assert rates(trainer) == pytest.approx([0.01, 0.001, 0.0001])  # no loss is that much better


def test_a_scheduler_steps_with_each_batch_where_that_is_asked_for():
    estimator = classifier(Net(0))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(estimator.optimizer, 0.1, total_steps=6)
    fitted(ConsistentLossTrainer(estimator, schedule="step", **QUIET), scheduler=scheduler)
    assert scheduler.last_epoch == 6


class Counter:
    """A scheduler that is none of torch's."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> None:
        self.steps += 1


def test_a_scheduler_of_the_users_own_steps_once_an_epoch():
    counter = Counter()
    fitted(ConsistentLossTrainer(classifier(Net(0)), **QUIET), nb_epochs=3, scheduler=counter)
    assert counter.steps == 3


def test_a_scheduler_of_the_users_own_cannot_step_with_each_batch():
    with pytest.raises(TypeError, match="one of torch's schedulers for schedule='step', got Counter"):
        fitted(ConsistentLossTrainer(classifier(Net(0)), schedule="step", **QUIET), scheduler=Counter())


def test_what_cannot_step_is_no_scheduler():
    with pytest.raises(TypeError, match=r"expected a scheduler with step\(\), got float"):
        fitted(ConsistentLossTrainer(classifier(Net(0)), **QUIET), scheduler=0.1)


# ------------------------------------------------------------------ generators and loaders


def loader(labels=lambda y: y, **settings) -> DataLoader:
    x, y = data()
    return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(labels(y))), 8, **settings)


def in_order(source, **settings):
    trainer = ConsistentLossTrainer(classifier(Net(0)), layer="second", **QUIET)
    torch.manual_seed(0)
    trainer.fit_generator(source, nb_epochs=2, **settings)
    return trainer


def test_a_loader_and_arts_generators_give_the_same_network():
    x, y = data()
    expected = in_order(loader(), training_mode=False).classifier.model  # a loader draws, and dropout would differ
    sources = {
        "generator of torch": PyTorchDataGenerator(loader(), size=24, batch_size=8),
        "generator of arrays": NumpyDataGenerator(x, y, batch_size=8, drop_remainder=False, shuffle=False),
        "one-hot": loader(lambda y: np.eye(CLASSES)[y]),
        "columns": loader(lambda y: y[:, None]),
    }
    trained = {name: in_order(source, training_mode=False).classifier.model for name, source in sources.items()}
    assert [name for name, network in trained.items() if not same(expected, network)] == []


def test_an_epoch_of_a_generator_is_its_size():
    x, y = data(20)
    trainer = in_order(NumpyDataGenerator(x, y, batch_size=8, drop_remainder=False, shuffle=False))
    assert [report.steps for report in trainer.history] == [3, 6]
    assert [report.images for report in trainer.history] == [20, 20]


def test_a_loader_is_gone_through_anew_in_each_epoch_with_its_own_augmentation():
    drawn = []

    def collate(rows):
        drawn.append(float(torch.rand(())))
        return torch.stack([image for image, _ in rows]), torch.stack([label for _, label in rows])

    trainer = in_order(loader(shuffle=True, collate_fn=collate))
    assert len(set(drawn)) == 6
    assert [report.images for report in trainer.history] == [24, 24]


def test_a_last_batch_of_one_of_a_loader_joins_the_one_before():
    x, y = data(9)
    source = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), 8)
    trainer = DomainAdaptationTrainer(classifier(Nested()), **QUIET)
    trainer.fit_generator(source, nb_epochs=1)
    assert (trainer.history[0].images, trainer.history[0].steps) == (9, 1)


def test_batches_of_one_stay_what_was_asked_for():
    x, y = data(3)
    trainer = ConsistentLossTrainer(classifier(Net(0)), **QUIET)
    trainer.fit(x, y, batch_size=1, nb_epochs=1)
    assert trainer.history[0].steps == 3


def test_validation_data_and_a_scheduler_go_with_a_generator():
    estimator = classifier(Net(0))
    trainer = ConsistentLossTrainer(estimator, **QUIET)
    scheduler = torch.optim.lr_scheduler.StepLR(estimator.optimizer, 1, gamma=0.5)
    trainer.fit_generator(loader(), 2, scheduler, validation_data=data())
    assert rates(trainer) == [0.01, 0.005]
    assert trainer.history[0].clean.images == 24


def test_grey_levels_of_a_loader_are_scaled_as_the_clip_values_say():
    x, y = data()
    levels = torch.from_numpy((x * 255).round()).to(torch.uint8)
    grey = classifier(Net(0), clip_values=(0, 255), preprocessing=(0.0, 255.0))
    trainer = ConsistentLossTrainer(grey, **QUIET)
    trainer.fit_generator(DataLoader(TensorDataset(levels, torch.from_numpy(y)), 8), nb_epochs=1)
    assert trainer.history[0].images == 24


def test_what_is_no_generator_is_refused():
    with pytest.raises(TypeError, match="expected ART's DataGenerator or torch's DataLoader, got list"):
        in_order([data()])


def test_a_generator_without_a_size_is_refused():
    generator = NumpyDataGenerator(*data(), batch_size=8)
    generator._size = None
    with pytest.raises(ValueError, match="expected a generator with a size, got None"):
        in_order(generator)


def test_a_batch_out_of_range_is_refused_in_the_units_of_the_classifier():
    x, y = data()
    source = DataLoader(TensorDataset(torch.from_numpy(x * 255), torch.from_numpy(y)), 8)
    with pytest.raises(ValueError, match=r"inside the estimator's clip_values \(0, 1\), got values from"):
        in_order(source)


def test_a_batch_of_another_shape_is_refused():
    source = DataLoader(TensorDataset(torch.zeros(8, 3, 9, 9), torch.zeros(8, dtype=torch.long)), 8)
    with pytest.raises(ValueError, match=r"expected x of shape \(n, 3, 8, 8\) with n above 0, got \(8, 3, 9, 9\)"):
        in_order(source)


# ------------------------------------------------------------------ attacks of ART


def test_an_attack_of_art_trains_what_the_same_attack_of_the_core_trains():
    inside = fitted(ConsistentLossTrainer(classifier(Net(0)), FGSM(epsilon=0.1), layer="second", **QUIET))
    estimator = classifier(Net(0))
    through = ConsistentLossTrainer(estimator, FastGradientMethod(estimator, eps=0.1), layer="second", **QUIET)
    assert same(inside.classifier.model, fitted(through).classifier.model, tolerance=1e-5)


def test_an_attack_of_art_sees_the_weights_as_they_are_and_all_in_eval_mode():
    estimator = classifier(Net(0).train())
    seen = []

    class Noted(FastGradientMethod):
        def generate(self, x, y=None, **kwargs):
            net = self.estimator.model
            seen.append((float(net.head.weight.detach().sum()), any(modes(net)), y.shape))
            return super().generate(x, y, **kwargs)

    fitted(ConsistentLossTrainer(estimator, Noted(estimator, eps=0.1), **QUIET), nb_epochs=1)
    sums, training, shapes = zip(*seen, strict=True)
    assert len(set(sums)) == 3
    assert not any(training)
    assert set(shapes) == {(8, CLASSES)}


def test_an_attack_of_art_on_another_classifier_leaves_that_as_it_was():
    other = classifier(Net(5).train())
    kept, mode = weights(other.model), modes(other.model)
    fitted(ConsistentLossTrainer(classifier(Net(0)), FastGradientMethod(other, eps=0.1), **QUIET))
    assert modes(other.model) == mode
    assert all(torch.equal(value, kept[name]) for name, value in other.model.state_dict().items())
    assert all(value.grad is None for value in other.model.parameters())


def test_the_bars_of_an_attack_are_off_while_it_trains_and_then_as_before(capsys):
    estimator = classifier(Net(0))
    attack = ProjectedGradientDescent(estimator, eps=0.1, eps_step=0.05, max_iter=2, verbose=True)
    fitted(ConsistentLossTrainer(estimator, attack, **QUIET), nb_epochs=1)
    assert capsys.readouterr().err == ""
    assert attack.verbose


def test_an_attack_that_leaves_the_range_is_told():
    estimator = classifier(Net(0))

    class Far(FastGradientMethod):
        def generate(self, x, y=None, **kwargs):
            return x + 2

    with pytest.raises(ValueError, match=r"inside the estimator's clip_values \(0, 1\)"):
        fitted(ConsistentLossTrainer(estimator, Far(estimator), **QUIET))


def test_our_own_attack_may_choose_its_targets():
    from interp_art import EnsembleOptimization

    estimator = classifier(Net(0))
    attack = EnsembleOptimization(estimator, steps=2, targets="least-likely:1", verbose=False)
    assert len(fitted(ConsistentLossTrainer(estimator, attack, **QUIET), nb_epochs=1).history) == 1


# ------------------------------------------------------------------ several networks


def test_images_come_from_this_network_and_from_each_static_one():
    seen = []

    def noted(model, images, labels):
        seen.append(model)
        return images

    one, *others = nets(3)
    trainer = EnsembleAdversarialTraining(classifier(one), [classifier(net) for net in others], noted, **QUIET)
    fitted(trainer, nb_epochs=20)
    counts = [sum(model is net for model in seen) for net in (one, *others)]
    assert sum(counts) == 60
    assert min(counts) > 10


def test_a_batch_attacked_on_a_static_network_is_what_that_attack_gives():
    one, other = nets(2)
    trainer = EnsembleAdversarialTraining(classifier(one), [classifier(other)], eps=0.1, **QUIET)
    images = torch.from_numpy(data()[0])
    own, foreign = (way(one, images, torch.zeros(24, dtype=torch.long)) for way in trainer._attack().attacks)
    assert torch.equal(own, PredictedLabelFGSM(epsilon=0.1)(one, images))
    assert torch.equal(foreign, PredictedLabelFGSM(epsilon=0.1)(other, images))
    assert not torch.equal(own, foreign)


def test_static_networks_stay_as_they_are():
    static = classifier(half_frozen())
    kept, mode = weights(static.model), modes(static.model)
    fitted(EnsembleAdversarialTraining(classifier(Net(0)), [static], **QUIET), nb_epochs=4)
    assert modes(static.model) == mode
    assert all(torch.equal(value, kept[name]) for name, value in static.model.state_dict().items())
    assert all(value.grad is None for value in static.model.parameters())


def test_a_static_classifier_needs_neither_optimiser_nor_loss_of_ours():
    static = classifier(Net(5))
    static._optimizer, static._loss = None, nn.MSELoss()
    assert fitted(EnsembleAdversarialTraining(classifier(Net(0)), [static], **QUIET), nb_epochs=1).history


def test_attacks_of_art_come_as_one_on_each_classifier():
    one, other = classifier(Net(0)), classifier(Net(1))
    calls = []

    class Noted(FastGradientMethod):
        def generate(self, x, y=None, **kwargs):
            calls.append(self.estimator)
            return super().generate(x, y, **kwargs)

    attacks = [Noted(one, eps=0.1), Noted(other, eps=0.1)]
    fitted(EnsembleAdversarialTraining(one, [other], attacks, **QUIET), nb_epochs=10)
    assert {id(estimator) for estimator in calls} == {id(one), id(other)}


def test_attacks_of_art_on_some_of_the_classifiers_are_refused():
    one, other = classifier(Net(0)), classifier(Net(1))
    with pytest.raises(ValueError, match="one on each of the 2 classifiers, got 1 on others or on some of them"):
        EnsembleAdversarialTraining(one, [other], FastGradientMethod(one), **QUIET)


def test_no_static_classifier_is_refused():
    with pytest.raises(ValueError, match="expected static classifiers, got none"):
        EnsembleAdversarialTraining(classifier(Net(0)), [], **QUIET)


def test_static_classifiers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected members with one clip_values"):
        EnsembleAdversarialTraining(classifier(Net(0)), [classifier(Net(1), clip_values=(0, 255))], **QUIET)
