"""From records to boards: which records count, which models compete, and everything that is said of them on a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..bench.contracts.metric import MetricInfo
from ..bench.engine.store import age
from .aligned import Aligned, align, unit_names
from .cells import cells
from .controls import NO_CHANGE, TRAIN_MEAN, Controls, controls, scores
from .counted import of_this_version, rows_of, scored_on_all
from .gaming import GROUP, Gaming, gaming
from .line import Line, fold_sizes, make_line, split_audit, training_stated
from .order import PRIMARY, Agreement, Order, agreement, order, ranks
from .strata import Stratum, strata


@dataclass(frozen=True)
class Board:
    """All models on one data set and split.

    Parameters
    ----------
    common
        The competing models again, on the conditions that every one of them answered; empty where all answered
        everything, or nothing in common. Models that answered nothing do not narrow it.
    audit
        Worst status and all findings of the leakage audits of all folds, without the rules about models.
    training_stated
        False where the audit says that nobody has said what was in training.
    controls, unknown
        What each metric can tell here, and of metrics of which that is not known, why.
    order, agreement
        The order of the models that answered everything, by the primary metric and between the headline metrics; None
        where the primary metric is missing or grey, or orders nothing.
    strata
        The primary metric apart for parts of the conditions.
    gaming
        Adversarial predictors; their lines are in `gamers` and not in `lines`.
    """

    dataset: str
    split: str
    card: Mapping[str, Any]
    data_id: str
    split_ids: tuple[str, ...]
    seeds: tuple[int, ...]
    contexts: int
    audit: Mapping[str, Any]
    training_stated: bool
    versions: tuple[str, ...]
    lines: tuple[Line, ...]
    common: tuple[Line, ...]
    controls: Mapping[str, Controls]
    unknown: Mapping[str, str]
    order: Order | None
    agreement: Agreement | None
    strata: tuple[Stratum, ...]
    gamers: tuple[Line, ...]
    gaming: Gaming | None
    metrics: tuple[str, ...]

    @property
    def grey(self) -> frozenset[str]:
        """Metrics that do not tell the controls apart, or of which that is not known, and so rank nothing."""
        return _grey(self.controls, self.unknown)

    def place(self, line: Line) -> tuple[bool, float, str]:
        """What lines are sorted by: best first by the primary metric, or by name where it is grey; models with gaps last."""
        value = line.cells[PRIMARY].mean if PRIMARY in line.cells and PRIMARY not in self.grey else math.nan
        return not line.complete and line not in self.common, math.inf if math.isnan(value) else value, line.model

    def why_grey(self, metric: str) -> str:
        """Why a grey metric ranks nothing."""
        return self.unknown[metric] if metric in self.unknown else self.controls[metric].decides.reason


def boards(
    cards: Iterable[Mapping[str, Any]],
    rows: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    shown: Callable[[str], bool] = lambda model: True,
) -> list[Board]:
    """One board for each data set and split on which conditions were asked for; a pure function of the records.

    Parameters
    ----------
    cards
        Run cards, as `store.current` gives them.
    rows
        Their tidy rows.
    metrics
        Facts about the metrics in the rows.
    shown
        Which models stand on the boards. Controls say what the metrics can tell even where they are not shown.
    """
    cards = [c for c in cards if c["audit"].get("status") != "fail" and c.get("predicts", True)]
    metrics = {name: info for name, info in metrics.items() if not info.of_latents}
    if len(rows):
        rows = rows[rows["metric"].isin(metrics)]
    made = []
    for dataset, split in sorted({(c["spec"]["dataset"], c["spec"]["split"]) for c in cards}):
        own = [c for c in cards if (c["spec"]["dataset"], c["spec"]["split"]) == (dataset, split)]
        newest = max(own, key=age)
        own = [c for c in own if c["spec"]["data_id"] == newest["spec"]["data_id"]]
        # A split that was made anew asks other questions: only answers to the newest manifest of a fold stand side by side.
        manifest = {c["spec"]["fold"]: c["spec"]["split_id"] for c in sorted(own, key=age)}
        own = [c for c in own if c["spec"]["split_id"] == manifest[c["spec"]["fold"]]]
        part = rows_of(own, rows) if len(rows) else rows
        if any(shown(c["model"]) for c in own):
            made.append(_board(own, newest, part, metrics, shown))
    return made


def _board(
    cards: list[Mapping[str, Any]],
    newest: Mapping[str, Any],
    rows: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    shown: Callable[[str], bool],
) -> Board:
    there = set(rows["metric"].unique()) if len(rows) else set()
    metrics = {m: info for m, info in metrics.items() if m in there}
    rows, outdated = of_this_version(rows, metrics)
    aligned = align(rows, tuple(metrics))
    audited = split_audit(cards)
    stated = training_stated(audited)
    tell, unknown = controls(aligned, metrics, training_stated=stated)
    unknown |= {m: "scored by other versions only; run again" for m in metrics if m not in aligned}
    grey = _grey(tell, unknown)
    of_model: dict[str, list[Mapping[str, Any]]] = {}
    for card in cards:
        of_model.setdefault(card["model"], []).append(card)
    by_model = cells(aligned, metrics)
    sizes = fold_sizes(cards)
    scored = scored_on_all(rows, PRIMARY, of_model, sum(sizes.values())) if PRIMARY in aligned else set(of_model)
    everyone = [
        make_line(of_model[n], by_model.get(n, {}), sizes, scored=n in scored, outdated=outdated.get(n, {}))
        for n in sorted(of_model)
    ]
    calibrated = scores(aligned, metrics, tell, [x.model for x in everyone if x.status == "ok" and shown(x.model)])
    everyone = [replace(x, scores=calibrated.get(x.model, {})) for x in everyone]
    lines = [x for x in everyone if x.group != GROUP and shown(x.model)]
    gamers = [x for x in everyone if x.group == GROUP and shown(x.model)]
    beside = [x for x in everyone if x.model in (TRAIN_MEAN, NO_CHANGE)] if gamers else []
    ranked = [x.model for x in lines if x.complete and not x.reference_row]
    may_rank = PRIMARY in aligned and PRIMARY not in grey
    ordered = order(ranked, aligned[PRIMARY], metrics[PRIMARY]) if may_rank and ranked else None
    lines = [replace(x, rank=ordered.ranks.get(x.model) if ordered else None) for x in lines]
    telling = [m for m, info in metrics.items() if info.headline and info.level == "perturbation" and m not in grey]
    return Board(
        dataset=newest["spec"]["dataset"],
        split=newest["spec"]["split"],
        card=newest["dataset_card"],
        data_id=newest["spec"]["data_id"],
        split_ids=tuple(sorted({c["spec"]["split_id"] for c in cards})),
        seeds=tuple(sorted({c["spec"]["seed"] for c in cards})),
        contexts=max((len(set(a.contexts)) for a in aligned.values() if a.contexts), default=1),
        audit=audited,
        training_stated=stated,
        versions=tuple(
            sorted(
                {f"pbench {c['pbench']}" for c in cards}
                | {f"{k} {v}" for c in cards for k, v in c["spec"]["environment"].items()}
            )
        ),
        lines=tuple(lines),
        common=tuple(_common(lines, rows, aligned, metrics, may_rank)),
        controls=tell,
        unknown=unknown,
        order=ordered,
        agreement=agreement(ranked, aligned, metrics, telling) if ordered else None,
        strata=tuple(
            strata(rows[rows["metric"] == PRIMARY], aligned[PRIMARY], metrics[PRIMARY], [x.model for x in lines if x.cells])
            if PRIMARY in aligned
            else ()
        ),
        gamers=tuple(gamers + beside),
        gaming=gaming([x.model for x in gamers if x.cells], [x.model for x in beside], aligned, metrics, grey),
        metrics=tuple(metrics),
    )


def refused(cards: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is kept off the boards because its audit failed, with the first failed rule."""
    found = set()
    for card in cards:
        if card["audit"].get("status") == "fail":
            failed = [f for f in card["audit"]["findings"] if f["status"] == "fail"]
            spec = card["spec"]
            found.add(
                f"{card['model']} on {spec['dataset']} / {spec['split']}: rule {failed[0]['rule']}, {failed[0]['name']}: {failed[0]['detail']}"
            )
    return sorted(found)


