"""A dissection told: rows, Table 2, sections and a table of units, with chance and silence said."""

import csv
import io

import pytest
import torch

from interp_plugins.dissection.dissection import Dissected
from interp_plugins.dissection.thresholds import Thresholds
from interp_plugins.report import detectors
from interp_plugins.report.dissection import rows, sections
from interp_plugins.report.page import Figure, Table, Text, render
from interp_plugins.report.results import Results
from interp_plugins.report.study import silence
from interp_plugins.report.units import as_csv
from tests.counted_overlaps import VOCABULARY
from tests.dissected_world import ATTACKED, CLEAN, DOG, aligned, dissected, overlap, study


def by_name(told):
    return {row.name: row for row in rows(told)}


def of_kind(kind, told):
    return [piece for section in sections(told) for piece in section.pieces if isinstance(piece, kind)]


def test_a_ratio_is_units_with_a_label_of_the_category_out_of_all_units():
    found = by_name(study())
    assert {name: (found[f"ratio/conv/clean/{name}"].numerator, found[f"ratio/conv/clean/{name}"].denominator)
            for name in ("color", "object", "scene", "all")} == {
        "color": (1, 6), "object": (2, 6), "scene": (0, 6), "all": (3, 6)}  # fmt: skip
    assert found["ratio/conv/attacked/object"].value == 2 / 6


def test_different_labels_are_counted_beside_the_units():
    found = by_name(study())
    assert (found["unique/conv/clean"].value, found["unique/conv/attacked"].value) == (2, 3)


def test_what_chance_gives_stands_in_rows_of_its_own():
    found = by_name(study())
    assert found["chance/conv/clean/all"].numerator == 1
    assert found["chance unique/conv/clean"].value == 1
    assert "95 % of 2 permutations" in found["chance/conv/clean/all"].method


def test_a_drop_is_told_in_shares_with_its_interval_and_how_often_it_is_reversed():
    told = study()
    found, drop = by_name(told), told.layers["conv"].drop
    row = found["drop/conv/all"]
    assert row.value == 0
    assert row.low <= row.value <= row.high
    assert found["drop unique/conv"].value == 1
    assert found["reversed/conv/all"].value == float(drop.detectors.reversed)
    assert found["ratio/conv/clean/all"].low == float(drop.detectors.clean.low) / 6


def test_units_keep_their_concept_take_another_or_lose_it():
    found = by_name(study())
    assert [found[f"{fate}/conv"].numerator for fate in ("kept", "other label", "lost")] == [1, 1, 1]
    assert found["kept/conv"].denominator == 3


def test_rows_say_the_union_rule_and_the_limit():
    assert (
        "IoU above 0.04, union rule 'category', top 0.5 % of places" in by_name(study())["ratio/conv/clean/all"].method
    )


def test_clean_images_alone_have_no_rows_of_an_attack():
    found = by_name(study(attack=None))
    assert not any(name.startswith(("drop", "kept", "reversed")) or "attacked" in name for name in found)
    assert found["ratio/conv/clean/all"].low is None


def test_without_draws_there_are_no_intervals_and_without_permutations_no_chance():
    found = by_name(study(draws=0, permutations=0))
    assert not any(name.startswith(("drop", "chance")) for name in found)
    assert found["kept/conv"].value == 1 / 3


@pytest.mark.parametrize("attack", [None, "FGSM"])
def test_all_rows_have_names_of_their_own_and_go_into_a_page(attack):
    told = study(attack=attack)
    results = Results(command=("x",), settings={}, versions={}, seed=0, inputs=(), rows=tuple(rows(told)))
    assert "How many units point at a concept?" in render("title", "lead", sections(told), results)


def test_table_2_has_a_line_for_each_kind_of_images_their_difference_and_chance():
    table = detectors.table(study().layers, VOCABULARY, caption="how")
    assert table.columns == ("layer", "images", "color", "object", "scene", "all", "different labels")
    assert [row[1] for row in table.rows] == [
        "clean", "attacked", "attacked − clean", "clean, by chance", "attacked, by chance"]  # fmt: skip
    lines = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in table.rows]
    assert lines[0] == ["conv", "clean", "16.7 % (1)", "33.3 % (2)", "0.0 % (0)", "50.0 % (3)", "2"]
    assert lines[2][-1].startswith("+1 [")
    assert lines[3][2:] == ["≤ 0.0 % (0)", "≤ 16.7 % (1)", "≤ 0.0 % (0)", "≤ 16.7 % (1)", "≤ 1"]


def test_the_table_names_the_union_rule_the_threshold_and_the_attack():
    caption = of_kind(Table, study())[0].caption
    assert "Union rule 'category': of a unit, the pixels count" in caption
    assert (
        "Attack: FGSM with the predicted label, epsilon 8/255; thresholds: found again on attacked images." in caption
    )


def test_silent_units_are_said_with_their_value():
    told = [piece.text for piece in of_kind(Text, study())]
    assert (
        "conv, clean images: 1 of 6 units have no label, since nothing lies above their threshold: 1 saturated at 6."
        in told
    )


