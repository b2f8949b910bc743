"""The network of the training tables, and the benchmark of a training step, small."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def benchmarks_are_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT)


class Inner(nn.Module):
    """Layers by the names that the benchmark asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 5, stride=4), nn.BatchNorm2d(6)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 10)


class Tiny(nn.Module):
    """Stands in for ResNet-18."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Inner()

    def forward(self, images: torch.Tensor, with_latent: bool = False, **_others: object):
        features = self.net.avgpool(self.net.norm(self.net.conv(images)).relu()).flatten(1)
        logits = self.net.fc(features)
        return (logits, features) if with_latent else logits


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from benchmarks import training_peers

    monkeypatch.setattr(training_peers, "Network", Tiny)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_small_network_has_as_many_parameters_as_it_says():
    from benchmarks.networks import small_resnet

    assert sum(parameter.numel() for parameter in small_resnet().parameters()) == 78_042
    assert "78,042 parameters" in (small_resnet.__doc__ or "")


def test_the_small_network_has_eight_layers_with_weights_beside_its_shortcuts():
    from benchmarks.networks import small_resnet

    weighty = [name for name, part in small_resnet().named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert len([name for name in weighty if "shortcut" not in name]) == 8


def test_the_small_network_reads_ten_classes_from_images_as_they_are():
    from benchmarks.networks import small_resnet

    model = small_resnet().eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    grey = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    seen: list[torch.Tensor] = []
    model.conv1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(grey)
    assert seen[0].abs().max() < 1e-6


def test_the_small_network_is_that_of_a_seed():
    from benchmarks.networks import small_resnet

    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(small_resnet().state_dict()["layer2.shortcut.0.weight"])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_the_small_network_is_loaded_by_its_file(capsys: pytest.CaptureFixture[str]):
    from interp_plugins.sources import models

    loaded = models.load(f"{ROOT / 'benchmarks' / 'networks.py'}:small_resnet")
    assert loaded.name == "small_resnet"
    assert "running the code in" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # of the other libraries
@pytest.mark.parametrize("job", ["pgd", "consistent", "adapt"])
def test_each_way_to_take_a_step_is_a_row_or_says_why_not(job: str, tiny: None, tmp_path: Path):
    from benchmarks.training import comparisons, main
    from interp_plugins.report.results import Results

    shown = main(["--batch", "3", "--steps", "2", "--rounds", "1", "--only", job, "--out", str(tmp_path)])
    found = Results.read(tmp_path / f"training_{job}.json")
    for way in comparisons()[job].ways:
        assert f"\n| {way} |" in shown
        if way.startswith(("interp-plugins", "floor", "textbook", "a step", "CORAL")) and "bf16" not in way:
            assert found.row(way).value > 0
    assert set(found.settings["not run"]) <= set(comparisons()[job].ways)


def test_our_step_and_the_one_by_hand_leave_the_same_weights(tiny: None):
    from benchmarks import training, training_peers

    ours, by_hand = (training_peers.subject(4, 3) for _ in range(2))
    training.comparisons()["consistent"].ways["interp-plugins SharedFGSM"].make(ours)()
    training_peers.consistent_floor(by_hand)()
    for name, value in by_hand.network.state_dict().items():
        torch.testing.assert_close(ours.network.state_dict()[name], value, msg=name)


def test_our_pgd_step_and_that_of_torchattacks_see_batches_in_the_same_ball(tiny: None):
    from benchmarks import training, training_peers

    given = training_peers.subject(4, 5)
    moved = training.pgd("fp32")(5)(given.network.eval(), given.images, given.labels)
    assert (moved - given.images).flatten(1).norm(dim=1).max() <= training_peers.EPSILON + 1e-5


def test_ratios_are_of_the_floor_and_of_ours_and_what_did_not_run_says_why():
    from benchmarks.measure import Timing
    from benchmarks.tables import costs
    from benchmarks.training import Comparison, results

    timing = Timing({"ours": [1.0, 3.0], "floor": [2.0, 2.0], "peer": [4.0, 4.0]}, problems={"other": "not here"})
    found = results("pgd", Comparison({}, "floor", ("ours", "bf16")), timing, {"batch": 1})
    assert {row.name: row.value for row in found.rows} == {
        "ours": 2, "floor": 2, "peer": 4, "ours / floor": 1, "peer / floor": 2, "ours / peer": 0.5
    }  # fmt: skip
    assert costs([found]).splitlines() == [
        "|  | CPU s a step | / floor | ours / this |",
        "|---|---|---|---|",
        "| ours | 2 | 1 (0.5 to 1.5) |  |",
        "| floor | 2 |  | 1 (0.5 to 1.5) |",
        "| peer | 4 | 2 | 0.5 (0.25 to 0.75) |",
        "| other | not run: not here |  |  |",
    ]


def test_the_losses_alone_are_divided_by_how_often_they_ran(monkeypatch: pytest.MonkeyPatch, tiny: None):
    from benchmarks import measure, training

    now = [0.0]
    monkeypatch.setattr(measure, "cpu_seconds", lambda: now[0])

    def passing(_given: object):
        def step() -> None:
            now[0] += 40

        return step

    monkeypatch.setattr(training, "adapting", passing)
    compared = training.Comparison({"alone": training.Way(training.adapting)}, "alone", ())
    assert training.timed("adapt", compared, 2, 1, 1).seconds == {"alone": [2.0]}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel keeps no figures")
def test_the_memory_of_a_step_is_measured():
    pytest.importorskip("torchvision")
    from benchmarks.training import main

    shown = main(["--batch", "2", "--only", "memory"])
    assert "| PGD, interp-plugins |" in shown
