"""Records, and the loader: whatever a plugin does wrong costs only that plugin."""

from pathlib import Path
from typing import Any

import pytest
from outsiders import ONE_METHOD, add_plugin, command, fresh, listed

import interp_plugins
from interp_plugins import Method
from interp_plugins.errors import UnknownMethod
from interp_plugins.registry import lines

GOOD: dict[str, Any] = {"name": "Good", "kind": "attack", "target": "a.b:Good", "summary": "good"}
OURS = {"catalogue:FGSM", "catalogue:PGD", "art:EnsembleOptimization", "torchattacks:PredictedLabelFGSM"}
GET_A = (
    "import interp_plugins\ntry:\n    interp_plugins.get('A')\nexcept Exception as e:\n    print(type(e).__name__, e)"
)
HOOK = "from interp_plugins import Method, hookimpl\n@hookimpl\ndef interp_methods():\n    "


@pytest.mark.parametrize(
    ("field", "value", "error", "sentence"),
    [
        ("name", "a b", ValueError, "expected the name of a method to be the name of a class, got 'a b'"),
        ("target", "a.b.Good", ValueError, "expected the target of Good as 'module:Class', got 'a.b.Good'"),
        ("target", "a.b:", ValueError, "expected the target of Good as 'module:Class', got 'a.b:'"),
        ("kind", " ", ValueError, "expected a kind, and as host an importable name or None, for Good; got kind ' '"),
        ("host", "a-b", ValueError, "or None, for Good; got kind 'attack', host 'a-b'"),
        ("summary", "one\ntwo", ValueError, "expected the summary of Good to be one line"),
        ("spec_version", 0, TypeError, "expected spec_version of a method to be a whole number from 1, got 0"),
    ],
)
def test_a_record_with_a_bad_field_is_refused(field: str, value: object, error: type[Exception], sentence: str):
    with pytest.raises(error, match=sentence):
        Method(**{**GOOD, field: value})


def test_our_own_methods_are_listed_and_sorted_by_name():
    ours = [(method.name, method.host) for method in interp_plugins.methods() if method.target.startswith("interp_")]
    assert ours == sorted(ours, key=lambda key: (key[0], key[1] or ""))
    assert {("FGSM", None), ("EnsembleOptimization", "art"), ("EnsembleOptimization", "torchattacks")} <= set(ours)


def test_methods_can_be_chosen_by_host():
    assert {method.host for method in interp_plugins.methods(host="art")} == {"art"}


def test_methods_can_be_chosen_by_kind():
    chosen = [interp_plugins.methods(kind=kind, host="art") for kind in ("attack", "detector", "trainer")]
    assert [[method.name for method in some] for some in chosen] == [
        ["EnsembleOptimization"],
        ["ConflictDetector"],
        ["ConsistentLossTrainer", "DomainAdaptationTrainer", "EnsembleAdversarialTraining"],
    ]
    assert interp_plugins.methods(kind="picture", host="art") == []


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: interp_plugins.get("ensembleoptimisation"), "did you mean 'EnsembleOptimization'?"),
        (lambda: interp_plugins.get("PGD", host="art"), "there is no method 'PGD' for art; there is get('PGD')"),
        (
            lambda: interp_plugins.get("PGD", host="arts"),
            "expected a host out of art, captum, torchattacks, got 'arts'; did you",
        ),
        (
            lambda: interp_plugins.methods(kind="atack"),
            "detector, measure, picture, trainer, got 'atack'; did you mean 'attack'?",
        ),
        (lambda: interp_plugins.methods(host="torchatacks"), "got 'torchatacks'; did you mean 'torchattacks'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(call: Any, sentence: str):
    with pytest.raises(UnknownMethod) as caught:
        call()
    assert sentence in str(caught.value)


def test_a_name_that_resembles_nothing_gets_no_suggestion():
    with pytest.raises(UnknownMethod) as caught:
        interp_plugins.get("Xyzzy")
    assert "did you mean" not in str(caught.value)


def test_every_method_of_ours_can_be_fetched_or_its_host_is_missing():
    for line in lines():
        if line.distribution == "interp-plugins" and line.status == "ready":
            assert interp_plugins.get(line.name, line.host).__name__ == line.name


def test_a_plugin_is_found_and_its_class_fetched(tmp_path: Path):
    add_plugin(tmp_path, "outside", ONE_METHOD.format(name="Product"))
    assert fresh("import interp_plugins; print(interp_plugins.get('Product')([2, 3]))", tmp_path) == "6\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f(:", "invalid syntax"),
        ("x = 1", "expected a function interp_methods marked with interp_plugins.hookimpl, found none"),
        (ONE_METHOD.format(name="A").replace("interp_methods", "interp_method"), "unknown hook 'interp_method'"),
        (ONE_METHOD.format(name="A").replace("methods()", "methods(host)"), "PluginValidationError"),
        (ONE_METHOD.replace('"{name}"', "None"), "TypeError: expected name of a method to be a string, got None"),
        (
            ONE_METHOD.format(name="A").replace("summary=", "paper=1, summary="),
            "expected paper of a method to be a string",
        ),
        (HOOK + "yield 'FGSM'", "TypeError: expected interp_methods to yield Method records, got 'FGSM'"),
        (HOOK + "return None", "TypeError: 'NoneType' object is not iterable"),
        (ONE_METHOD.format(name="A") + "    1 / 0", "ZeroDivisionError: division by zero"),
        (
            ONE_METHOD.format(name="a b"),
            "ValueError: expected the name of a method to be the name of a class, got 'a b'",
        ),
    ],
)
def test_a_broken_plugin_hides_only_itself(tmp_path: Path, code: str, reason: str):
    add_plugin(tmp_path, "aardvark", code)
    add_plugin(tmp_path, "zebra", ONE_METHOD.format(name="Product"))
    found = listed(tmp_path)
    assert found["aardvark"]["status"] == "failed"
    assert reason in found["aardvark"]["reason"]
    assert found["zebra:Product"]["status"] == "ready"
    assert set(found) >= OURS


