from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from interp_plugins.report.board import PAPER, Board, percent, side_of

PAPER_LEVELS = [int(PAPER[place : place + 2], 16) for place in (1, 3, 5)]


def pixels(board):
    return np.asarray(Image.open(BytesIO(board.png())).convert("RGB"))


def noise(size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, size, size), np.uint8)


@settings(max_examples=15)  # each is a file
@given(x=st.integers(0, 20), y=st.integers(0, 20), times=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_pixel_of_a_small_picture_is_a_sharp_square_in_its_place(x, y, times, seed):
    image, board = noise(4, seed), Board(40, 40)
    board.picture(image, x, y, 4 * times)
    expected = np.tile(np.array(PAPER_LEVELS, np.uint8), (40, 40, 1))
    expected[y : y + 4 * times, x : x + 4 * times] = image.transpose(1, 2, 0).repeat(times, 0).repeat(times, 1)
    assert np.array_equal(pixels(board), expected)


def test_a_large_picture_is_made_smaller_and_keeps_its_mean():
    board = Board(40, 40)
    board.picture(noise(299), 4, 4, 30)
    shown = pixels(board)
    assert abs(float(shown[4:34, 4:34].mean()) - float(noise(299).mean())) < 2
    assert shown[4:34, 4:34].std() < noise(299).std() / 2  # Lanczos, and no single pixels


def test_a_picture_that_is_not_square_keeps_its_shape():
    board = Board(40, 40)
    board.picture(np.zeros((3, 4, 8), np.uint8), 0, 0, 24)
    black = (pixels(board) == 0).all(2)
    assert black[:12, :24].all()
    assert black.sum() == 12 * 24


def test_what_lies_outside_a_region_is_dimmed_and_the_middle_of_it_is_not():
    board, region = Board(64, 64), np.zeros((8, 8), bool)
    region[:, :4] = True
    board.picture(np.full((3, 8, 8), 200, np.uint8), 0, 0, 64, region)
    shown = pixels(board)
    assert (shown[8:56, 8:22] == 200).all()
    assert (shown[8:56, 42:56] == 120).all()


def test_a_region_has_a_white_line_around_it_that_the_border_closes():
    board, region = Board(64, 64), np.zeros((8, 8), bool)
    region[:4] = True
    board.picture(np.full((3, 8, 8), 90, np.uint8), 0, 0, 64, region)
    white = (pixels(board) > 200).all(2)
    assert white[28:36].any(0)[2:62].all()  # where the region ends
    assert white[:3].any(0)[4:60].all()  # at the picture's border


@pytest.mark.parametrize("size", [8, 64, 299])
def test_a_region_of_one_pixel_is_not_smoothed_away(size):
    board, region = Board(64, 64), np.zeros((size, size), bool)
    region[size // 2, size // 2] = True
    board.picture(np.full((3, size, size), 90, np.uint8), 0, 0, 64, region)
    assert (pixels(board) > 200).all(2).any()


def test_a_picture_in_which_a_unit_looks_nowhere_is_dim_and_has_no_line():
    board = Board(16, 16)
    board.picture(np.full((3, 8, 8), 100, np.uint8), 0, 0, 16, np.zeros((8, 8), bool))
    assert (pixels(board) == 60).all()


def test_a_frame_lies_outside_of_what_it_frames():
    board = Board(40, 40)
    board.frame(10, 10, 20, 20, "#ff0000", line=4)
    red = (pixels(board) == [255, 0, 0]).all(2)
    assert not red[10:30, 10:30].any()
    assert red[6:10, 6:34].all()
    assert red[6:34, 30:34].all()


def test_text_that_does_not_fit_is_cut_and_says_so():
    board = Board(400, 40)
    whole = board.words("a" * 30, 0, 20, colour="black")
    cut = board.words("a" * 30, 0, 20, colour="black", room=whole / 2)
    assert whole / 2 - 40 < cut <= whole / 2
    assert board.words("aa", 0, 20, colour="black", room=whole) < whole / 5


@pytest.mark.parametrize("name", ["$x", "$\\frac{$", "two\nlines", "%", ""])
def test_any_name_is_written_as_it_is(name):
    board = Board(200, 40)
    board.words(name, 10, 20, colour="black")
    assert (pixels(board) < 100).any() == bool(name)


def test_the_same_board_is_the_same_file():
    def made():
        board = Board(80, 40)
        board.picture(noise(), 0, 0, 32)
        board.words("unit 3", 40, 20, colour="black")
        board.block(40, 30, 20, 4, "#123456")
        return board.png()

    assert made() == made()


@pytest.mark.parametrize(("longer", "side"), [(8, 128), (32, 128), (50, 150), (132, 132), (133, 132), (299, 132)])
def test_a_side_is_a_whole_multiple_of_a_small_picture(longer, side):
    assert side_of(np.zeros((3, longer - 1, longer), np.uint8), 132) == side


@pytest.mark.parametrize(("share", "words"), [(1.0, "100 %"), (0.9951, "> 99 %"), (0.0, "0 %"), (1e-9, "< 1 %")])
def test_only_all_is_a_hundred_per_cent_and_only_none_is_zero(share, words):
    assert percent(share) == words
