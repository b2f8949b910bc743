from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from interp_plugins.neurons.consistency import Consistency
from interp_plugins.report.meaning import Line, agreement, curves, ratios, scatter, table

NAN = float("nan")
LC = torch.tensor([0.1, 0.2, 0.6, 0.9, NAN], dtype=torch.float64)
CS1 = torch.tensor([0.9, NAN, 0.5, 0.3, 0.2], dtype=torch.float64)
CS2 = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
EDGES = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)


def picture(png):
    image = Image.open(BytesIO(png)).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image))


def known(raw, debiased, images, sources):
    return Consistency(
        raw=torch.tensor(raw, dtype=torch.float64),
        debiased=torch.tensor(debiased, dtype=torch.float64),
        images=torch.tensor(images),
        sources=torch.tensor(sources),
    )


def test_all_measures_are_taken_over_the_same_bins():
    found = curves(LC, {"CS1": CS1, "CS2": CS2}, 2)
    assert found["CS1"].edges.tolist() == found["CS2"].edges.tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert found["CS1"].counts.tolist() == [1, 2]
    assert found["CS2"].counts.tolist() == [2, 2]
    assert found["CS2"].means.tolist() == pytest.approx([0.2, 0.6])
    assert (found["CS1"].undefined, found["CS2"].undefined) == (2, 1)


def test_edges_that_are_given_are_kept():
    assert curves(LC, {"CS1": CS1}, EDGES)["CS1"].edges.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("count", [1, 6])
def test_every_curve_is_drawn_however_many_there_are(count):
    names = [f"curve {number}" for number in range(count)]
    before = agreement(curves(LC, {name: CS2 for name in names}, EDGES), alt="a")
    names[-1] = "ceiling"
    after = agreement(curves(LC, {name: CS2 for name in names}, EDGES), alt="a")
    assert before.light != after.light


def test_an_empty_bin_is_left_out_of_the_line():
    edges = torch.tensor([0.0, 0.3, 0.4, 1.0], dtype=torch.float64)
    assert agreement(curves(LC, {"CS1": CS1}, edges), alt="a").light.startswith(b"\x89PNG")


def test_a_drawing_says_what_can_be_seen_and_is_made_for_both_themes():
    for figure in (
        agreement(curves(LC, {"CS1": CS1, "ceiling": CS2}, EDGES), alt="curves", caption="means"),
        ratios(CS1, CS2, alt="curves", caption="means"),
        scatter(CS1, CS2, alt="curves", caption="means"),
    ):
        assert (figure.alt, figure.caption) == ("curves", "means")
        assert figure.light != figure.dark
        assert picture(figure.light).shape == picture(figure.dark).shape


def test_ratios_that_are_not_defined_change_nothing():
    r1, r2 = torch.tensor([1.0, 1.2, NAN, float("inf")]), torch.tensor([0.8, NAN, NAN, 0.9])
    plain = ratios(torch.tensor([1.0, 1.2]), torch.tensor([0.8, 0.9]), alt="a")
    assert ratios(r1, r2, alt="a").light == plain.light


def test_one_side_of_the_ratios_may_be_undefined():
    assert ratios(torch.full((3,), NAN), torch.tensor([0.5, 0.6, 0.7]), alt="a").light.startswith(b"\x89PNG")


def test_a_few_ratios_far_out_do_not_squeeze_the_others():
    r1 = 1 + 0.1 * torch.randn(2000, generator=torch.Generator().manual_seed(0))
    far = torch.cat([r1[:-1], torch.tensor([50.0])])
    near, wide = (picture(ratios(values, r1 - 0.2, alt="a").light) for values in (r1, far))
    assert (near != wide).any(2).mean() < 0.2


def test_the_table_gives_means_raw_and_corrected_and_counts_what_is_undefined():
    lc = known([0.5, 0.3, NAN], [0.4, 0.2, NAN], [4, 4, 0], [4, 4, 0])
    adv = known([0.2, 0.4, 0.3], [NAN, 0.1, 0.3], [8, 8, 8], [1, 4, 4])
    found = table([Line("conv", lc, adv), Line("last", lc)], caption="means")
    assert found.rows[0] == (
        "conv",
        "3",
        "0.4000 (1 undefined)",
        "0.3000",
        "0.3000 (1 undefined)",
        "0.2000 (1 undefined)",
        "3.0 of 8 images",
    )
    assert found.rows[1][3] == found.rows[1][5] == found.rows[1][6] == "–"
    assert found.caption == "means"


def test_a_layer_of_dead_units_has_undefined_means():
    dead = known([NAN], [NAN], [0], [0])
    assert table([Line("conv", dead, dead)]).rows[0][2:6] == ("undefined",) * 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: agreement({}, alt="a"), "at least one curve, got none"),
        (lambda: ratios(torch.tensor([NAN]), torch.tensor([NAN]), alt="a"), "one ratio that is defined, got none"),
        (lambda: scatter(torch.tensor([NAN, 1.0]), torch.tensor([1.0, NAN]), alt="a"), "one unit with both values"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_drawing_leaves_matplotlibs_settings_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    scatter(CS1, CS2, alt="a")
    assert dict(matplotlib.rcParams) == before
