"""One HTML page about a run, which needs nothing beside itself: no script, no font, no picture from elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from msgspec import UNSET

from federated.reporting.chart import Points, draw_lines
from worker.messages import RoundRecord

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #66727f; --rule: #dfe4e8; --page: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b1; --rule: #3a444e; --page: #171c21; } }
body { margin: 2rem auto; max-width: 1180px; padding: 0 1rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.soft { color: var(--soft); margin: 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tile { border: 1px solid var(--rule); border-radius: 8px; padding: .6rem 1rem; min-width: 7.5rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1rem; }
.chart { width: 100%; border: 1px solid var(--rule); border-radius: 8px; font: 12px system-ui, sans-serif; }
.chart text { fill: var(--ink); } .chart .title { font-weight: 600; } .grid { stroke: var(--rule); }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem 1.2rem .2rem 0; vertical-align: top;
  border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums; } th { font-weight: 600; }
"""

_CHARTS = {
    "Loss": {"training": "train.loss", "held out": "heldout.loss", "new clients": "heldout.validation_loss"},
    "Accuracy": {
        "training": "train.accuracy",
        "held out": "heldout.accuracy",
        "held-out macro-F1": "heldout.macro_f1",
        "new clients": "heldout.validation_accuracy",
    },
    "Accuracy client by client": {
        "p95": "heldout.client_accuracy_p95",
        "median": "heldout.client_accuracy_p50",
        "p5": "heldout.client_accuracy_p5",
        "mean of the worst tenth": "heldout.client_accuracy_worst_decile",
    },
    "Epsilon spent": {"epsilon": "train.epsilon"},
    "Clients that answered": {"clients": "clients"},
    "Seconds a round, after the first": {"seconds": "seconds"},
}
"""Title -> name in the legend -> figure; a figure that the run does not have is left out."""
_RECALL = "recall."


def render(
    records: Sequence[RoundRecord],
    facts: Mapping[str, str],
    targets: Mapping[str, str],
    personal: Mapping[str, str],
) -> str:
    """Writes the page.

    Args:
        records: of one run, in order; at least one.
        facts: what else is known of the run, for a table.
        targets: name of a target -> what it took to reach it.
        personal: what clients gain from models of their own, see `federated.comparison.describe`.
    """
    last = records[-1]
    judged = next((record.heldout for record in reversed(records) if record.heldout is not UNSET), {})
    ended = datetime.fromtimestamp(last.timestamp_ms / 1000, UTC)
    recall = {name.removeprefix(_RECALL): f"{value:.3f}" for name, value in judged.items() if name.startswith(_RECALL)}
    tables = {"Recall on held-out examples": recall, "Models of single clients": personal}
    tables |= {"Targets": targets, "Run": facts}
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(last.run)}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
            f"<h1>{escape(last.run)}</h1>",
            f'<p class="soft">round {last.round} of {last.rounds}, {ended:%Y-%m-%d %H:%M} UTC</p>',
            _tiles(records, judged),
            f'<div class="charts">{"".join(_charts(records))}</div>',
            *(_table(title, rows) for title, rows in tables.items() if rows),
            "</body></html>\n",
        ]
    )


def _tiles(records: Sequence[RoundRecord], judged: Mapping[str, float]) -> str:
    named = {"accuracy": "accuracy", "macro-F1": "macro_f1", "worst tenth": "client_accuracy_worst_decile"}
    named |= {"fairness (Jain)": "client_accuracy_jain", "new clients": "validation_accuracy"}
    figures = {title: f"{judged[name]:.3f}" for title, name in named.items() if name in judged}
    if "epsilon" in records[-1].train:
        figures["epsilon spent"] = f"{records[-1].train['epsilon']:.3f}"
    figures["rounds"] = f"{len(records):,}"
    if skipped := sum("skipped" in record.train for record in records):
        figures["rounds skipped"] = f"{skipped:,}"
    figures["training"] = f"{sum(record.seconds for record in records):,.1f} s"
    tiles = "".join(f'<div class="tile"><b>{value}</b>{title}</div>' for title, value in figures.items())
    return f'<div class="tiles">{tiles}</div>'


def _charts(records: Sequence[RoundRecord]) -> Iterable[str]:
    for title, names in _CHARTS.items():
        series = {name: _points(records, figure) for name, figure in names.items()}
        if shown := {name: points for name, points in series.items() if points}:
            yield draw_lines(title, shown)


def _points(records: Sequence[RoundRecord], name: str) -> Points:
    kind, _, metric = name.partition(".")
    # Where everybody comes and stays, and where cohorts are private, there is nothing to see.
    leaving = any(record.train.keys() & {"silent", "missing"} for record in records)
    values = {
        "clients": lambda record: len(record.clients) if leaving else None,
        # The first one compiles: beside it the others would lie on the axis.
        "seconds": lambda record: record.seconds if record is not records[0] else None,
        "train": lambda record: record.train.get(metric),
        "heldout": lambda record: None if record.heldout is UNSET else record.heldout.get(metric),
    }[kind]
    found = ((record.round, values(record)) for record in records)
    return [(number, value) for number, value in found if value is not None]


def _table(title: str, rows: Mapping[str, str]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<h2>{escape(title)}</h2><table>{lines}</table>"
