import hashlib
import os
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from interp_plugins.errors import HostMissing
from interp_plugins.sources import cifar, weights
from interp_plugins.sources.models import LoadedModel, Preprocessed, load, spec_with

FACTORY = (
    "from torch import nn\ndef small():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).train()\nNUMBER = 3\n"
)


@pytest.fixture
def squeezenet(tmp_path):
    """A torchvision network with random weights and the file that holds them."""
    pytest.importorskip("torchvision")
    from torchvision.models import squeezenet1_1

    net = squeezenet1_1(weights=None, num_classes=5).eval()
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    return net, tmp_path / "weights.pth"


def images(n=2, size=64):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_torchvision_model_normalises_and_resizes_by_its_own_recipe(squeezenet):
    net, file = squeezenet
    loaded = load(f"torchvision:squeezenet1_1@{file}?classes=5")
    x = nn.functional.interpolate(images(), (224, 224), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        torch.testing.assert_close(loaded.module(images()), net((x - mean.view(3, 1, 1)) / std.view(3, 1, 1)))


def test_a_timm_model_normalises_and_resizes_by_its_own_recipe(tmp_path):
    timm = pytest.importorskip("timm")
    net = timm.create_model("test_resnet", pretrained=False, num_classes=4).eval()
    safetensors.torch.save_file(net.state_dict(), tmp_path / "w.safetensors")
    loaded = load(f"timm:test_resnet@{tmp_path / 'w.safetensors'}?classes=4")
    own = net.pretrained_cfg
    x = nn.functional.interpolate(images(), tuple(own["input_size"][1:]), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = net((x - torch.tensor(own["mean"]).view(3, 1, 1)) / torch.tensor(own["std"]).view(3, 1, 1))
        torch.testing.assert_close(loaded.module(images()), expected)


def test_size_mean_and_std_can_be_given(squeezenet):
    net, file = squeezenet
    loaded = load(f"torchvision:squeezenet1_1@{file}?classes=5&size=64&mean=0,0,0&std=1,1,1")
    with torch.no_grad():
        assert torch.equal(loaded.module(images()), net(images()))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_ported_torchvision_model_converts_its_input_as_it_does_with_its_own_weights(tmp_path, name):
    models = pytest.importorskip("torchvision.models")
    torch.save(models.get_model(name, weights=None, init_weights=False).state_dict(), tmp_path / "w.pth")
    assert load(f"torchvision:{name}@{tmp_path / 'w.pth'}").module.net.transform_input


def test_loading_leaves_the_callers_random_numbers_alone(squeezenet):
    state = torch.random.get_rng_state()
    load(f"torchvision:squeezenet1_1@{squeezenet[1]}?classes=5")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_loaded_model_is_in_eval_mode_and_knows_its_name_spec_and_hash(squeezenet):
    spec = f"torchvision:squeezenet1_1@{squeezenet[1]}?classes=5"
    loaded = load(spec)
    assert not any(module.training for module in loaded.module.modules())
    assert (loaded.name, loaded.spec) == ("squeezenet1_1", spec)
    assert loaded.sha256 == hashlib.sha256(squeezenet[1].read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "wrap", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {f"module.{k}": v for k, v in s.items()}]
)
def test_wrapped_weights_are_unwrapped(squeezenet, tmp_path, wrap):
    net, _ = squeezenet
    torch.save(wrap(dict(net.state_dict())), tmp_path / "wrapped.pth")
    loaded = load(f"torchvision:squeezenet1_1@{tmp_path / 'wrapped.pth'}?classes=5&size=64&mean=0,0,0&std=1,1,1")
    with torch.no_grad():
        assert torch.equal(loaded.module(images()), net(images()))


def test_weights_of_another_number_of_classes_are_named_with_both_shapes(squeezenet):
    with pytest.raises(
        ValueError, match=r"classifier\.1\.weight \(5, 512, 1, 1\) instead of \(1000, 512, 1, 1\).*classes="
    ):
        load(f"torchvision:squeezenet1_1@{squeezenet[1]}")


def test_missing_and_unexpected_weights_are_named(squeezenet, tmp_path):
    state = dict(squeezenet[0].state_dict())
    state["stranger"] = state.pop("features.0.bias")
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"1 missing \(features\.0\.bias\); 1 unexpected \(stranger\)"):
        load(f"torchvision:squeezenet1_1@{tmp_path / 'odd.pth'}?classes=5")


