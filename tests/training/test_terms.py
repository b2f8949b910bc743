"""Terms on the logits, with labels, and with a state of their own."""

from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from trained_world import ATTACK, loader, network, optimiser, reports

from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.training import ConsistentLoss, Coral, MarginLoss, Mixed, SharedFGSM, Term, Trainer

DROPOUT = 4


def deterministic() -> nn.Module:
    """The toy network without dropout."""
    model = network()
    model[DROPOUT] = nn.Identity()
    return model


def margin(rate: float = 0.5) -> Term:
    """ATDA's margin loss on the logits, with centres that begin at zero."""
    return Term(name="margin", loss=MarginLoss(4, 4, rate=rate), weight=0.3, labelled=True)


class Learned(nn.Module):
    """The distance of pairs behind a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.adaptation = nn.Linear(4, 3)

    def forward(self, clean: torch.Tensor, adversarial: torch.Tensor) -> torch.Tensor:
        return ConsistentLoss()(self.adaptation(clean), self.adaptation(adversarial))


def test_a_term_without_a_layer_is_of_the_logits():
    named, unnamed = (Term(name="coral", layer=layer, loss=Coral(), weight=1.0) for layer in ("7", None))
    (of_last,) = reports(network(), Trainer(epochs=1, terms=(named,)))
    (of_logits,) = reports(network(), Trainer(epochs=1, terms=(unnamed,)))
    assert of_last == of_logits


def test_a_labelled_loss_and_its_centres_go_as_one_writes_them_by_hand():
    model, other = deterministic(), deterministic()
    term, loss = margin(), MarginLoss(4, 4, rate=0.5)
    reports(model, Trainer(epochs=1, terms=(term,)), loader(shuffle=False))
    optimizer = optimiser(other)
    for pictures, labels in loader(shuffle=False):
        logits = other(torch.cat([pictures, ATTACK(other, pictures, labels)]))
        total = Mixed()(*logits.chunk(2), labels) + 0.3 * loss(logits, labels.repeat(2))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        loss.update(logits.detach(), labels.repeat(2))
    assert loss.centres.abs().sum() > 0
    torch.testing.assert_close(term.loss.centres, loss.centres)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], msg=name)


def test_a_labelled_term_takes_a_layer_in_the_shape_it_is_asked_for():
    term = Term(name="margin", layer="3", loss=MarginLoss(4, 8), weight=1.0, shape="pooled", labelled=True)
    reports(network(), Trainer(epochs=1, terms=(term,)))
    assert term.loss.centres.abs().sum() > 0


def test_a_loss_follows_after_the_step_and_without_a_graph():
    told, model = [], network()

    class Following(MarginLoss):
        def update(self, representations, labels):
            told.append((representations.requires_grad, len(representations), len(labels)))

    optimizer = optimiser(model)
    optimizer.register_step_post_hook(lambda *_: told.append("step"))
    term = Term(name="margin", loss=Following(4, 4), weight=1.0, labelled=True)
    reports(model, Trainer(epochs=1, terms=(term,)), loader(8), optimizer=optimizer)
    assert told == ["step", (False, 16, 16)]


def test_a_shared_forward_pass_has_the_same_terms():
    first, second = margin(), margin()
    reports(deterministic().eval(), Trainer(epochs=1, terms=(first,)), attack=SharedFGSM(label="true"))
    reports(deterministic().eval(), Trainer(epochs=1, terms=(second,)))
    torch.testing.assert_close(first.loss.centres, second.loss.centres, atol=1e-3, rtol=1e-3)


def kept(folder: Path, epochs: int, rate: float = 0.5) -> list[torch.Tensor]:
    """Weights and centres of a run that goes on where there is a checkpoint."""
    torch.manual_seed(3)
    model, term = network(), margin(rate)
    trainer, checkpoints = Trainer(epochs=epochs, terms=(term,)), CheckpointFolder(folder)
    list(trainer(model, optimiser(model), loader(), attack=ATTACK, checkpoints=checkpoints, resume=True))
    return [*model.state_dict().values(), term.loss.centres]


def test_the_state_of_a_loss_is_kept_in_the_checkpoints(tmp_path: Path):
    straight = kept(tmp_path / "straight", 3)
    kept(tmp_path / "parted", 1)
    assert all(map(torch.equal, kept(tmp_path / "parted", 3), straight))
    assert "losses/margin/centres" in CheckpointFolder(tmp_path / "parted").read("last").tensors


def test_another_rate_of_the_centres_is_told_when_a_run_goes_on(tmp_path: Path):
    kept(tmp_path, 1)
    with pytest.raises(ValueError, match=r"rate=0\.5, across_ranks=False.* and is .*rate=0\.25, across_ranks=False"):
        kept(tmp_path, 1, rate=0.25)


def test_a_loss_that_learns_is_trained_by_the_same_optimizer():
    model, loss = network(), Learned()
    before = loss.adaptation.weight.detach().clone()
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
    term = Term(name="learned", loss=loss, weight=1.0)
    reports(model, Trainer(epochs=1, terms=(term,)), optimizer=optimizer)
    assert not torch.equal(loss.adaptation.weight, before)


def test_a_loss_that_nobody_would_train_is_refused():
    term = Term(name="learned", loss=Learned(), weight=1.0)
    with pytest.raises(ValueError, match=r"holds the parameters of the loss 'learned' too.*requires_grad_\(False\)"):
        reports(network(), Trainer(epochs=1, terms=(term,)))
    term.loss.requires_grad_(False)
    assert reports(network(), Trainer(epochs=1, terms=(term,)))


def test_a_loss_that_learns_is_for_one_process():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        model, term = network(), Term(name="learned", loss=Learned(), weight=1.0)
        optimizer = torch.optim.SGD([*model.parameters(), *term.loss.parameters()], lr=0.1)
        with pytest.raises(ValueError, match=r"expected losses without parameters.* got 'learned' with some"):
            reports(model, Trainer(epochs=1, terms=(term,)), optimizer=optimizer)
    finally:
        distributed.destroy_process_group()


def test_a_loss_is_brought_to_the_device_of_the_network():
    class Asked(MarginLoss):
        def to(self, device):
            asked.append(device)
            return super().to(device)

    asked: list[torch.device] = []
    reports(network(), Trainer(epochs=1, terms=(Term(name="m", loss=Asked(4, 4), weight=1.0, labelled=True),)))
    assert asked == [torch.device("cpu")]


def test_logits_are_not_pooled():
    term = Term(name="coral", loss=Coral(), weight=1.0, shape="pooled")
    with pytest.raises(ValueError, match=r"to pool from the logits, got \(16, 4\); use shape='flat'"):
        reports(network(), Trainer(epochs=1, terms=(term,)))
