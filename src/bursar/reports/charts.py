"""Inline SVG charts without script, coloured by the page's own CSS, so that dark, light and print follow the page."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

POINTS_MAX = 400
"""Most points drawn of one line; more are thinned evenly, first and last kept."""

WIDTH, HEIGHT = 860, 240


@dataclass(frozen=True, slots=True)
class ChartData:
    """One line over days, and the table behind it: labels (n,), values (n,) in major units.

    ``beside`` holds further lines by name, each (n,) with None where it says nothing: what was expected and its range.
    """

    title: str
    labels: Sequence[str]
    values: Sequence[float]
    unit: str
    beside: Mapping[str, Sequence[float | None]] = field(default_factory=dict)


def thinned(data: ChartData) -> ChartData:
    """Return at most :data:`POINTS_MAX` points, evenly picked, with the first and the last."""
    count = len(data.labels)
    if count <= POINTS_MAX:
        return data
    picked = [round(at * (count - 1) / (POINTS_MAX - 1)) for at in range(POINTS_MAX)]
    return replace(
        data,
        labels=[data.labels[at] for at in picked],
        values=[data.values[at] for at in picked],
        beside={name: [line[at] for at in picked] for name, line in data.beside.items()},
    )


def _pygal() -> Any:
    """Return the library without the import hook it leaves behind, which Python warns of at every later import."""
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "PluginImportFixer"]
    return pygal


def line_svg(data: ChartData) -> str:
    """Draw a line chart as one ``<svg role="img">`` element.

    Args:
        data: What to draw; an empty one gives an empty string.

    Returns:
        SVG text without script, style or comment; parts carry pygal's class names for the page's CSS.
    """
    if not data.labels:
        return ""
    from lxml import etree

    pygal = _pygal()
    shown = thinned(data)
    drawn = [*shown.values, *(one for line in shown.beside.values() for one in line if one is not None)]
    chart = pygal.Line(
        js=[],
        width=WIDTH,
        height=HEIGHT,
        show_dots=False,
        show_legend=False,
        fill=True,
        x_labels_major_count=6,
        show_minor_x_labels=False,
        truncate_label=-1,
        disable_xml_declaration=True,
        range=(min(0.0, *drawn), max(0.01, *drawn)),
        y_labels_major_count=4,
        margin_right=60,
        show_minor_y_labels=False,
        value_formatter=lambda value: f"{value:,.0f}" if abs(value) >= 10 or not value else f"{value:,.2f}",
    )
    chart.x_labels = list(shown.labels)
    chart.add(shown.title, list(shown.values))
    for name, line in shown.beside.items():
        chart.add(name, list(line), fill=False)
    root = etree.fromstring(chart.render())
    for node in list(root.iter()):
        tag = node.tag if isinstance(node.tag, str) else ""
        name = tag.rsplit("}", 1)[-1]
        if not tag or name in {"script", "style", "title"} or (name == "desc"):
            parent = node.getparent()
            if parent is not None:
                parent.remove(node)
    for attribute in ("id", "width", "height"):
        root.attrib.pop(attribute, "")
    for node in root.iter():
        node.attrib.pop("id", "")
    root.set("role", "img")
    told = f", with {' and '.join(data.beside)}" if data.beside else ""
    root.set("aria-label", f"{data.title}: {shown.labels[0]} to {shown.labels[-1]}, {data.unit}{told}")
    return str(etree.tostring(root, encoding="unicode"))
