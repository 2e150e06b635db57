"""Plots as SVG: readable by any XML parser, true to their figures, the same every time."""

import xml.etree.ElementTree as ET

import pytest

from light_node.plot import Line, Panel, figure
from wallet_app.strategy.simulate import Study, panels

SVG = "{http://www.w3.org/2000/svg}"


def points(document: str) -> list[list[tuple[float, float]]]:
    """The drawn lines as lists of pixel positions."""
    found = ET.fromstring(document).iter(f"{SVG}polyline")
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
        for line in found
    ]


def texts(document: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(document).iter(f"{SVG}text")]


def panel(*values: tuple[float, float | None], x_log: bool = True, y_log: bool = False) -> Panel:
    return Panel("title", "x", "y", (Line("one", values),), x_log, y_log)


def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_axis() -> None:
    (line,) = points(figure([panel((10, 1), (100, 10), (1000, 100), y_log=True)]))
    (x1, y1), (x2, y2), (x3, y3) = line
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert x1 < x2
    assert y1 > y2  # SVG counts downwards


def test_equal_differences_are_equally_far_apart_on_a_linear_axis() -> None:
    (line,) = points(figure([panel((1, 20), (2, 30), (3, 40), x_log=False)]))
    (x1, y1), (x2, y2), (x3, y3) = line
    assert (x2 - x1, y1 - y2) == (pytest.approx(x3 - x2, abs=0.2), pytest.approx(y2 - y3, abs=0.2))


@pytest.mark.parametrize("span", [1e-6, 0.03, 1, 7, 10, 55, 99, 100, 12_345])
def test_every_linear_axis_has_a_few_ticks_and_holds_its_values(span: float) -> None:
    document = figure([panel((1, 0), (2, span), x_log=False)])
    (line,) = points(document)
    assert all(0 <= x <= 460 and 34 <= y <= 254 for x, y in line)
    rules = [e for e in ET.fromstring(document).iter(f"{SVG}line") if e.get("stroke") == "#dddddd"]
    assert 3 <= len(rules) <= 12


def test_what_an_axis_cannot_show_is_left_out() -> None:
    (line,) = points(figure([panel((10, 0), (100, None), (1000, 5), y_log=True)]))
    assert len(line) == 1
    (line,) = points(figure([panel((10, 0), (100, None), (1000, 5))]))
    assert len(line) == 2


def test_figures_without_points_and_without_panels_are_still_documents() -> None:
    assert points(figure([panel()])) == [[]]
    assert points(figure([panel((5, 0))])) == [points(figure([panel((5, 0))]))[0]]
    assert ET.fromstring(figure([])).tag == f"{SVG}svg"


def test_names_are_text_and_never_markup() -> None:
    hostile = "<script>&\"'"
    document = figure([Panel(hostile, hostile, hostile, (Line(hostile, ((1, 1),)),))])
    assert texts(document).count(hostile) == 4
    assert not list(ET.fromstring(document).iter(f"{SVG}script"))


def test_the_same_figures_give_the_same_bytes() -> None:
    one = panel((1, 2), (10, 3))
    assert figure([one]) == figure([panel((1, 2), (10, 3))])
    assert figure([one]) != figure([panel((1, 2), (10, 4))])


def study(size: int, uplift: int, withholding: int | None) -> Study:
    return Study(size, 10, 280, 320, 0, uplift, 2 * uplift, 1500, withholding, withholding, 0)


def test_the_panels_show_the_studies_in_their_units_ascending() -> None:
    uplift, gainers, honest, withheld = panels([study(1000, 130, None), study(5, 44_310, 375)])
    assert [line.points for line in uplift.lines] == [
        ((5, 4.431), (1000, 0.013)),
        ((5, 8.862), (1000, 0.026)),
    ]
    assert gainers.lines[0].points == ((5, 1.5), (1000, 1.5))
    assert [line.points[0] for line in honest.lines] == [(5, 28.0), (5, 32.0)]
    assert withheld.lines[0].known == [(5, 37.5)]
