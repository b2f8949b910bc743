"""The demo, in a size that takes seconds: the same twice, honest when it goes badly, and whole without the hosts."""

import dataclasses
import functools
import json
import re
import sys

import numpy as np
import pytest
import torch
from chromium import console

from interp_plugins.cli import main
from interp_plugins.demo import examples, networks, numbers, sections, study
from interp_plugins.demo.hosts import compare
from interp_plugins.demo.writing import write
from interp_plugins.report.results import Results

TINY = {
    "training": 64, "held_out": 32, "attacked": 6, "targets": 3, "width": 4, "epochs": 1, "steps": 2,
    "depths": (4,), "witness": 8, "part": 4, "size": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def outcome():
    return study.run(study.Settings(**TINY))


@pytest.fixture
def successful(outcome):
    """The same outcome, had the attack succeeded on all images, all of them named rightly before."""
    classes = np.eye(len(outcome.classes), dtype=np.float32)
    return dataclasses.replace(
        outcome,
        clean_says=np.repeat(classes[outcome.labels][:, None], 2, 1),
        says=np.repeat(classes[outcome.targets][:, :, None], 2, 2),
        control_says=np.repeat(classes[outcome.labels][:, None], 3, 1),
    )


def test_the_same_settings_give_the_same_results_file(outcome):
    assert numbers.results(study.run(study.Settings(**TINY))).to_json() == numbers.results(outcome).to_json()


def test_two_processes_give_the_results_of_one(outcome):
    two = study.run(study.Settings(**TINY), processes=2)
    assert numbers.results(two).to_json() == numbers.results(outcome).to_json()


def test_another_seed_gives_other_networks_and_another_world(outcome):
    other = study.run(study.Settings(**TINY | {"seed": 1}))
    assert {digest for _, digest in other.inputs}.isdisjoint(digest for _, digest in outcome.inputs)


def test_the_world_is_not_moved_by_a_run():
    before = torch.random.get_rng_state()
    study.run(study.Settings(**TINY | {"training": 32, "attacked": 2}))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_true_class_is_never_a_target(outcome):
    assert not (outcome.targets == outcome.labels[:, None]).any()


def test_every_attack_is_counted(successful):
    row = numbers.rows(successful)["success/all of them/all images"]
    assert (row.numerator, row.denominator) == (18, 18)


def test_what_was_misread_before_is_left_out_of_the_second_count(successful):
    clean = successful.clean_says.copy()
    clean[0, 0] = np.roll(clean[0, 0], 1)
    row = numbers.rows(dataclasses.replace(successful, clean_says=clean))["success/all of them/right when clean"]
    assert (row.numerator, row.denominator) == (15, 15)


def test_one_member_that_holds_out_is_no_success_of_all(successful):
    says = successful.says.copy()
    says[0, 0, 0] = np.roll(says[0, 0, 0], 1)
    found = numbers.rows(dataclasses.replace(successful, says=says))
    assert found["success/all of them/all images"].numerator == 17


def test_the_witness_decides_the_transfer(successful):
    says = successful.says.copy()
    says[:, :, -1] = np.eye(len(successful.classes))[successful.labels][:, None]
    found = numbers.rows(dataclasses.replace(successful, says=says))
    assert found["transfer/says the target/all images"].numerator == 0
    assert found["transfer/does not say the truth/all images"].numerator == 0


def test_the_size_of_the_change_is_that_of_the_bytes(outcome):
    adversarial = np.repeat(outcome.images[:, None], 3, 1)
    adversarial[..., 0, 0, 0] ^= 4  # one colour of one pixel by four levels
    changed = dataclasses.replace(outcome, adversarial=adversarial)
    assert changed.linf.tolist() == [[4] * 3] * 6
    assert changed.rmse == pytest.approx(np.full((6, 3), 4 / np.sqrt(3 * 32 * 32)))


def test_a_mirrored_change_is_as_large_and_elsewhere():
    images = np.full((1, 3, 1, 2), 100, np.uint8)
    adversarial = images[:, None] + np.array([7, 0], np.uint8)
    assert study.mirrored_change(images, adversarial)[0, 0, 0].tolist() == [[100, 107]]


def test_an_answer_does_not_depend_on_the_neighbours(outcome):
    recipe, weights = outcome.networks[0].recipe, outcome.networks[0].weights
    model = recipe.build(weights)
    assert np.array_equal(study.ask(model, outcome.images, 4)[:1], study.ask(model, outcome.images[:1], 4))


def test_all_doors_give_the_same_bits(outcome):
    pytest.importorskip("torchattacks")
    pytest.importorskip("art")
    assert len({host.sha256 for host in outcome.hosts}) == 1


@pytest.mark.parametrize(
    ("host", "cure"),
    [
        ("torchattacks", "pip install --no-deps 'torchattacks>=3.5.1'"),
        ("art", "pip install 'interp-plugins[art]'"),
    ],
)
def test_a_missing_host_costs_a_line_that_says_what_to_type(monkeypatch, outcome, host, cure):
    for name in [name for name in sys.modules if name.startswith((f"{host}.", f"interp_{host}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, host, None)
    members = [network.recipe.build(network.weights) for network in outcome.networks[:1]]
    runs = compare(outcome.settings.method(), members, outcome.images[:2], outcome.targets[:2, 0], 16)
    without = sections.hosts(dataclasses.replace(outcome, hosts=runs))
    assert f"Not run here: {host}." in without.lead
    assert cure in without.pieces[-1].text


def test_other_bits_from_a_host_are_not_hushed_up(outcome):
    core, *others = outcome.hosts
    strange = [dataclasses.replace(others[0], sha256="f" * 64), *others[1:]]
    section = sections.hosts(dataclasses.replace(outcome, hosts=(core, *strange)))
    assert f"Run through {others[0].host}, it gives other bits than the core." in section.lead


def test_a_network_outside_the_band_is_named(outcome):
    poor = dataclasses.replace(outcome.networks[0], right=3)
    section = sections.networks(dataclasses.replace(outcome, networks=(poor, *outcome.networks[1:])))
    assert "Outside the 85% to 99% that the study wants: depth 4" in section.lead


def test_networks_inside_the_band_are_said_to_be(outcome):
    good = tuple(dataclasses.replace(network, right=30) for network in outcome.networks)
    assert "All lie between 85% and 99%" in sections.networks(dataclasses.replace(outcome, networks=good)).lead


def test_without_a_success_there_is_a_sentence_and_no_picture(outcome):
    failed = dataclasses.replace(outcome, says=outcome.says * 0)
    failed = dataclasses.replace(failed, targets=np.full_like(outcome.targets, 5))
    assert sections.pictures(failed).pieces == ()


def test_examples_are_of_different_classes(successful):
    shown = [example.truth for example in examples.chosen(successful, 3)]
    assert len(set(shown)) == 3


def test_the_page_escapes_a_hostile_class_name(successful):
    names = ("<b>bold</b>",) * len(successful.classes)
    html = sections.page(dataclasses.replace(successful, classes=names))
    assert "<b>" not in html
    assert "&lt;b&gt;bold" in html


def test_the_browser_has_nothing_to_complain_about(tmp_path, successful):
    path = tmp_path / "index.html"
    path.write_text(sections.page(successful))
    assert console(path, tmp_path) == []


def test_a_success_leaves_four_files(tmp_path, successful):
    write(successful, tmp_path, seconds={"drawing": 1.0}, processes=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.png", "index.html", "results.json", "run.json"]


def test_the_picture_is_light_enough_for_a_readme(tmp_path, successful):
    write(successful, tmp_path, seconds={}, processes=1)
    assert (tmp_path / "demo.png").stat().st_size < 150_000


def test_times_are_in_run_json_and_not_in_results_json(tmp_path, outcome):
    write(outcome, tmp_path, seconds={"drawing": 1.25}, processes=2)
    assert json.loads((tmp_path / "run.json").read_text())["seconds"] == {"drawing": 1.2}
    assert "seconds" not in (tmp_path / "results.json").read_text()


def test_a_depth_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"expected a depth of .* got 9"):
        networks.fresh(9, 16, 4, 0)


def test_training_learns():
    images = (torch.arange(64) % 2 * 200).to(torch.uint8).reshape(-1, 1, 1, 1).expand(64, 3, 32, 32)
    *_, last = networks.train(networks.fresh(4, 2, 4, 0), images, torch.arange(64) % 2, epochs=3, seed=0)
    assert last.accuracy > 0.95


@pytest.fixture
def tiny_command(monkeypatch):
    monkeypatch.setattr(study, "Settings", functools.partial(study.Settings, **TINY))


def test_the_command_writes_a_page_and_says_where(tmp_path, capsys, tiny_command):
    assert main(["demo", "--out", str(tmp_path / "new" / "demo"), "--processes", "1"]) == 0
    assert re.search(r"Open .*index.html in a browser", capsys.readouterr().out)
    assert (tmp_path / "new" / "demo" / "index.html").stat().st_size > 10_000


def test_json_prints_the_results_and_nothing_else(tmp_path, capsys, tiny_command):
    assert main(["demo", "--out", str(tmp_path), "--processes", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out == Results.read(tmp_path / "results.json").to_json()
    assert printed.err == ""