def test_of_two_entry_points_of_one_name_the_first_distribution_keeps_it(tmp_path: Path):
    add_plugin(tmp_path, "one", ONE_METHOD.format(name="First"), entry="same", distribution="b-dist")
    add_plugin(tmp_path, "two", ONE_METHOD.format(name="Second"), entry="same", distribution="a-dist")
    found = listed(tmp_path)
    assert found["same:Second"]["status"] == "ready"
    assert found["same"]["status"] == "duplicate"
    assert found["same"]["reason"] == ("a-dist and b-dist both bring an entry point 'same'; that of a-dist is used")


def test_nobody_takes_the_entry_point_of_ours(tmp_path: Path):
    add_plugin(tmp_path, "aardvark", ONE_METHOD.format(name="Mine"), entry="art")
    found = listed(tmp_path)
    assert found["art"]["status"] == "duplicate"
    assert found["art:EnsembleOptimization"]["distribution"] == "interp-plugins"


def test_of_two_methods_of_one_name_ours_is_kept_and_both_plugins_are_named(tmp_path: Path):
    add_plugin(tmp_path, "aardvark", ONE_METHOD.format(name="FGSM"))
    found = listed(tmp_path)
    assert found["aardvark:FGSM"]["status"] == "duplicate"
    assert "catalogue (interp-plugins) and aardvark (aardvark) both bring FGSM" in found["aardvark:FGSM"]["reason"]
    assert found["catalogue:FGSM"]["status"] == "ready"


def test_one_distribution_found_twice_is_loaded_once(tmp_path: Path):
    folders = tmp_path / "new", tmp_path / "old"
    for folder in folders:
        folder.mkdir()
        add_plugin(folder, "outside", ONE_METHOD.format(name="Product"))
    assert [name for name in listed(*folders) if name.startswith("outside")] == ["outside:Product"]


def test_a_kind_from_the_future_is_listed_and_no_error(tmp_path: Path):
    add_plugin(tmp_path, "newer", ONE_METHOD.format(name="Recipe").replace('"attack"', '"recipe"'))
    line = listed(tmp_path)["newer:Recipe"]
    assert line["status"] == "unknown kind"
    assert line["reason"] == (
        "this version knows attack, detector, measure, picture, trainer: a newer interp-plugins may know it"
    )


def test_a_record_of_a_future_form_is_listed_as_failed(tmp_path: Path):
    code = ONE_METHOD.format(name="Newer").replace("summary", "spec_version=2, summary")
    add_plugin(tmp_path, "newer", code)
    assert "its record has form 2, this version knows 1" in listed(tmp_path)["newer:Newer"]["reason"]


def test_a_missing_host_of_an_outside_plugin_is_named_with_the_line_to_type(tmp_path: Path):
    add_plugin(tmp_path, "outside", ONE_METHOD.format(name="A").replace("summary", 'host="no_host", summary'))
    line = listed(tmp_path)["outside:A"]
    assert (line["status"], line["reason"]) == ("host missing", 'pip install "no_host"')


def test_only_allowed_outside_plugins_are_imported_and_ours_always(tmp_path: Path):
    add_plugin(tmp_path, "wanted", ONE_METHOD.format(name="Wanted"))
    add_plugin(tmp_path, "unwanted", "raise RuntimeError('imported')")
    found = listed(tmp_path, INTERP_PLUGINS="wanted, ")
    assert found["wanted:Wanted"]["status"] == "ready"
    assert (found["unwanted"]["status"], found["unwanted"]["reason"]) == ("blocked", "not named in INTERP_PLUGINS")
    assert set(found) >= OURS


def test_an_allowed_name_that_nothing_brings_is_a_line(tmp_path: Path):
    line = listed(tmp_path, INTERP_PLUGINS="wantd")["wantd"]
    assert line["reason"] == "INTERP_PLUGINS names it, but nothing that is installed brings an entry point 'wantd'"


def test_a_class_that_cannot_be_imported_is_a_broken_plugin(tmp_path: Path):
    add_plugin(tmp_path, "outside", ONE_METHOD.format(name="A").replace("math:prod", "no_such_module:A"))
    assert fresh(GET_A, tmp_path) == (
        "BrokenPlugin A could not be imported from no_such_module (ModuleNotFoundError: No module named "
        "'no_such_module'); `interp-plugins doctor` looks for the cause\n"
    )


def test_a_class_that_its_module_lacks_is_a_broken_plugin(tmp_path: Path):
    add_plugin(tmp_path, "outside", ONE_METHOD.format(name="A").replace("math:prod", "math:Prod"))
    assert fresh(GET_A, tmp_path) == "BrokenPlugin expected a class Prod in math, which has none\n"


def test_an_unknown_method_names_the_plugins_that_were_not_loaded(tmp_path: Path):
    add_plugin(tmp_path, "broken", "1 / 0")
    code = "import interp_plugins\ntry:\n    interp_plugins.get('Xyzzy')\nexcept Exception as e:\n    print(e)"
    assert "not loaded: broken (see `interp-plugins plugins`)" in fresh(code, tmp_path)


def test_a_trace_prints_each_call_of_a_hook(tmp_path: Path):
    add_plugin(tmp_path, "outside", ONE_METHOD.format(name="Product"))
    said = command("plugins", tmp_path, INTERP_PLUGINS_TRACE="1").stderr
    assert "interp_methods() of outside (outside 1.0): Product in " in said


def test_without_a_trace_nothing_is_printed():
    assert command("plugins").stderr == ""