def _grey(known: Mapping[str, Controls], unknown: Mapping[str, str]) -> frozenset[str]:
    return frozenset({name for name, c in known.items() if not c.decides.separates}.union(unknown))


def _common(
    lines: list[Line],
    rows: pd.DataFrame,
    aligned: Mapping[str, Aligned],
    metrics: Mapping[str, MetricInfo],
    may_rank: bool,
) -> list[Line]:
    """The competing models on the conditions that all of them answered, under every seed of theirs."""
    models = [x for x in lines if x.status == "ok" and not x.reference_row and x.predicted]
    own = rows[rows["metric"] == PRIMARY] if PRIMARY in aligned else rows
    own = own[(own["condition"] != "*") & own["model"].isin([x.model for x in models])] if len(own) else own
    # A model without any row that counts is compared with nobody.
    models = [x for x in models if len(own) and (own["model"] == x.model).any()]
    if all(x.complete for x in models):
        return []
    own = own.assign(unit=unit_names(own))
    seeds = own.groupby("model")["seed"].nunique()
    answers = own[own["predicted"]].groupby(["unit", "model"])["seed"].nunique().unstack("model", fill_value=0)
    answered = (answers.reindex(columns=seeds.index, fill_value=0) == seeds).all(axis=1)
    units = frozenset(answered.index[answered])
    if not units:
        return []
    fallbacks = own[own["fallback"] & own["unit"].isin(units)].drop_duplicates(["model", "unit"])["model"].value_counts()
    names = [x.model for x in models]
    kept = {name: a.only(units) for name, a in aligned.items() if metrics[name].level == "perturbation"}
    made = cells(kept, metrics)
    places = ranks(names, kept[PRIMARY], metrics[PRIMARY]) if may_rank else {}
    return [
        replace(
            x,
            cells=made.get(x.model, {}),
            scores={},
            predicted=len(units),
            fallback=int(fallbacks.get(x.model, 0)),
            rank=places.get(x.model),
        )
        for x in models
    ]
