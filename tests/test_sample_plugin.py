"""The outside plugin of the docs: built as a wheel, installed beside us, found by its entry point, and run."""

import subprocess
import sys
from pathlib import Path

import pytest
from outsiders import ONE_METHOD, add_plugin, command, fresh, listed

SOURCE = Path(__file__).resolve().parents[1] / "examples" / "a_plugin"

ATTACK = """
import torch
import interp_plugins

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 5)).train()
images = torch.rand(6, 3, 4, 4)
labels = network(images).argmax(1)
attack = interp_plugins.get("MomentumFGSM")(epsilon=0.1)
attacked = attack(network, images, labels)
loss = torch.nn.functional.cross_entropy
print((attacked - images).abs().max().item() <= 0.1 + 1e-6, attacked.min().item() >= 0, attacked.max().item() <= 1)
print(loss(network(attacked), labels).item() > loss(network(images), labels).item() + 0.1, network.training)
print(torch.equal(attack(network, images[2:3], labels[2:3]), attacked[2:3]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the sample plugin's wheel was installed."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=SOURCE, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return site


def test_the_sample_plugin_is_found_by_its_entry_point(site: Path):
    line = listed(site)["momentum:MomentumFGSM"]
    assert (line["status"], line["distribution"], line["version"]) == ("ready", "interp-momentum", "1.0.0")


def test_the_sample_plugins_attack_runs_and_keeps_an_attacks_promises(site: Path):
    assert fresh(ATTACK, site).split() == ["True"] * 6


def test_listing_the_sample_plugin_loads_no_torch(site: Path):
    code = (
        "import sys, interp_plugins; names = [method.name for method in interp_plugins.methods()]; "
        "print('MomentumFGSM' in names, 'interp_momentum' in sys.modules, 'torch' in sys.modules)"
    )
    assert fresh(code, site).split() == ["True", "True", "False"]


def test_a_plugin_that_is_not_allowed_is_listed_and_never_imported(site: Path):
    code = (
        "import sys; from interp_plugins.registry import lines; "
        "print(lines()[-1].status, lines()[-1].name, 'interp_momentum' in sys.modules)"
    )
    assert fresh(code, site, INTERP_PLUGINS="").split() == ["blocked", "momentum", "False"]


def test_a_broken_plugin_a_misspelt_hook_and_a_second_of_one_name_are_each_a_line(site: Path, tmp_path: Path):
    add_plugin(tmp_path, "broken", "import no_such_module")
    add_plugin(tmp_path, "misspelt", ONE_METHOD.format(name="Lost").replace("interp_methods", "interp_method"))
    add_plugin(tmp_path, "second", ONE_METHOD.format(name="Other"), entry="momentum")
    table = command("plugins", site, tmp_path).stdout
    assert "broken (broken): ModuleNotFoundError: No module named 'no_such_module'" in table
    assert "misspelt (misspelt): " in table
    assert "unknown hook 'interp_method'" in table
    assert "interp-momentum and second both bring an entry point 'momentum'; that of interp-momentum is used" in table
    assert "MomentumFGSM" in table
