"""The page of a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ...leaderboards.text import table
from ..contracts.model import Capabilities, ReferenceRow, parameters
from ..contracts.registry import Entry
from . import docstrings
from .docstrings import Docstring
from .page_text import block, code, commands, explained, facts, plain, prose, quoted

#: Heading of each group; models without one compete wherever ``all`` is asked for.
GROUPS = {
    "": "Predictors and reference rows",
    "encoders": "Encoders: the track of identifiability only (--models encoders)",
    "gaming": "Gaming suite: adversaries that know no biology (--models gaming)",
    "official": "The authors' own code, in an environment of yours (--models official)",
    "submission": "Predictions in a file",
}
#: Conditions that a model may be asked for, and the capability that says so.
ASKED = (
    ("targets that were not in training", "unseen_targets"),
    ("contexts with control cells only", "unseen_contexts"),
    ("times that were not in training", "unseen_times"),
    ("doses that were not in training", "unseen_doses"),
)


def model_page(entry: Entry, model: Any) -> str:
    """Markdown of a model: what it can be asked, what it knows, what it does, its parameters and presets."""
    said = documented(model)
    trusted = entry.origin == "built in"
    capabilities = getattr(model, "capabilities", Capabilities())
    parts = [f"# {code(entry.name)}", plain(entry.summary or said.summary), facts(_facts(entry, model, capabilities))]
    if paragraphs := [block(p, trusted=trusted) for p in (said.summary, *said.body) if p]:
        parts += ["## What it does", *paragraphs]
    if reference := str(getattr(model, "reference", "") or ""):
        parts.append(f"**Source.** {prose(reference)}.")
    parts += _parameters(entry.name, model, said, trusted)
    name = quoted(entry.name)
    lines = [f"pbench show {name}"]
    if entry.name == "submission":
        lines.append("pbench score predictions.h5ad --truth norman-mini --split doubles --prediction-scale log1p_1e4")
    elif capabilities.predicts:
        lines.append(f"pbench run --models {name},additive --dataset norman-sim --split doubles")
    if callable(getattr(model, "encode", None)):
        lines.append(f"pbench run --track identifiability --models {name} --dataset latent-static")
    return "\n\n".join([*parts, "## Try it", commands(*lines), "[All models](index.md)"]) + "\n"


def documented(model: Any) -> Docstring:
    """The docstring of a class, with parameters that only its bases describe."""
    said = docstrings.read(model)
    inherited: dict[tuple[str, ...], str] = {}
    for base in reversed(inspect.getmro(model)[1:] if inspect.isclass(model) else ()):
        inherited |= docstrings.read(base).parameters
    own = {name for names in said.parameters for name in names}
    missing = {names: text for names, text in inherited.items() if not own.intersection(names)}
    return Docstring(said.summary, said.body, {**said.parameters, **missing}, said.sections)


def _facts(entry: Entry, model: Any, capabilities: Any) -> list[tuple[str, str]]:
    reference_row = inspect.isclass(model) and issubclass(model, ReferenceRow)
    targets = "any number" if capabilities.max_targets is None else f"at most {capabilities.max_targets}"
    unseen = [what for what, name in ASKED if getattr(capabilities, name)]
    encodes = callable(getattr(model, "encode", None))
    kind = "a reference row, made from test cells; it does not compete" if reference_row else ""
    return [
        ("kind", kind or plain(GROUPS.get(entry.group, entry.group)) if entry.group or kind else "a predictor"),
        ("predicts", "" if capabilities.predicts else "nothing: it only encodes cells"),
        ("targets of one condition", targets if capabilities.predicts else ""),
        ("can also be asked for", "; ".join(unseen)),
        ("reads", "cells" if capabilities.needs_cells else "means and variances of conditions"),
        ("needs", "the same units at several times" if capabilities.needs_pairs else ""),
        ("encodes cells", "yes: it takes part in the track of identifiability" if encodes else ""),
        ("claims to find latent variables", f"up to {plain(str(capabilities.claim))}" if capabilities.claim else ""),
        ("depends on the seed", "yes" if capabilities.stochastic else "no: one run, whatever the seeds"),
        ("side information", ", ".join(code(str(r)) for r in capabilities.resources)),
        ("prior knowledge beyond the screen", "; ".join(plain(str(p)) for p in capabilities.prior_knowledge) or "none"),
        ("pretrained on test cells", plain(str(capabilities.pretraining_overlap))),
        ("packages that change its numbers", ", ".join(code(str(p)) for p in capabilities.packages)),
        ("origin", plain(entry.origin)),
        ("defined in", code(entry.target)),
    ]


def _parameters(name: str, model: Any, said: Docstring, trusted: bool) -> list[str]:
    known: Mapping[str, Any] = parameters(model)
    if not known:
        return ["## Parameters", "None."]
    presets: dict[str, Mapping[str, Any]] = {k: v for k, v in getattr(model, "presets", {}).items() if isinstance(v, Mapping)}
    rows = [
        [
            code(parameter),
            code(repr(default)),
            *(code(repr(values[parameter])) if parameter in values else "" for values in presets.values()),
            explained(said, parameter, known, trusted),
        ]
        for parameter, default in known.items()
    ]
    header = ["name", "standard", *(plain(str(p)) for p in presets), "what it is"]
    typed = f"Typed as {code(f'{name}[{next(iter(known))}=…]')}."
    if presets:
        typed += " A preset (`--preset`) changes what stands in its column and leaves the rest at `standard`."
    return ["## Parameters", table(rows, header), typed]
