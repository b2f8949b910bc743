"""The page: nothing hostile gets through, nothing is fetched, everything can be read without seeing it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import torch
from chromium import console

from interp_plugins.report import figures
from interp_plugins.report.page import Code, Figure, Panel, Section, Strip, Table, Text, Verdict, render
from interp_plugins.report.png import difference, encode, to_bytes
from interp_plugins.report.results import Input, Results, Row, rate

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
PICTURE = encode(np.zeros((3, 4, 4), np.uint8))
DARK = encode(np.ones((3, 4, 4), np.uint8))
RESULTS = Results(
    command=("interp-plugins", "demo"),
    settings={"file": HOSTILE},
    versions={"torch": "2"},
    seed=0,
    inputs=(Input(name=HOSTILE, sha256="0" * 64),),
    rows=(),
)


def everything(words):
    verdict = Verdict(who=words, says=words, confidence=0.7, tone="target")
    panel = Panel(title=words, picture=PICTURE, alt=words, note=words, verdicts=(verdict,))
    return Section(
        words,
        words,
        (
            Text(words),
            Code(words),
            Table(columns=(words, "rate"), rows=((words, rate(words, 3, 4)),), caption=words),
            Figure(light=PICTURE, dark=DARK, alt=words, caption=words),
            Strip(panels=(panel,), caption=words),
        ),
    )


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def hostile_page():
    return render(HOSTILE, HOSTILE, (everything(HOSTILE),), RESULTS)


@pytest.fixture(scope="module")
def calm_page():
    return render("A question?", "An answer.", (everything("words"),), RESULTS)


def test_hostile_names_make_no_element_anywhere(hostile_page, calm_page):
    hostile, calm = Elements(hostile_page), Elements(calm_page)
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in calm.found]


def test_hostile_names_make_no_attribute_anywhere(hostile_page):
    assert not [name for _, attributes in Elements(hostile_page).found for name in attributes if name.startswith("on")]


def test_a_page_has_no_script(calm_page):
    assert not Elements(calm_page).all("script")


def test_a_page_fetches_nothing(calm_page):
    elements = Elements(calm_page)
    addresses = [attributes.get(name) for _, attributes in elements.found for name in ("src", "href", "srcset")]
    assert all(address.startswith("data:") for address in addresses if address)
    assert "url(" not in calm_page
    assert "@import" not in calm_page


def test_the_policy_forbids_all_but_inline_pictures_and_this_style(calm_page):
    style = re.search(r"<style>(.*?)</style>", calm_page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(meta["content"] for meta in Elements(calm_page).all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-" + digest + "'")


def test_no_element_has_a_style_of_its_own_which_the_policy_would_block(calm_page):
    assert not [attributes for _, attributes in Elements(calm_page).found if "style" in attributes]


def test_every_picture_says_what_it_shows(calm_page):
    assert all(attributes["alt"] for attributes in Elements(calm_page).all("img"))


def test_every_figure_has_a_dark_twin(calm_page):
    assert [source["media"] for source in Elements(calm_page).all("source")] == ["(prefers-color-scheme: dark)"]


def test_headings_go_down_one_step_at_a_time(calm_page):
    levels = [int(tag[1]) for tag, _ in Elements(calm_page).found if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_two_sections_of_one_title_keep_ids_apart():
    page = render("t", "l", (Section("Same", ""), Section("Same", "")), RESULTS)
    ids = [attributes["id"] for _, attributes in Elements(page).found if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("k", "n", "shown"), [(2999, 3000, "&gt; 99.9 %"), (1, 3000, "&lt; 0.1 %"), (3, 3, "100.0 %"), (0, 3, "0.0 %")]
)
def test_only_all_is_a_hundred_per_cent_and_only_none_is_zero(k, n, shown):
    section = Section("s", "", (Table(columns=("rate",), rows=((rate("r", k, n),),)),))
    assert f'<span class="value">{shown}</span>' in render("t", "l", (section,), RESULTS)


def test_a_rate_of_nothing_says_so():
    section = Section("s", "", (Table(columns=("rate",), rows=((rate("r", 0, 0),),)),))
    assert "nothing to count" in render("t", "l", (section,), RESULTS)


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(ValueError, match="expected 2 cells in every row of the table, got 1"):
        Table(columns=("a", "b"), rows=(("x",),))


def test_the_page_says_how_the_run_is_done_again(calm_page):
    assert "<code>interp-plugins demo</code>" in calm_page


def test_the_browser_has_nothing_to_complain_about(tmp_path, hostile_page):
    path = tmp_path / "page.html"
    path.write_text(hostile_page)
    assert console(path, tmp_path) == []


def test_the_browser_would_complain_about_a_script(tmp_path, calm_page):
    path = tmp_path / "page.html"
    path.write_text(calm_page.replace("</main>", "<script>1</script></main>"))
    assert any("Content Security Policy" in line for line in console(path, tmp_path))


def test_drawing_leaves_matplotlibs_settings_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.histogram([1.0, 2.0, 3.0], label="x", alt="a", mark=2.0)
    assert dict(matplotlib.rcParams) == before


def test_a_figure_is_drawn_once_for_light_and_once_for_dark():
    figure = figures.rates([("a", rate("a", 3, 4)), ("none", rate("b", 0, 0))], alt="a")
    assert figure.light.startswith(b"\x89PNG")
    assert figure.light != figure.dark


def test_a_row_without_an_interval_is_a_number_in_a_table():
    section = Section("s", "", (Table(columns=("share",), rows=((Row(name="r", value=0.5, method="m"),),)),))
    assert "50.0 %" in render("t", "l", (section,), RESULTS)


def test_a_change_is_shown_around_middle_grey():
    image = np.full((3, 1, 2), 100, np.uint8)
    changed = image + np.array([3, 0], np.uint8)
    assert difference(image, changed, 10)[0].tolist() == [[158, 128]]


def test_a_large_change_does_not_wrap_around():
    image, changed = np.zeros((3, 1, 1), np.uint8), np.full((3, 1, 1), 255, np.uint8)
    assert difference(image, changed, 10)[0, 0, 0] == 255


def test_bytes_are_rounded_and_not_cut():
    assert to_bytes(torch.full((3, 1, 1), 0.999))[0, 0, 0] == 255
