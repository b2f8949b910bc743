"""What doctor finds, says and recommends; what fresh processes answer is made up, except where that is the point."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from outsiders import add_plugin, command

from interp_plugins import registry
from interp_plugins.cli import doctor as doctor_module
from interp_plugins.cli import machine, main, offers
from interp_plugins.cli.machine import Finding, Probe
from interp_plugins.hosts import ART, TORCHATTACKS, Host
from interp_plugins.loader import Plugin

FACTS = {"version": "2.15.0+cpu", "cuda": None, "rocm": None, "devices": []}
NMS = Probe(complaint="RuntimeError: operator torchvision::nms does not exist")
FINE = Finding("x", "fine", "")


def torch(**changes: object) -> list[Finding]:
    return list(machine.torch(Probe(output=json.dumps({**FACTS, **changes}))))


def test_a_fresh_process_that_ends_well_gives_its_output():
    assert machine.probe("print(6 * 7)") == Probe(output="42\n")


def test_a_fresh_process_that_fails_gives_the_last_line_of_its_complaint():
    assert machine.probe("1 / 0") == Probe(complaint="ZeroDivisionError: division by zero")


def test_a_fresh_process_that_dies_without_a_word_gives_its_code():
    assert machine.probe("import os; os._exit(7)") == Probe(complaint="ended with code 7")


def test_a_fresh_process_that_never_comes_back_is_given_up():
    assert machine.probe("import time; time.sleep(60)", seconds=0.5) == Probe(complaint="no answer within 0.5 seconds")


def test_a_file_of_the_users_in_this_folder_shadows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "json.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    assert machine.probe("import json; print(1)").output == "1\n"


def test_torchs_build_is_named():
    assert torch()[0] == Finding("torch", "fine", "2.15.0+cpu, built for the CPU")
    assert torch(version="2.15.0", cuda="13.2")[0].message == "2.15.0, built for CUDA 13.2"
    assert torch(rocm="7.0")[0].message.endswith("built for ROCm 7.0")


def test_a_torch_with_known_holes_is_a_failure_with_its_fix():
    finding = torch(version="2.9.1")[0]
    assert (finding.status, finding.fix) == ("failure", 'pip install --upgrade "torch>=2.11"')


def test_a_torch_that_does_not_import_is_a_failure():
    (finding,) = machine.torch(Probe(complaint="ImportError: libcudart.so"))
    assert (finding.status, finding.message) == ("failure", "cannot be imported: ImportError: libcudart.so")


def test_the_gpus_are_named():
    assert torch(devices=["H100"])[1] == Finding("GPU", "fine", "H100")


def test_no_gpu_is_a_note(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert torch()[1].status == "note"


def test_a_gpu_that_this_torch_cannot_use_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert torch()[1].status == "warning"
    assert "https://pytorch.org/get-started" in torch()[1].fix


def test_a_torchvision_of_another_build_is_a_failure_that_names_the_pair_to_install():
    finding = machine.torchvision(NMS)
    assert finding.status == "failure"
    assert "operator torchvision::nms does not exist" in finding.message
    assert "--force-reinstall torch torchvision" in finding.fix


def test_a_torchvision_that_is_broken_in_another_way_is_a_failure():
    assert machine.torchvision(Probe(complaint="ImportError: x")).message == "cannot be imported: ImportError: x"


def test_no_torchvision_is_a_note():
    assert machine.torchvision(None).status == "note"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "installed_version", lambda self: "1.2.3")
    monkeypatch.setattr(Host, "is_present", lambda self: True)


@pytest.mark.usefixtures("installed")
def test_a_host_that_imports_is_fine():
    assert offers.host_framework(ART, Probe()) == Finding("art", "fine", "1.2.3, imports")


@pytest.mark.usefixtures("installed")
def test_a_host_that_does_not_import_is_a_failure_and_not_called_missing():
    finding = offers.host_framework(ART, NMS)
    assert finding.status == "failure"
    assert finding.message.startswith("1.2.3 is installed but broken: RuntimeError: operator")
    assert finding.fix == 'pip install --force-reinstall --no-deps "adversarial-robustness-toolbox>=1.20"'


def test_a_missing_host_is_a_note_with_the_line_to_type():
    finding = offers.host_framework(TORCHATTACKS, None)
    assert (finding.status, finding.message) == ("note", "not installed")
    assert finding.fix.startswith('pip install "interp-plugins[torchattacks]"')


def test_the_requests_that_torchattacks_pins_is_a_warning_with_the_cure():
    finding = offers.requests_pin("2.25.1")
    assert finding.status == "warning"
    assert "pip install --no-deps 'torchattacks>=3.5.1', then pip install --upgrade requests" in finding.fix


def test_a_newer_requests_is_harmless():
    finding = offers.requests_pin("2.32.4")
    assert (finding.status, "harmless" in finding.message) == ("fine", True)


def test_no_requests_is_fine():
    assert offers.requests_pin(None).status == "fine"


def test_wordnet_is_found_where_nltk_data_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "corpora" / "wordnet").mkdir(parents=True)
    monkeypatch.setattr(machine, "find_spec", lambda name: object())
    assert machine.wordnet({"NLTK_DATA": str(tmp_path)}).message == str(tmp_path / "corpora" / "wordnet")


def test_absent_wordnet_data_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: object())
    monkeypatch.setattr(Path, "exists", lambda self: False)
    finding = machine.wordnet({"NLTK_DATA": str(tmp_path)})
    assert (finding.status, finding.fix.startswith("python -m nltk.downloader wordnet")) == ("note", True)


def test_absent_nltk_is_a_note(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    finding = machine.wordnet({})
    assert (finding.status, "ImageNet-1k, CIFAR-10 and the drawn scenes are packaged" in finding.message) == (
        "note",
        True,
    )


@pytest.mark.parametrize(("gibibytes", "status"), [(1.9, "warning"), (2.1, "fine")])
def test_a_disk_that_is_nearly_full_is_a_warning(monkeypatch: pytest.MonkeyPatch, gibibytes: float, status: str):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, gibibytes * 2**30))
    assert machine.disk(Path("/")).status == status


def test_a_broken_plugin_is_a_failure_and_says_how_to_get_rid_of_it(monkeypatch: pytest.MonkeyPatch):
    broken = Plugin(name="broken", distribution="their-dist", version="1.0", status="failed", reason="ValueError: no")
    monkeypatch.setattr(registry, "loaded", lambda: (broken,))
    (finding,) = offers.broken_plugins()
    assert (finding.subject, finding.status, finding.message) == ("plugin broken", "failure", "failed: ValueError: no")
    assert finding.fix.startswith("pip uninstall their-dist, or tell its authors")


def test_a_second_plugin_of_one_name_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    second = Plugin(name="same", distribution="b", version="1.0", status="duplicate", reason="a and b both bring it")
    monkeypatch.setattr(registry, "loaded", lambda: (second,))
    assert [finding.status for finding in offers.broken_plugins()] == ["warning"]


def test_a_method_that_is_offered_and_does_not_import_is_a_failure():
    (finding,) = offers.broken_methods(Probe(output='{"Lost (theirs)": ["their-dist", "ImportError: gone"]}'))
    assert (finding.subject, finding.status) == ("methods Lost (theirs)", "failure")
    assert "pip uninstall their-dist" in finding.fix


def test_methods_that_fail_for_one_cause_are_one_line():
    cause = ["interp-plugins", "ModuleNotFoundError: No module named 'torch'"]
    (finding,) = offers.broken_methods(Probe(output=json.dumps({"FGSM (catalogue)": cause, "PGD (catalogue)": cause})))
    assert finding.subject == "methods FGSM (catalogue), PGD (catalogue)"
    assert finding.fix.startswith("repair what is named above first")


def test_methods_that_all_import_are_fine():
    assert [finding.status for finding in offers.broken_methods(Probe(output="{}"))] == ["fine"]


@pytest.mark.parametrize(("status", "code"), [("failure", 3), ("warning", 0), ("note", 0), ("fine", 0)])
def test_only_a_failure_makes_the_exit_code_3(monkeypatch: pytest.MonkeyPatch, status: machine.Status, code: int):
    monkeypatch.setattr(doctor_module, "examine", lambda: [FINE, Finding("y", status, "is so", "do this")])
    assert main(["doctor"]) == code


def test_each_finding_is_a_line_and_what_is_not_fine_carries_its_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(doctor_module, "examine", lambda: [Finding("y", "warning", "is so", "do this")])
    main(["doctor"])
    assert capsys.readouterr().out == "warn  y: is so\n      fix: do this\n"


def test_the_json_holds_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(doctor_module, "examine", lambda: [Finding("y", "warning", "is so", "do this")])
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out) == [
        {"subject": "y", "status": "warning", "message": "is so", "fix": "do this"}
    ]


@pytest.mark.slow
def test_on_this_machine_with_a_broken_host_and_a_broken_plugin_both_are_found(tmp_path: Path):
    add_plugin(tmp_path, "broken", "1 / 0")
    metadata = tmp_path / "torchattacks-3.5.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchattacks\nVersion: 3.5.1\n")
    (tmp_path / "torchattacks.py").write_text("raise ImportError('half of it is missing')")
    done = command("doctor --json", tmp_path)
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 3
    assert found["plugin broken"]["message"] == "failed: ZeroDivisionError: division by zero"
    assert found["torchattacks"]["message"] == "3.5.1 is installed but broken: ImportError: half of it is missing"
    assert [subject for subject, finding in found.items() if finding["status"] != "fine" and not finding["fix"]] == []
