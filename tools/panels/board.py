"""The whole dashboard: its variables, its links, its marks, and a row a module."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from panels import adapters, engine, latency, overview, processes, refusals, servers, tenants
from panels.kinds import SOURCE
from panels.queries import SERVERS, WINDOW, series

ROWS = {
    "Overview": overview.panels,
    "Servers": servers.panels,
    "Latency": latency.panels,
    "Engine": engine.panels,
    "Adapters": adapters.panels,
    "Tenants": tenants.panels,
    "Refusals and errors": refusals.panels,
    "Processes": processes.panels,
}
TITLE = "Loraplex"


def board() -> models.Dashboard:
    """Ready to be written; every row and panel has an id, by its place."""
    built = Dashboard(TITLE).uid("loraplex").tags(["loraplex", "llm", "lora"]).editable()
    built = built.description("Loraplex servers: throughput, latency, batches, adapters, tenants, refusals.")
    built = built.time("now-1h", "now").refresh("30s").timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR)
    built = built.variables([_source(), *_queries(), _docs()])
    built = built.links([_link("Runbook", "operations.md#runbook"), _link("Tenants", "tenants.md")])
    built = built.annotations(_marks())
    for title, panels in ROWS.items():
        built = built.with_row(Row(title))
        for panel in panels():
            built = built.with_panel(panel)
    made = built.build()
    for number, panel_made in enumerate(made.panels or (), 1):
        panel_made.id_val = number
    return made


def _source() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def _docs() -> TextBoxVariable:
    """The project is not told where its pages are published."""
    text = "Where the pages of docs/ are read, such as the address of the folder in a repository."
    return TextBoxVariable("docs").label("Docs at").description(text).default_value("docs")


def _queries() -> list[Builder[models.VariableModel]]:
    """All of a variable are all the values it knows: `.*` would count other programs' `up` and `process_*` too."""
    asked = {
        "job": ("Job", "label_values(loraplex_build_info, job)"),
        "instance": ("Server", 'label_values(loraplex_build_info{job=~"$job"}, instance)'),
        "model_name": ("Model", f"label_values(vllm:num_requests_running{{{SERVERS}}}, model_name)"),
    }
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return [
        QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(everything)
        for name, (label, query) in asked.items()
    ]


def _link(title: str, page: str) -> DashboardLink:
    link = DashboardLink(title).type(models.DashboardLinkType.LINK).icon("doc").url(f"${{docs}}/{page}")
    return link.tooltip(f"docs/{page}").target_blank(True)


def _marks() -> list[Builder[models.AnnotationQuery]]:
    shown = {
        "Engine restarts": (f"changes({series('loraplex_engine_restarts_total')}[{WINDOW}]) > 0", "red"),
        "Server starts": (f"changes({series('process_start_time_seconds')}[{WINDOW}]) > 0", "orange"),
    }
    return [
        AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).expr(expr)
        for name, (expr, color) in shown.items()
    ]
