"""The demo, in a size that takes seconds: the same twice, honest when it goes badly, and whole without the hosts."""

import dataclasses
import functools
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import console

from interp_plugins.cli import main
from interp_plugins.demo import dissection, examples, networks, numbers, remedies, sections, study, work
from interp_plugins.demo.folder import Folder, Recipe
from interp_plugins.demo.hosts import compare
from interp_plugins.demo.writing import write
from interp_plugins.dissection.labels import quantile95
from interp_plugins.report.results import Results
from interp_plugins.sources import weights
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.store.sets import AdversarialSet

TINY = {
    "training": 64, "held_out": 32, "attacked": 6, "targets": 3, "width": 4, "epochs": 1, "steps": 2,
    "depths": (4,), "witness": 8, "tile": 4, "compared": 4, "size": 32, "again": 32, "more": 1,
}  # fmt: skip  # two shards


def run(folder: Path, *, processes: int = 1, **changed: object) -> study.Outcome:
    return study.run(study.Settings(**TINY | changed), Folder(folder), processes=processes)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return run(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def successful(outcome):
    """The same outcome, had the attack succeeded on all images, all of them named rightly before."""
    classes = np.eye(len(outcome.classes), dtype=np.float32)
    return dataclasses.replace(
        outcome,
        fooled=np.ones_like(outcome.fooled),
        clean_says=np.repeat(classes[outcome.labels][:, None], 2, 1),
        says=np.repeat(classes[outcome.targets][:, :, None], 2, 2),
        control_says=np.repeat(classes[outcome.labels][:, None], 3, 1),
    )


def test_the_same_settings_give_the_same_results_file(tmp_path, outcome):
    assert numbers.results(run(tmp_path)).to_json() == numbers.results(outcome).to_json()


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(tmp_path, outcome):
    two = run(tmp_path, processes=2)
    assert numbers.results(two).to_json() == numbers.results(outcome).to_json()
    shards = [sorted((each.folder.set / "shards").iterdir()) for each in (two, outcome)]
    assert [file.read_bytes() for file in shards[0]] == [file.read_bytes() for file in shards[1]]


def test_another_seed_gives_other_networks_and_another_world(tmp_path, outcome):
    other = run(tmp_path, seed=1)
    assert {digest for _, digest in other.inputs}.isdisjoint(digest for _, digest in outcome.inputs)


def test_the_world_is_not_moved_by_a_run(tmp_path):
    before = torch.random.get_rng_state()
    run(tmp_path, training=32, attacked=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_page_s_numbers_are_those_of_the_set(outcome):
    there = AdversarialSet.open(outcome.folder.set)
    parts = [there.read(number) for number in range(2)]
    assert there.manifest.digest == numbers.results(outcome).settings["set"]
    for name in ("targets", "fooled", "fooled_before", "rmse", "linf"):
        assert np.array_equal(getattr(outcome, name), torch.cat([getattr(part, name) for part in parts]).numpy()), name
    assert np.array_equal(outcome.adversarial, torch.cat([part.images for part in parts]).numpy())


def test_what_the_set_calls_fooled_says_the_target(outcome):
    assert np.array_equal(outcome.fooled, outcome.says[:, :, :-1].argmax(3) == outcome.targets[:, :, None])


def test_networks_are_named_by_what_their_files_hold(outcome):
    members = AdversarialSet.open(outcome.folder.set).manifest.members
    assert [member.spec for member in members] == [f"{outcome.folder.nets}:depth_4"]
    for network in outcome.networks:
        assert weights.digest(outcome.folder.network(network.recipe)) == network.sha256


def test_units_point_at_more_of_what_was_drawn_than_chance_explains(tmp_path):
    settings, folder = study.Settings(size=64), Folder(tmp_path)
    folder.clear()
    work.label(folder, settings.held_out, settings.size, settings.seed, 320)
    recipe = Recipe(8, settings.width, classes=16, epochs=4, seed=settings.seed)
    folder.write_nets([recipe])
    accuracy = work.learn(folder, recipe, *work.draw(320, settings.size, settings.seed, 0))
    network = study.Network(recipe, weights.digest(folder.network(recipe)), accuracy, right=0, attacked=True)
    found = [*study.dissect(settings, folder, network).layers.values()][-1]
    assert len(found.clean.chance.unique) == 20
    assert found.clean.labels.unique > quantile95(found.clean.chance.unique)


def test_what_is_said_to_be_dissected_is_what_the_commands_would_dissect(outcome):
    images, layer = open_labelled(outcome.folder.labelled), [*outcome.dissection.layers][-1]
    assert np.array_equal(images.tensor(range(len(images))).numpy(), outcome.unseen)
    again = outcome.dissection.method(outcome.folder.network(outcome.looked_into.recipe), [layer], images)[layer]
    assert torch.equal(again.clean.overlap.intersection, outcome.dissection.layers[layer].clean.overlap.intersection)
    assert dissection.command(outcome).startswith(
        f"interp-plugins dissect run --model {outcome.folder.nets}:depth_4 --layers features.4 --data "
    )


def test_detectors_before_and_after_learning_are_rows_of_the_results(outcome):
    found = numbers.rows(outcome)
    for layer, each in outcome.dissection.layers.items():
        row = found[f"ratio/{layer}/clean/all"]
        assert (row.numerator, row.denominator) == (int(each.clean.labels.detectors.sum()), 16)
    assert not any(name.endswith("/part") for name in found)


def test_what_became_of_each_pupil_is_in_the_results(outcome):
    found = numbers.rows(outcome)
    assert [pupil.remedy for pupil in outcome.pupils] == ["as before", "consistent loss", "adapted domains"]
    for pupil in outcome.pupils:
        row = found[f"{pupil.remedy}/accuracy/attacked"]
        assert (row.numerator, row.denominator) == (pupil.adversarial.correct, 32)
        assert found[f"{pupil.remedy}/unique detectors/attacked"].value == pupil.unique[1]


def test_a_lesson_leaves_the_network_that_was_attacked_as_it_was(outcome):
    recipe = outcome.looked_into.recipe
    assert weights.digest(outcome.folder.network(recipe)) == outcome.looked_into.sha256


def test_pupils_differ_by_what_they_are_asked_alone(outcome, monkeypatch):
    seen = []

    def told(trainer, model, optimizer, loader, *, attack):
        seen.append((weights.digest(model), [labels.tolist() for _, labels in loader], attack is None, trainer.terms))
        return iter(())

    monkeypatch.setattr(remedies.Trainer, "__call__", told)
    lesson = remedies.Lesson(epochs=1, rate=0.1, epsilon=0.1, tile=4, share=0.1, seed=0)
    unseen = (outcome.unseen, np.resize(outcome.labels, len(outcome.unseen)))
    for remedy in (remedies.AS_BEFORE, remedies.CONSISTENT, remedies.ADAPTED):
        remedies.teach(
            remedy, outcome.folder, outcome.looked_into.recipe, lesson, unseen, unseen,
            (outcome.adversarial, outcome.targets), torch.eye(len(outcome.classes)),
        )  # fmt: skip
    starts, orders, clean_only, terms = zip(*seen, strict=True)
    assert set(starts) == {outcome.looked_into.sha256}
    assert orders[0] == orders[1] == orders[2]
    assert clean_only == (True, False, False)
    assert [[term.name for term in each] for each in terms] == [[], ["consistent"], ["covariances", "means"]]


def test_labelled_images_that_no_demo_drew_are_left_alone(tmp_path):
    (tmp_path / "labelled").mkdir()
    theirs = tmp_path / "labelled" / "index.csv"
    theirs.write_text("image,split\nstreet.jpg,train\n")
    with pytest.raises(ValueError, match=r"labelled holds images that the demo did not draw; name another folder"):
        run(tmp_path)
    assert theirs.exists()


def test_a_second_demo_in_the_folder_makes_its_set_anew(tmp_path):
    first, second = run(tmp_path, attacked=2), run(tmp_path, attacked=2, seed=1)
    assert first.digest != second.digest
    assert AdversarialSet.open(tmp_path / "set").manifest.digest == second.digest


def test_somebody_else_s_set_in_the_folder_is_left_alone(tmp_path, outcome):
    (tmp_path / "set").mkdir()
    theirs = tmp_path / "set" / "manifest.json"
    theirs.write_text((outcome.folder.set / "manifest.json").read_text())  # a demo's, of another folder
    with pytest.raises(ValueError, match=r"set is no set that the demo made in this folder; name another folder"):
        run(tmp_path)
    assert theirs.exists()


def test_somebody_else_s_files_in_place_of_the_set_are_left_alone(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(ValueError, match=r"is no set that the demo made"):
        run(tmp_path)
    assert (tmp_path / "set").read_text() == "mine"


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
    fooled = successful.fooled.copy()
    fooled[0, 0, 0] = False
    found = numbers.rows(dataclasses.replace(successful, fooled=fooled))
    assert found["success/all of them/all images"].numerator == 17


def test_what_rounding_undid_is_told(successful):
    fooled = successful.fooled.copy()
    fooled[0, 0, 0] = False
    undone = dataclasses.replace(successful, fooled=fooled, fooled_before=np.ones_like(fooled))
    assert (
        "before it, 18 of 18 attempts fooled all attacked networks at once; as stored, 17 do"
        in sections.stored(undone).lead
    )


def test_the_witness_decides_the_transfer(successful):
    says = successful.says.copy()
    says[:, :, -1] = np.eye(len(successful.classes))[successful.labels][:, None]
    found = numbers.rows(dataclasses.replace(successful, says=says))
    assert found["transfer/says the target/all images"].numerator == 0
    assert found["transfer/does not say the truth/all images"].numerator == 0


def test_the_size_of_the_change_is_that_of_the_bytes(outcome):
    change = outcome.adversarial.astype(int) - outcome.images[:, None]
    assert outcome.linf.tolist() == np.abs(change).max((2, 3, 4)).tolist()
    assert outcome.rmse == pytest.approx(np.sqrt((change**2).mean((2, 3, 4))))


def test_a_mirrored_change_is_as_large_and_elsewhere():
    images = np.full((1, 3, 1, 2), 100, np.uint8)
    adversarial = images[:, None] + np.array([7, 0], np.uint8)
    assert study.mirrored_change(images, adversarial)[0, 0, 0].tolist() == [[100, 107]]


def test_an_answer_does_not_depend_on_the_neighbours(outcome):
    model = outcome.folder.network(outcome.networks[0].recipe)
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
    members = [outcome.folder.network(outcome.networks[0].recipe)]
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
    failed = dataclasses.replace(outcome, fooled=np.zeros_like(outcome.fooled))
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


def elsewhere(outcome: study.Outcome, folder: Path) -> study.Outcome:
    return dataclasses.replace(outcome, folder=Folder(folder))


def test_a_success_leaves_four_files_beside_the_set(tmp_path, successful):
    write(elsewhere(successful, tmp_path), seconds={"drawing": 1.0}, processes=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.png", "index.html", "results.json", "run.json"]


def test_the_picture_is_light_enough_for_a_readme(tmp_path, successful):
    write(elsewhere(successful, tmp_path), seconds={}, processes=1)
    assert (tmp_path / "demo.png").stat().st_size < 150_000


def test_times_are_in_run_json_and_not_in_results_json(tmp_path, outcome):
    write(elsewhere(outcome, tmp_path), seconds={"drawing": 1.25}, processes=2)
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


def test_what_the_command_says_to_type_works(tmp_path, monkeypatch, capsys, tiny_command):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--out", "one page", "--processes", "1"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    verify, show = (shlex.split(line)[1:] for line in lines if line.startswith("interp-plugins attack"))
    assert main(verify) == 0
    assert re.search(r"^transfer/depth_8/says the target/all images .* of 18", capsys.readouterr().out, re.MULTILINE)
    assert main(show) == 0
    assert [path.read_bytes()[:4] for path in tmp_path.glob("*.png")] == [b"\x89PNG"]


def test_the_page_says_the_same_to_type_as_the_command(outcome):
    assert sections.stored(outcome).pieces[0].text == "\n".join(sections.commands(outcome))


def test_json_prints_the_results_and_nothing_else(tmp_path, capsys, tiny_command):
    assert main(["demo", "--out", str(tmp_path), "--processes", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out == Results.read(tmp_path / "results.json").to_json()
    assert printed.err == ""
