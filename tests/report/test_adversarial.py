"""The rows of a set, counted by hand on two images, two targets, two attacked networks and one that was asked."""

from types import SimpleNamespace

import pytest
import torch

from interp_plugins.report.adversarial import lines, rows
from interp_plugins.report.results import Row

FOUND = SimpleNamespace(
    labels=torch.tensor([0, 1]),
    targets=torch.tensor([[1, 2], [0, 2]]),
    clean_says=torch.tensor([[0, 0, 0], [1, 2, 0]]),  # the second image is misread by b, and by c
    says=torch.tensor([[[1, 1, 1], [2, 0, 0]], [[0, 0, 1], [2, 2, 2]]]),
    fooled_before=torch.tensor([[[1, 1], [1, 1]], [[0, 1], [1, 1]]]).bool(),
    steps=torch.tensor([[1, 2], [3, 4]]),
    rmse=torch.tensor([[1.0, 2.0], [3.0, 6.0]]),
    linf=torch.tensor([[2, 2], [4, 8]]),
)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("accuracy/b", (1, 2)),
        ("success/a/all images", (4, 4)),
        ("success/b/all images", (3, 4)),
        ("success/b/right when clean", (1, 2)),
        ("success/each member/all images", (7, 8)),
        ("success/all members at once/all images", (3, 4)),
        ("transfer/c/says the target/all images", (2, 4)),
        ("transfer/c/does not say the truth/all images", (2, 4)),
        ("clean/c/does not say the truth/all images", (1, 2)),
        ("clean/c/does not say the truth/right when clean", (0, 1)),
        ("before rounding/all members at once/all images", (3, 4)),
        ("lost by rounding/all members at once/all images", (1, 4)),
        ("won by rounding/all members at once/all images", (1, 4)),
        ("lost by rounding/all members at once/right when clean", (1, 2)),
    ],
)
def test_a_rate_is_the_one_counted_by_hand(name, counts):
    found = {row.name: row for row in rows(("a", "b", "c"), FOUND)}
    assert (found[name].numerator, found[name].denominator) == counts


@pytest.mark.parametrize(("name", "value"), [("rmse/median", 2.5), ("linf/largest", 8.0), ("step kept/median", 2.5)])
def test_a_size_is_the_one_counted_by_hand(name, value):
    assert {row.name: row.value for row in rows(("a", "b", "c"), FOUND)}[name] == value


def test_what_is_on_record_alone_says_so():
    for row in rows(("a", "b", "c"), FOUND):
        assert ("as the attack recorded it" in row.method) == row.name.startswith(
            ("before rounding", "lost by", "won by", "step kept")
        )


def test_without_a_network_that_was_only_asked_there_is_no_transfer():
    found = SimpleNamespace(**vars(FOUND) | {"clean_says": FOUND.clean_says[:, :2], "says": FOUND.says[:, :, :2]})
    assert not [row for row in rows(("a", "b"), found) if row.name.startswith(("transfer", "clean"))]


def test_a_number_that_is_no_count_is_told_with_its_interval():
    (line,) = lines([Row(name="auroc", value=0.75, low=0.5, high=1.0, method="by hand")])
    assert line.split() == ["auroc", "0.75", "[0.5,", "1]"]


def test_lines_are_aligned_and_hold_counts_and_interval():
    first, *_, last = lines(rows(("a", "b", "c"), FOUND))
    assert first.split() == ["accuracy/a", "100.00", "%", "2", "of", "2", "[34.24,", "100.00]"]
    assert last.split() == ["step", "kept/largest", "4"]
    assert len({line.index(" of ") for line in lines(rows(("a", "b", "c"), FOUND)) if " of " in line}) == 1
