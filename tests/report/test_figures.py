"""Figures hold the numbers they are made of, and stand on their own in a page."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest

from classwise.report import figures
from classwise.report.svg import INK, PALETTE, drawing, new_figure, to_svg


def heights(ax):
    return [[bar.get_height() for bar in container] for container in ax.containers if hasattr(container, "patches")]


def legend_names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def named_curves(figure, ax):
    """Curves of an axes by the name the legend gives their colour and dashes."""
    handles = figure.legends[0].legend_handles
    names = {
        (h.get_color(), h.get_linestyle(), h.get_marker()): t
        for h, t in zip(handles, legend_names(figure), strict=True)
    }
    return {names.get((line.get_color(), line.get_linestyle(), line.get_marker())): line for line in ax.lines}


def test_bars_are_as_high_as_the_table_says(make_audit):
    tables = {"a": make_audit().table(), "b": make_audit(robust=(0.5,) * 9 + (0.4,)).table()}
    (ax,) = figures.class_bars_figure(tables).axes
    expected = [100 * values for table in tables.values() for values in (table.clean, table.robust)]
    np.testing.assert_allclose(heights(ax), expected)


def test_bars_of_several_audits_do_not_cover_each_other(make_audit):
    table = make_audit().table()
    (ax,) = figures.class_bars_figure({"a": table, "b": table, "c": table}).axes
    clean = [container for container in ax.containers if hasattr(container, "patches")][::2]
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for container in clean for bar in container)
    assert all(first[1] < second[0] for first, second in pairwise(spans))


def test_whiskers_reach_to_the_limits(make_audit):
    table = make_audit().table()
    (ax,) = figures.class_bars_figure({"a": table}).axes
    (robust, clean) = [container for container in ax.containers if not hasattr(container, "patches")]
    for whiskers, column in ((robust, "robust"), (clean, "clean")):
        ends = np.array([segment[:, 1] for segment in whiskers[2][0].get_segments()])
        np.testing.assert_allclose(ends[:, 0], 100 * getattr(table, f"{column}_low"))
        np.testing.assert_allclose(ends[:, 1], 100 * getattr(table, f"{column}_high"))


def test_the_weakest_class_of_each_audit_is_marked(make_audit):
    tables = {"a": make_audit().table(), "b": make_audit(robust=(0.5,) * 9 + (0.4,)).table()}
    (ax,) = figures.class_bars_figure(tables).axes
    marks = [line for line in ax.lines if line.get_marker() == "v" and len(line.get_xdata())]
    assert [round(float(mark.get_xdata()[0])) for mark in marks] == [0, 9]


def test_bars_of_a_class_without_samples(make_audit):
    audit = make_audit(names=("a", "b"))
    svg = figures.class_bars({"m": audit.outcomes.table(0, ("a", "b", "empty"))})
    assert "empty" in svg


def test_training_curves_hold_mean_and_worst(make_events):
    events = make_events(averaged=True)
    figure = figures.training_figure(events)
    accuracy, loss = figure.axes
    curves = named_curves(figure, accuracy)
    for weights in ("raw", "averaged"):
        robust = np.array([event["validation"][weights]["robust"] for event in events])
        np.testing.assert_allclose(curves[f"mean over classes, {weights} weights"].get_ydata(), 100 * robust.mean(1))
        np.testing.assert_allclose(curves[f"worst class, {weights} weights"].get_ydata(), 100 * robust.min(1))
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [2, 1, 2 / 3, 1 / 2])
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3, 4]


def test_the_selected_epoch_is_the_latest_of_the_best(make_events):
    events = make_events()  # scores 0.1, 0.9, 0.9, 0.2
    assert figures.selected_epoch(events, "best") == 3
    figure = figures.training_figure(events)
    assert list(named_curves(figure, figure.axes[0])["selected, raw weights"].get_xdata()) == [3, 3]


def test_averaged_weights_may_begin_late(make_events):
    events = make_events(averaged=True)
    del events[0]["validation"]["averaged"], events[0]["scores"]["averaged"]
    figure = figures.training_figure(events)
    values = named_curves(figure, figure.axes[0])["worst class, averaged weights"].get_ydata()
    assert np.isnan(values).tolist() == [True, False, False, False]


def test_null_in_the_log_is_a_gap(make_events):
    events = make_events(epochs=2)
    events[1]["validation"]["raw"]["robust"][0] = None
    events[1]["train"]["loss"] = None
    figure = figures.class_curves_figure(events, list("abcdefghij"))
    assert np.isnan(named_curves(figure, figure.axes[0])["a"].get_ydata()).tolist() == [False, True]
    assert "<svg" in figures.training_curves(events)


def test_class_curves_hold_every_class(make_events):
    events = make_events(averaged=True)
    figure = figures.class_curves_figure(events, list("abcdefghij"))
    assert [ax.get_title("left") for ax in figure.axes] == ["raw weights", "averaged weights"]
    for ax, weights in zip(figure.axes, ("raw", "averaged"), strict=True):
        curves = named_curves(figure, ax)
        for i, name in enumerate("abcdefghij"):
            expected = [100 * event["validation"][weights]["robust"][i] for event in events]
            np.testing.assert_allclose(curves[name].get_ydata(), expected)


def test_of_many_classes_the_weakest_are_named(make_events):
    events = make_events(classes=30)
    names = [f"c{i}" for i in range(30)]
    figure = figures.class_curves_figure(events, names)
    weakest = np.argsort(events[-1]["validation"]["raw"]["robust"])[: figures.NAMED_LINES]
    assert legend_names(figure) == [names[i] for i in sorted(weakest)]
    assert len(figure.axes[0].lines) == 30


@pytest.mark.parametrize("name", ["_hidden", "$5", "a & b <c>", "猫"])
def test_any_name_is_shown_as_it_is(make_events, name):
    svg = figures.class_curves(make_events(classes=2), [name, "other"])
    assert name in [element.text for element in ET.fromstring(svg).iter("text")]


def test_knobs_that_never_leave_one_have_no_figure(make_events):
    assert figures.knob_curves(make_events(), list("abcdefghij")) is None


def test_knobs_that_leave_one_are_drawn(make_events):
    events = make_events(moved=("weight",))
    figure = figures.knob_figure(events, list("abcdefghij"))
    assert [ax.get_title("left") for ax in figure.axes] == ["knob weight"]
    curve = named_curves(figure, figure.axes[0])["d"]
    np.testing.assert_allclose(curve.get_ydata(), [event["knobs"]["weight"][3] for event in events])


def test_batch_weights_are_drawn_beside_knobs(make_events):
    events = make_events(classes=2, moved=("radius",))
    for event in events:
        event["train"]["batch_weight"] = [0.8, 1.2]
    figure = figures.knob_figure(events, ["a", "b"])
    assert [ax.get_title("left") for ax in figure.axes] == ["knob radius", "mean batch weight"]
    np.testing.assert_allclose(named_curves(figure, figure.axes[1])["b"].get_ydata(), 1.2)


def test_svg_is_repeatable_and_takes_the_colours_of_the_page(make_audit):
    tables = {"a": make_audit().table()}
    svg = figures.class_bars(tables)
    assert svg == figures.class_bars(tables)
    assert "currentColor" in svg
    assert INK not in svg
    assert PALETTE[0] in svg
    assert "http" not in svg
    assert "<style" not in svg


def test_ids_of_two_figures_differ_and_references_hold(make_audit, make_events):
    svgs = [figures.class_bars({"a": make_audit().table()}), figures.training_curves(make_events())]
    seen: set[str] = set()
    for svg in svgs:
        elements = list(ET.fromstring(svg).iter())
        ids = {element.attrib["id"] for element in elements if "id" in element.attrib}
        assert not ids & seen
        seen |= ids
        used = [element.attrib["href"][1:] for element in elements if "href" in element.attrib]
        clipped = [element.attrib["clip-path"][5:-1] for element in elements if "clip-path" in element.attrib]
        assert used
        assert clipped
        assert ids.issuperset(used)
        assert ids.issuperset(clipped)


def test_settings_of_the_program_are_left_alone():
    before = dict(mpl.rcParams)
    with drawing():
        figure, (ax,) = new_figure(3, 2)
        ax.plot([1, 2])
    assert 'aria-label="a &quot;line&quot;"' in to_svg(figure, 'a "line"')
    assert dict(mpl.rcParams) == before