def test_weights_with_nan_are_refused(squeezenet, tmp_path):
    state = dict(squeezenet[0].state_dict())
    state["features.0.bias"] = torch.full_like(state["features.0.bias"], float("nan"))
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match=r"NaN or infinite, first in 'features\.0\.bias'"):
        load(f"torchvision:squeezenet1_1@{tmp_path / 'nan.pth'}?classes=5")


def test_a_pickled_model_is_refused_and_nothing_in_it_runs(tmp_path):
    pytest.importorskip("torchvision")
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(ValueError, match="other pickles may run code and are refused"):
        load(f"torchvision:squeezenet1_1@{tmp_path / 'model.pth'}")


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors"])
def test_a_file_of_noise_is_no_weights_file(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 4)
    with pytest.raises(ValueError, match=r"noise\.\w+ cannot be read as weights alone"):
        weights.read(tmp_path / name)


def test_a_file_without_tensors_holds_no_weights(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds no weights: expected names and tensors, got list"):
        weights.read(tmp_path / "list.pth")


def test_without_a_file_and_without_leave_to_download_the_way_out_is_said():
    with pytest.raises(ValueError, match=r"type torchvision:resnet18@FILE .* or allow the download"):
        load("torchvision:resnet18")


def test_download_asks_the_library_for_its_own_weights(monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    asked = []
    monkeypatch.setattr(
        torchvision.models, "get_model", lambda *args, **more: asked.append((args, more)) or nn.Flatten()
    )
    assert load("torchvision:resnet18", download=True).sha256 is None
    assert asked == [(("resnet18",), {"weights": "DEFAULT"})]


def test_downloaded_weights_have_their_own_number_of_classes():
    with pytest.raises(ValueError, match="another number of classes than the library's own weights have"):
        load("torchvision:resnet18?classes=10", download=True)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("resnet18", "expected a model as KIND:NAME"),
        ("torchvison:resnet18@w.pth", "unknown kind of model 'torchvison'; did you mean 'torchvision'"),
        ("torchvision:resnet18@w.pth?sise=3", "unknown setting 'sise' in .*; did you mean 'size'"),
        ("torchvision:resnet18@w.pth?size=big", "expected size=224 in .*, got size=big"),
        ("torchvision:resnet18@w.pth?size=0", "expected size=224 in .*, got size=0"),
        ("torchvision:resnet18@w.pth?mean=0.5", "expected mean=0.485,0.456,0.406 in .*, got mean=0.5"),
    ],
)
def test_a_spec_that_cannot_be_read_says_what_was_expected(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(spec)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"), [("torchvision", "resnet81", "resnet18"), ("timm", "rezmlp_12_224", "resmlp_12_224")]
)
def test_an_unknown_model_name_gets_the_nearest_suggestion(tmp_path, kind, wrong, right):
    pytest.importorskip(kind)
    (tmp_path / "w.pth").touch()
    with pytest.raises(ValueError, match=f"{kind} has no model '{wrong}'; did you mean '{right}'"):
        load(f"{kind}:{wrong}@{tmp_path / 'w.pth'}")


@pytest.mark.parametrize("spec", ["torchvision:resnet18@nowhere.pth", "nowhere.py:net"])
def test_a_file_that_is_not_there_is_named(spec):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(spec)


def test_a_missing_library_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "w.pth").touch()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        HostMissing, match=r"timm is needed for 'timm:resnet18': pip install 'interp-plugins\[vision\]'"
    ):
        load(f"timm:resnet18@{tmp_path / 'w.pth'}")


def test_a_factory_gives_its_model_in_eval_mode(tmp_path):
    (tmp_path / "mine.py").write_text(FACTORY)
    loaded = load(f"{tmp_path / 'mine.py'}:small")
    assert loaded.name == "small"
    assert not loaded.module.training
    assert loaded.module(images(2, 2)).shape == (2, 3)


def test_weights_are_loaded_into_what_a_factory_returns(tmp_path):
    (tmp_path / "mine.py").write_text(FACTORY)
    spec = f"{tmp_path / 'mine.py'}:small"
    half = {name: torch.full_like(value, 0.5) for name, value in load(spec).module.state_dict().items()}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    loaded = load(f"{spec}@{tmp_path / 'half.safetensors'}")
    assert all(torch.equal(value, half[name]) for name, value in loaded.module.state_dict().items())
    assert loaded.sha256 == hashlib.sha256((tmp_path / "half.safetensors").read_bytes()).hexdigest()


