"""The kinds of panels, each dressed the same way: title, description, unit, size, data source, queries."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from panels.queries import Target

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Of 24 columns.
NARROW, QUARTER, THIRD, HALF = 3, 6, 8, 12
LOW, HIGH = 4, 8
GREEN, YELLOW, RED = "green", "yellow", "red"
Panel = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel | bargauge.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, heatmap.Panel, table.Panel, bargauge.Panel)


@dataclass(frozen=True)
class About:
    """What every panel says of itself.

    Args: width: of 24 columns. height: in rows of 30 pixels, as Grafana has them. empty: said where there is nothing.
    """

    title: str
    description: str
    unit: str
    width: int = THIRD
    height: int = HIGH
    empty: str = ""


def lines(
    about: About, *targets: Target, stacked: bool = False, most: float | None = None, limit: float | None = None
) -> timeseries.Panel:
    """Series over time. Args: most: top of the axis. limit: a line that they should stay below."""
    panel = (
        _dressed(timeseries.Panel(), about, targets).min(0).fill_opacity(10).show_points(options.VisibilityMode.NEVER)
    )
    panel = panel.legend(
        common.VizLegendOptions()
        .display_mode(options.LegendDisplayMode.LIST)
        .placement(options.LegendPlacement.BOTTOM)
        .show_legend(True)
    ).tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL)).fill_opacity(40)
    if most is not None:
        panel = panel.max(most)
    if limit is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_steps(None, limit)).thresholds_style(dashed)
    return panel


def number(about: About, target: Target, warn: float | None = None, alarm: float | None = None) -> stat.Panel:
    """The latest value, large, with its course behind it. Args: warn, alarm: from where on it is yellow and red."""
    panel = _dressed(stat.Panel(), about, [target]).graph_mode(options.BigValueGraphMode.AREA)
    latest = common.ReduceDataOptions().calcs(["lastNotNull"])
    return panel.reduce_options(latest).thresholds(_steps(warn, alarm)).color_mode(options.BigValueColorMode.VALUE)


def heat_of(about: About, target: Target) -> heatmap.Panel:
    """A histogram over time."""
    panel = _dressed(heatmap.Panel(), about, [target], PromQueryFormat.HEATMAP).calculate(False)
    axis = heatmap.YAxisConfig().unit(about.unit)
    color = heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return panel.y_axis(axis).color(color).show_legend().cell_gap(1)


def ranking(about: About, target: Target) -> bargauge.Panel:
    """The largest few, a bar each."""
    panel = _dressed(bargauge.Panel(), about, [target]).min(0).orientation(options.VizOrientation.HORIZONTAL)
    latest = common.ReduceDataOptions().calcs(["lastNotNull"])
    return panel.reduce_options(latest).display_mode(options.BarGaugeDisplayMode.BASIC).thresholds(_steps(None, None))


def listing(about: About, target: Target, columns: dict[str, str]) -> table.Panel:
    """Labels of series as rows. Args: columns: of these labels, and their titles, in order."""
    panel = _dressed(table.Panel(), about, [target], PromQueryFormat.TABLE)
    kept = models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
    order = {label: place for place, label in enumerate(columns)}
    named = models.DataTransformerConfig(
        id_val="organize", options={"indexByName": order, "renameByName": dict(columns), "excludeByName": {}}
    )
    return panel.with_transformation(kept).with_transformation(named)


def _dressed(
    panel: P, about: About, targets: Sequence[Target], form: PromQueryFormat = PromQueryFormat.TIME_SERIES
) -> P:
    panel = panel.title(about.title).description(about.description).unit(about.unit).datasource(SOURCE)
    for letter, target in zip(string.ascii_uppercase, targets, strict=False):
        query = Dataquery().expr(target.expr).legend_format(target.legend).ref_id(letter).datasource(SOURCE)
        query = query.instant() if target.instant else query.range()
        panel = panel.with_target(query.format(form))
    if about.empty:
        panel = panel.no_value(about.empty)
    return panel.span(about.width).height(about.height)


def _steps(warn: float | None, alarm: float | None) -> builders.ThresholdsConfig:
    colors = [(None, GREEN), (warn, YELLOW), (alarm, RED)]
    steps = [
        models.Threshold(value=value, color=color) for value, color in colors if color == GREEN or value is not None
    ]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