def test_silent_units_at_many_values_are_summed_up():
    values = torch.tensor([0.0, 0, 1, 2, 3, 4], dtype=torch.float64)
    alignment = aligned(CLEAN)
    many = type(alignment)(Thresholds(values, values.float(), 10), alignment.overlap, alignment.labels, None)
    told = study()
    told = type(told)({"conv": Dissected(many)}, told.method, VOCABULARY, 300)
    text = of_kind(Text, told)[0].text
    assert "6 of 6 units have no label" in text
    assert "2 dead at 0, 1 saturated at 1, 1 saturated at 2, 1 saturated at 3, 1 at other values" in text


def test_a_drop_is_said_in_a_sentence_with_its_interval():
    text = of_kind(Text, study())[-1].text
    assert text.startswith("conv: under attack +0 units that detect a concept (")
    assert "95 % intervals by drawing 3 blocks of images 40 times, clean and attacked as pairs." in text


def test_the_sections_say_how_many_units_detect_what_and_which_change():
    told = sections(study())
    assert [section.title for section in told] == [
        "How many units point at a concept?",
        "Which concepts do units of conv detect?",
        "Which units of conv change under attack?",
    ]
    assert told[0].lead == (
        "Of 6 units of conv, 3 detected one of 2 concepts on clean images, and 3 one of 3 under attack. With the "
        "labels of other images, in 95 % of 2 trials at most 1 did, one of 1 concept."
    )
    assert told[2].lead == (
        "Of 3 units that detected a concept, 1 kept it under attack, 1 took another one and 1 lost it. Of the others 1 "
        "gained one."
    )


def test_the_units_that_change_are_listed_those_that_lose_most_first():
    table = of_kind(Table, study())[1]
    assert [(row[0], row[-1]) for row in table.rows] == [("1", "other label"), ("2", "lost"), ("3", "gained")]
    assert table.rows[0][1:3] == ("dog, 0.310", "cat, 0.310")
    assert table.rows[0][3].startswith("−0.310 [−0.3")


def test_a_dissection_in_which_nothing_is_detected_has_no_bars_and_no_scatter():
    told = study(clean={}, attacked={})
    assert of_kind(Figure, told) == []
    assert sections(told)[0].lead.startswith("Of 6 units of conv, 0 detected one of 0 concepts")


def test_bars_are_in_the_order_of_categories_and_of_clean_units():
    bars = detectors.detected(aligned(CLEAN).labels, aligned(ATTACKED).labels)
    assert [(VOCABULARY.name(bar.concept), bar.clean, bar.attacked) for bar in bars] == [
        ("red", 1, 1), ("dog", 2, 1), ("cat", 0, 1)]  # fmt: skip


def test_bars_are_drawn_for_both_themes_and_concepts_without_room_are_counted(monkeypatch):
    monkeypatch.setattr(detectors, "MOST", 2)
    figure = detectors.bars("conv", dissected(), VOCABULARY, caption="One.")
    assert figure.light != figure.dark
    assert figure.caption == "One. Not shown for want of room: 1 concept."


def test_categories_that_broden_does_not_know_have_colours_that_are_left():
    tints = detectors.tints(("object", "thing", "stuff"), detectors.DARK)
    assert tints["object"] == detectors.COLOURS["object"][1]
    assert len(set(tints.values())) == 3


def test_units_become_lines_with_what_is_undefined_left_empty():
    lines = list(csv.DictReader(io.StringIO(as_csv(study()))))
    assert [line["fate"] for line in lines] == ["kept", "other label", "lost", "gained", "", ""]
    assert (lines[1]["label"], lines[1]["label attacked"], lines[1]["category"]) == ("dog", "cat", "object")
    assert float(lines[0]["iou"]) == pytest.approx(float(overlap(CLEAN).iou[0, DOG]), rel=1e-5)
    assert float(lines[0]["own iou attacked"]) == pytest.approx(float(overlap(ATTACKED).iou[0, DOG]), rel=1e-5)
    assert (lines[5]["silent"], lines[5]["threshold"], lines[5]["label"], lines[5]["own iou attacked"]) == (
        "saturated", "6", "", "")  # fmt: skip
    assert lines[3]["color label"] == "red"
    assert lines[3]["object label"] == ""
    assert float(lines[0]["low"]) <= float(lines[0]["own iou attacked"]) - float(lines[0]["iou"]) + 1e-9


def test_units_on_clean_images_alone_have_no_columns_of_an_attack():
    header = as_csv(study(attack=None)).splitlines()[0]
    assert "attacked" not in header
    assert header.endswith("scene label,scene iou")


def test_without_draws_units_have_no_limits():
    line = next(csv.DictReader(io.StringIO(as_csv(study(draws=0)))))
    assert (line["low"], line["high"]) == ("", "")
    assert line["own iou attacked"] != ""


def test_silence_is_dead_at_nothing_and_saturated_above():
    values = torch.tensor([0.0, 6.0, 1.0], dtype=torch.float64)
    assert silence(Thresholds(values, torch.tensor([0.0, 6.0, 2.0]), 5)) == ["dead", "saturated", ""]