def test_a_factorys_weights_that_are_not_there_are_named(tmp_path):
    (tmp_path / "mine.py").write_text(FACTORY)
    with pytest.raises(FileNotFoundError, match=r"no weights file nowhere\.pth"):
        load(f"{tmp_path / 'mine.py'}:small@nowhere.pth")


@pytest.mark.parametrize(
    ("spec", "there"),
    [
        ("nets.py:mine", "nets.py:mine@a/b.pth"),
        ("nets.py:mine@old.pth", "nets.py:mine@a/b.pth"),
        ("timm:resnet10t@old.pth?size=96", "timm:resnet10t@a/b.pth?size=96"),
        ("torchvision:resnet18@old.pth", "torchvision:resnet18@a/b.pth"),
    ],
)
def test_a_spec_can_be_given_other_weights(spec, there):
    assert spec_with(spec, "a/b.pth") == there


def test_the_weights_of_a_named_architecture_are_those_behind_its_normalisation(squeezenet):
    loaded = load(f"torchvision:squeezenet1_1@{squeezenet[1]}?classes=5")
    assert loaded.network is loaded.module.net


def test_the_weights_of_a_factory_are_all_that_it_returns():
    wrapped = Preprocessed(nn.Flatten(), (0.5,), (0.5,))
    assert LoadedModel(wrapped, "mine", "nets.py:mine", None).network is wrapped


def test_running_a_factorys_file_is_said_once_on_stderr(tmp_path, capsys):
    (tmp_path / "said.py").write_text(FACTORY)
    for _ in range(2):
        load(f"{tmp_path / 'said.py'}:small")
    assert capsys.readouterr().err.count("running the code in") == 1


def test_a_file_that_changed_within_a_second_is_run_as_it_is_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "mine.py"
    for classes in (3, 4):
        file.write_text(FACTORY.replace("12, 3", f"12, {classes}"))
        os.utime(file, (1, 1))
        assert load(f"{file}:small").module[1].out_features == classes
    assert list(tmp_path.iterdir()) == [file]


def test_an_unknown_factory_gets_the_nearest_suggestion(tmp_path):
    (tmp_path / "mine.py").write_text(FACTORY)
    with pytest.raises(ValueError, match=r"mine\.py defines no factory 'smal'; did you mean 'small'"):
        load(f"{tmp_path / 'mine.py'}:smal")


def test_a_factory_must_return_a_module(tmp_path):
    (tmp_path / "mine.py").write_text("def three():\n    return 3\n")
    with pytest.raises(TypeError, match=r"to return a torch\.nn\.Module, got int"):
        load(f"{tmp_path / 'mine.py'}:three")


def test_preprocessed_normalises_each_channel():
    model = Preprocessed(nn.Identity(), mean=(0.5, 0.25), std=(0.5, 0.25))
    assert model(torch.tensor([1.0, 0.5]).view(1, 2, 1, 1)).flatten().tolist() == [1.0, 1.0]


def test_preprocessed_refuses_a_standard_deviation_of_zero():
    with pytest.raises(ValueError, match="expected one mean and one std above 0 for each channel"):
        Preprocessed(nn.Identity(), mean=(0.5,), std=(0.0,))


@pytest.mark.real
def test_a_real_cifar_network_loads_by_its_factory_and_is_right(data_folder: Path):
    data = cifar.from_tiles(data_folder / "cifar10", split="test")
    model = load(f"{data_folder / 'nets.py'}:cifar_resnet20").module
    with torch.no_grad():
        predictions = model(data.tensor(range(200)).float() / 255).argmax(1)
    assert (predictions == data.labels[:200]).float().mean() >= 0.90


@pytest.mark.real
def test_real_imagenet_weights_fit_torchvisions_architecture(data_folder: Path):
    pytest.importorskip("torchvision")
    file = data_folder / "weights" / "imagenet" / "squeezenet1_0_deepcompression_tv.pth"
    factory = load(f"{data_folder / 'nets.py'}:imagenet_squeezenet1_0").module
    with torch.no_grad():
        mine, theirs = (m(images(2, 224)) for m in (load(f"torchvision:squeezenet1_0@{file}").module, factory))
    torch.testing.assert_close(mine, theirs)
