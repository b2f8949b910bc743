"""A survey told: rows, a table of units and sections, with what is undefined counted and never averaged in."""

import csv
import io
from dataclasses import replace

import pytest
import torch

from interp_plugins.neurons.consistency import Consistency
from interp_plugins.neurons.distance import Ratios
from interp_plugins.neurons.exemplars import Exemplars
from interp_plugins.neurons.survey import LayerSurvey, Records, Survey
from interp_plugins.report.page import Figure, Table
from interp_plugins.report.survey import FEW, rows, sections, units

NAN = float("nan")


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def top(u):
    dead = torch.tensor([False] * (u - 1) + [True])
    return Exemplars("layer", torch.zeros(u, 2), torch.zeros(u, 2, dtype=torch.long), 4, dead)


def lc(*values):
    return Consistency(
        raw=numbers(*values), debiased=numbers(*values) / 2, images=torch.tensor([2] * len(values)),
        sources=torch.tensor([2] * len(values)),
    )  # fmt: skip


def layer(values, adv, cs1, cs2):
    fooled = torch.full_like(numbers(*cs1), NAN)
    return LayerSurvey(top(len(values)), lc(*values), numbers(*values), top(len(adv)), lc(*adv), numbers(*cs1),
                       numbers(*cs2), fooled, numbers(*cs2))  # fmt: skip


def whole():
    """Two layers of three and two units, the last of each dead; four attacked images of two pictures."""
    layers = {
        "one": layer([0.2, 0.4, NAN], [0.1, 0.3, NAN], [0.5, 0.7, NAN], [0.8, 0.6, NAN]),
        "two": layer([0.6, NAN], [0.2, NAN], [0.3, NAN], [0.9, NAN]),
    }
    truth, targets = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 0, 2])
    records = Records(
        labels=truth, targets=targets, says=torch.tensor([1, 2, 1, 0]), sources=torch.tensor([0, 0, 1, 1])
    )
    ratios = Ratios(r1=numbers(1, 2, 4, NAN), r2=numbers(0.5, 0.5, NAN, 0.5), labels=truth, targets=targets,
                    counts=torch.tensor([2, 2, 0]))  # fmt: skip
    return Survey(layers, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), records, ratios)


def by_name(found, asked=2):
    return {row.name: row for row in rows(found, asked)}


def test_rates_are_counted():
    found = by_name(whole())
    counts = {
        name: (row.numerator, row.denominator) for name, row in found.items() if row.low is not None and row.numerator
    }
    assert counts == {
        "accuracy/real images": (3, 4),
        "attacked images/says the target": (2, 4),
        "attacked images/does not say the truth": (3, 4),
    }


def test_means_are_over_units_that_have_a_value_and_the_others_are_counted():
    found = by_name(whole())
    assert found["lc/one"].value == pytest.approx(0.3)
    assert found["lc/one"].method == "mean over 2 units, 1 have none"
    assert found["lc/all layers"].value == pytest.approx(0.4)
    assert found["cs2/all layers"].method == "mean over 3 units, 2 have none"
    assert (found["cs1_fooled/one"].value, found["cs1_fooled/one"].method) == (None, "undefined for all 3 units")


def test_only_the_layers_that_were_asked_for_go_into_all_of_them():
    assert by_name(whole(), asked=1)["lc/all layers"].value == pytest.approx(0.3)


def test_ratios_are_means_over_attacked_images_with_an_interval_by_picture():
    found = by_name(whole())
    row = found["r1/all"]
    assert row.value == pytest.approx(7 / 3)
    assert (row.low, row.high) == (pytest.approx(1.5), pytest.approx(4.0))  # one picture drawn twice, or the other
    assert row.method.startswith("mean over 3 attacked images of 2 pictures")
    assert found["r1/says the target"].value == pytest.approx(1.5)


def test_ratios_that_are_undefined_everywhere_have_no_value():
    found = whole()
    nothing = replace(found, records=replace(found.records, says=found.records.labels))
    assert by_name(nothing)["r2/says the target"].value is None


def test_the_table_leaves_empty_what_is_undefined():
    table = list(csv.DictReader(io.StringIO(units(whole()))))
    assert [(row["layer"], row["unit"], row["dead"]) for row in table] == [
        ("one", "0", "0"), ("one", "1", "0"), ("one", "2", "1"), ("two", "0", "0"), ("two", "1", "1"),
    ]  # fmt: skip
    assert (table[1]["lc"], table[1]["cs2"], table[2]["lc"], table[0]["cs1_fooled"]) == ("0.4", "0.6", "", "")


def kinds(section):
    return [type(piece) for piece in section.pieces if isinstance(piece, Figure | Table)]


def test_a_survey_with_attacked_images_has_a_figure_for_each_question():
    found = sections(whole(), 2, 2.0)
    assert [kinds(section)[0] for section in found] == [Figure, Figure, Figure]
    assert "alike by 0.200 on average" in found[0].lead
    assert "by 0.50 in what they truly show (CS1) and by 0.77" in found[1].lead
    assert found[1].lead.endswith("follow what they are mistaken for.")
    assert "2.33 times as far from their own class as real ones do (r1), and 0.50" in found[2].lead


def test_without_attacked_images_only_the_first_question_is_asked():
    found = whole()
    alone = {name: LayerSurvey(each.real, each.lc, each.ceiling) for name, each in found.layers.items()}
    (section,) = sections(Survey(alone, found.labels, found.says), 2, 2.0)
    assert kinds(section) == [Table]


def test_what_cannot_be_compared_is_said_and_not_drawn():
    found = whole()
    nothing = torch.full((3,), NAN, dtype=torch.float64)
    empty = replace(
        found.layers["one"], lc=lc(*nothing), lc_adv=lc(*nothing), cs1=nothing, cs2=nothing, ceiling=nothing
    )
    first, second, _ = sections(replace(found, layers={"one": empty}), 1, 2.0)
    assert (first.lead, kinds(first)) == (FEW, [Table])
    assert (second.lead.endswith("nothing can be compared."), kinds(second)) == (True, [])


def test_one_lc_for_all_units_is_no_axis():
    found = whole()
    same = replace(found.layers["one"], lc=lc(1.0, 1.0, NAN), lc_adv=lc(0.0, 0.0, NAN))
    _, second, _ = sections(replace(found, layers={"one": same}), 1, 2.0)
    assert (second.lead.endswith("nothing to draw by it."), kinds(second)) == (True, [])
