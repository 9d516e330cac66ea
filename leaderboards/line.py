"""A model's line on a board, from the run cards of all its folds and seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..bench.engine.scale import CalibratedScore
from .cells import Cell
from .gaming import GROUP

Card = Mapping[str, Any]

#: Leakage rules about the model rather than the split: pretraining and side information.
MODEL_RULES = (10, 11)


@dataclass(frozen=True)
class Line:
    """A model on a board; `cells` by metric id. `status` other than ``ok`` comes with a reason and no cells.

    `asked` counts the conditions of all folds that are on the board, `predicted` those that were answered under every seed
    of the model, `fallback` those answered with something simpler, in the seed with most of them. `absent` counts
    conditions by the reason that the first seed gives. `rank` is None for a model that is not ranked. `scored` says
    whether the primary metric has a row for every condition and seed. `outdated` says of metrics whose rows do not
    count, as another version made them, which one that was. `scores` are calibrated scores by headline metric, `remarks`
    what the leakage audit says of the model rather than of the split.
    """

    model: str
    reference_row: bool
    status: str
    reason: str
    predicted: int
    asked: int
    fallback: int
    cells: Mapping[str, Cell]
    absent: Mapping[str, int]
    prior_knowledge: tuple[str, ...] = ()
    rank: int | None = None
    group: str = ""
    scores: Mapping[str, CalibratedScore] = field(default_factory=dict)
    scored: bool = True
    outdated: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Answered and scored on everything that the board asks: all folds, all conditions, all seeds."""
        return self.status == "ok" and self.predicted == self.asked and self.scored

    @property
    def outcome(self) -> tuple[str, str]:
        """Status for a reader and why there are no values; a model that ran and was not scored is not ``ok``."""
        if self.status != "ok":
            return self.status, self.reason
        if not self.cells:
            return ("outdated" if self.outdated else "not_scored"), "; ".join(sorted(set(self.outdated.values())))
        if self.predicted:
            return "ok", ""
        if not self.absent:
            return "absent", "no fold was run under all seeds of the model"
        reasons = sorted(self.absent.items(), key=lambda item: (-item[1], item[0]))
        said = [f"{n} of {self.asked}: {reason}" for reason, n in reasons[:3]]
        return "absent", "; ".join(said + ["…"] * (len(reasons) > 3))


def fold_sizes(cards: Iterable[Card]) -> dict[str, int]:
    """How many conditions each fold asks, of all models on a board together: a fold that one has not run is asked all the same."""
    return {c["spec"]["fold"]: c["n_conditions"] for c in cards if c["status"] == "ok"}


def make_line(
    cards: Sequence[Card], own: Mapping[str, Cell], sizes: Mapping[str, int], *, scored: bool, outdated: Mapping[str, str]
) -> Line:
    """The line of one model.

    Parameters
    ----------
    cards
        Its run cards, of all folds and seeds.
    own
        Its cells by metric id.
    sizes
        `fold_sizes` of the board.
    scored, outdated
        As in `Line`.
    """
    good = sorted((c for c in cards if c["status"] == "ok"), key=lambda c: c["spec"]["seed"])
    bad = sorted((c for c in cards if c["status"] != "ok"), key=lambda c: c["score_id"])
    whole = bool(good) and not bad
    seeds = {c["spec"]["seed"] for c in cards}
    absent: dict[tuple[str, str], str] = {}
    ran: dict[str, set[int]] = {}
    fallback: Counter[int] = Counter()
    for card in good:
        fold = card["spec"]["fold"]
        ran.setdefault(fold, set()).add(card["spec"]["seed"])
        fallback[card["spec"]["seed"]] += card["n_fallback"]
        for key, reason in card["absent"].items():
            absent.setdefault((fold, key), reason)
    gone = Counter(fold for fold, _ in absent)
    return Line(
        model=cards[0]["model"],
        reference_row=cards[0]["reference_row"],
        status="ok" if whole else bad[0]["status"],
        reason="" if whole else (f"{len(bad)} of {len(cards)} jobs: " if len(cards) > 1 else "") + bad[0]["reason"],
        predicted=sum(n - gone[fold] for fold, n in sizes.items() if ran.get(fold) == seeds),
        asked=sum(sizes.values()),
        fallback=max(fallback.values(), default=0),
        cells=own if whole else {},
        absent=dict(sorted(Counter(absent.values()).items())),
        prior_knowledge=tuple(cards[0].get("prior_knowledge", ())),
        group=cards[0].get("group") or (GROUP if cards[0]["model"].startswith(f"{GROUP}-") else ""),
        scored=scored,
        outdated=outdated,
        remarks=tuple(
            sorted(
                {
                    f"{f['name']} ({f['detail']})"
                    for c in cards
                    for f in c["audit"]["findings"]
                    if f["rule"] in MODEL_RULES and f["status"] == "warn"
                }
            )
        ),
    )


def split_audit(cards: Iterable[Card]) -> dict[str, Any]:
    """What the leakage audits of all folds say of the split: the worst status, and every different finding once."""
    findings = {
        (f["rule"], f["name"], f["status"], f["detail"])
        for c in cards
        for f in c["audit"]["findings"]
        if f["rule"] not in MODEL_RULES
    }
    said = {status for _, _, status, _ in findings}
    return {
        "status": next((s for s in ("fail", "warn") if s in said), "pass"),
        "findings": [dict(zip(("rule", "name", "status", "detail"), f, strict=True)) for f in sorted(findings)],
    }


def training_stated(audit: Mapping[str, Any]) -> bool:
    """False where the audit says that nobody has said which conditions were training."""
    return not any(f["name"] == "roles" and "nobody has said" in f["detail"] for f in audit["findings"])
