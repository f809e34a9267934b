"""Slices in rows and columns."""

import numpy as np

from brainuad.reporting.drawing.grid import Panel, draw_grid


def test_panels_stand_in_rows_with_left_on_the_left_and_the_bottom_below():
    plane = np.zeros((40, 60))
    plane[:10, :10] = 100
    marked = np.zeros((40, 60), bool)
    marked[25:35, 40:50] = True
    rows = [[Panel(plane), Panel(plane, outlines=[(marked, "red")])], [Panel(plane[:, :40])]]
    picture = draw_grid(rows, width=80, scale=1.0).pixels().astype(int)
    height, width = picture.shape[:2]
    # Rows of 4 + 120 and 4 + 80 pixels, and a gap of 4; two columns of 80 and a gap.
    assert (height, width) == (212, 164)
    bright = picture.min(axis=2) > 200
    assert bright[108:120, 4:16].all()
    assert not bright[8:60, :80].any()
    assert bright[196:208, 4:16].all()
    red = (picture[..., 0] > 150) & (picture[..., 1] < 80)
    assert red[:124, 84 + 48 : 84 + 74].any()
    assert not red[:, :84].any()


def test_scores_are_shown_over_the_scan_and_titles_above_it():
    plane, heat = np.full((30, 30), 50.0), np.zeros((30, 30))
    heat[20:, 20:] = 2.0
    titled = draw_grid([[Panel(plane, "one\ntwo", top=100, heat=heat)]], 90, 1.0).pixels()
    assert titled.shape[:2] == (120, 90)
    assert titled[:26].max() > 100
    assert titled[60:, :40].std() == 0
    corner = titled[35:50, 70:85].reshape(-1, 3).mean(0)
    assert corner[0] > corner[2] > 50
