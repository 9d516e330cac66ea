"""The pages of the metric catalogue, written from what the metrics say of themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from ...leaderboards.markdown import ARROWS, escape, number
from ..contracts.metric import MetricInfo

_GENES = (
    "all genes; the k genes that the truth changes most (`de<k>`: largest absolute Welch t against control, perturbed genes left "
    "out); those that the truth's test calls (`deg`); the most expressed ones (`expressed<k>`)"
)
_REFERENCE = (
    "what is subtracted on both sides: `ctrl` the control mean of the context, `pert` that mean plus the mean training change, "
    "`loo` plus the mean change of all other perturbations"
)
HEAD = f"""# Metrics

Written by `pbench list metrics --write docs/metrics` from the catalogue; a test keeps it true.

An id reads `family.variant@genes~reference#representation`. Genes: {_GENES}. Reference: {_REFERENCE}. Representation: the
distance, the test or the space that is used. The version of a metric is raised whenever its definition changes, and results
made with the old one keep it. ↑ higher is better, ↓ lower is better, → closest to the perfect value is best. Needs: `means` every
model has; `variance` over cells and `cells` not every model predicts; `truth_cells` and `de` are cells of the truth and its tests for
differential expression; `latents` are known latent variables and the codes that a model gives of held-out cells
(`docs/identifiability.md`). Level: a value for each `perturbation`, for each `latent` variable, or one for a `dataset`. What is undefined is not a number, has a reason, and lowers the count of what is defined: it is never zero.
"""


def pages(families: Mapping[str, Sequence[MetricInfo]], profiles: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Markdown by file name: an index, and a page for each family of metrics.

    Parameters
    ----------
    families
        Metrics by the name of their page.
    profiles
        Ids by the name of the profile.
    """
    rows = [
        [f"[{name}]({name}.md)", str(len(metrics)), ", ".join(dict.fromkeys(f"`{m.parts['family']}`" for m in metrics))]
        for name, metrics in families.items()
    ]
    index = [HEAD, _table(rows, ["page", "metrics", "what"]), "\n## Profiles\n"]
    index += [f"- **{name}** ({len(ids)}): {_listed(name, ids)}" for name, ids in profiles.items()]
    found = {"README.md": "\n".join(index) + "\n"}
    for name, metrics in families.items():
        found[f"{name}.md"] = _page(name, metrics, profiles)
    return found


def _listed(name: str, ids: Sequence[str]) -> str:
    whole = {"full": "every metric of predictions", "identifiability": "every metric of latent variables"}
    return whole[name] if name in whole else ", ".join(f"`{i}`" for i in ids)


def _page(name: str, metrics: Sequence[MetricInfo], profiles: Mapping[str, Sequence[str]]) -> str:
    by_family: dict[str, list[MetricInfo]] = {}
    for metric in metrics:
        by_family.setdefault(metric.parts["family"], []).append(metric)
    out = [f"# Metrics: {name}\n\nWritten from the catalogue; [the index](README.md) explains ids, arrows and needs.\n"]
    for family, members in by_family.items():
        out.append(f"## {family}\n")
        rows = [
            [
                f"`{m.id}`",
                str(m.version),
                ARROWS[m.direction],
                f"{_bound(m.lower)} to {_bound(m.upper)}",
                _bound(m.perfect),
                m.level,
                ", ".join(m.needs),
                ", ".join(p for p, ids in profiles.items() if m.id in ids and p not in ("full", "identifiability")) or "–",
            ]
            for m in members
        ]
        out.append(_table(rows, ["id", "version", "better", "range", "perfect", "level", "needs", "profiles"]))
        out.append("")
        out += [f"- `{m.id}`: {escape(m.summary)}" for m in members]
        if caveats := list(dict.fromkeys(m.caveats for m in members if m.caveats)):
            out.append("\n**How it can mislead.** " + " ".join(map(escape, caveats)))
        if sources := list(dict.fromkeys(m.reference for m in members if m.reference)):
            out.append("\n**Source.** " + "; ".join(map(escape, sources)) + ".")
        out.append("")
    return "\n".join(out)


def _bound(value: float) -> str:
    return ("−∞" if value < 0 else "∞") if math.isinf(value) else number(value)


def _table(rows: list[list[str]], header: list[str]) -> str:
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
