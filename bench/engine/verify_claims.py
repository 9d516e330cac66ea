"""What the cards and rows of a bundle claim, held against each other, the splits and what is installed; no data are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..contracts import registry
from ..contracts.errors import UsageError
from ..contracts.identity import content_id
from ..contracts.metric import MetricInfo
from .bundle import Bundle, prediction_name
from .plan import scoring_id
from .store import OK

if TYPE_CHECKING:
    import pandas as pd

Card = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something that does not match; fields that do not apply are empty.

    Parameters
    ----------
    what
        A sentence.
    claimed, found
        What the bundle says, and what was found.
    """

    what: str
    model: str = ""
    fold: str = ""
    seed: int | None = None
    metric: str = ""
    condition: str = ""
    claimed: str = ""
    found: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, card: Card, what: str, **more: Any) -> Problem:
        return cls(what, card["model"], card["spec"]["fold"], card["spec"]["seed"], **more)


def installed(names: Any) -> dict[str, MetricInfo]:
    """Those of some metrics that are installed and can be imported."""
    found = {}
    for name in sorted(set(names)):
        try:
            found[name] = registry.metrics.get(name)
        except UsageError:
            continue
    return found


def check_claims(bundle: Bundle, *, require_predictions: bool = False) -> tuple[list[Problem], list[str]]:
    """What does not match within a bundle, and what a reader should know beside.

    Parameters
    ----------
    require_predictions
        Whether finished jobs that predict must have their predictions with them.
    """
    metrics = installed(m for c in bundle.cards for m in c["metrics"])
    problems: list[Problem] = []
    rows = dict(tuple(bundle.rows.groupby(["model", "fold", "seed"], sort=False))) if len(bundle.rows) else {}
    empty = bundle.rows[:0]
    fine = [c for c in bundle.cards if c["status"] == OK]
    for card in bundle.cards:
        spec = card["spec"]
        if content_id(spec) != card["job_id"]:
            problems.append(
                Problem.of(card, "the job is not the one of its specification", claimed=card["job_id"], found=content_id(spec))
            )
        fold = bundle.manifests[spec["split_id"]].fold
        if fold != spec["fold"]:
            problems.append(Problem.of(card, "the manifest is of another fold", claimed=spec["fold"], found=fold))
        if card["status"] == OK:
            job = (card["model"], spec["fold"], spec["seed"])
            speaking = Counter(m for c in fine if (c["model"], c["spec"]["fold"], c["spec"]["seed"]) == job for m in c["metrics"])
            problems += _check_finished(bundle, card, rows.get(job, empty), metrics, speaking)
            if require_predictions and card["predicts"] and prediction_name(card["job_id"]) not in bundle.meta["files"]:
                problems.append(Problem.of(card, "its predictions are not in the bundle, so that nobody can score them again"))
    return problems, _remarks(bundle, metrics)


def _check_finished(
    bundle: Bundle, card: Card, rows: pd.DataFrame, metrics: Mapping[str, MetricInfo], speaking: Mapping[str, int]
) -> list[Problem]:
    """Whether the counts of a card and its rows are those of the split; `speaking` counts the cards with a row of a metric."""
    found: list[Problem] = []
    asked = {c.key for c in bundle.manifests[card["spec"]["split_id"]].with_role("test")}
    if strange := sorted(set(card["absent"]) - asked):
        found.append(Problem.of(card, "absent from a condition that the split does not ask for", condition=strange[0]))
    counts = {"n_conditions": len(asked), "n_predicted": len(asked) - len(card["absent"])}
    for name, n in counts.items():
        if card[name] != n:
            found.append(Problem.of(card, f"{name} is another number", claimed=str(card[name]), found=str(n)))
    own = rows[rows["metric"].isin(card["metrics"])]
    of_metric = dict(tuple(own.groupby("metric", sort=False))) if len(own) else {}
    fallback = 0
    for metric in card["metrics"]:
        info = metrics.get(metric)
        given = of_metric.get(metric, own[:0])
        conditions = given["condition"].tolist()
        if max(Counter(conditions).values(), default=0) > speaking[metric]:
            found.append(Problem.of(card, "a condition has several rows", metric=metric))
            continue
        if info is not None and info.level == "latent":
            continue
        expected = {"*"} if info is not None and info.level == "dataset" else asked
        if info is None and set(conditions) == {"*"}:
            continue
        if lacking := sorted(expected.difference(conditions)):
            what = f"{len(lacking)} condition(s) have no row, so that they would not count"
            found.append(Problem.of(card, what, metric=metric, condition=lacking[0]))
        if more := sorted(set(conditions) - expected):
            found.append(
                Problem.of(card, "a row is of a condition that the split does not ask for", metric=metric, condition=more[0])
            )
        if expected is not asked:
            continue
        fallback = max(fallback, int((given["fallback"] == True).sum()))  # noqa: E712 - an object column with nulls
        for condition, predicted in zip(conditions, given["predicted"], strict=True):
            if condition in asked and bool(predicted) == (condition in card["absent"]):
                said = "absent" if condition in card["absent"] else "predicted"
                found.append(
                    Problem.of(
                        card,
                        "the card and the row disagree on whether it is there",
                        metric=metric,
                        condition=condition,
                        claimed=said,
                    )
                )
                break
    if card["predicts"] and of_metric and fallback != card["n_fallback"]:
        found.append(Problem.of(card, "n_fallback is another number", claimed=str(card["n_fallback"]), found=str(fallback)))
    return found


def _remarks(bundle: Bundle, metrics: Mapping[str, MetricInfo]) -> list[str]:
    fine = [c for c in bundle.cards if c["status"] == OK]
    said = []
    if failed := len(bundle.cards) - len(fine):
        said.append(f"{failed} of {len(bundle.cards)} job(s) gave no answer; a failure is a result.")
    lacking = sorted({m for c in fine for m in c["metrics"]} - set(metrics))
    if lacking:
        said.append(f"{len(lacking)} metric(s) are not installed here (first: {lacking[0]}).")
    pairs = bundle.rows[["metric", "version"]].drop_duplicates().itertuples(index=False) if len(bundle.rows) else ()
    other = sorted(f"{m} v{v} (here v{metrics[m].version})" for m, v in pairs if m in metrics and metrics[m].version != v)
    if other:
        said.append(f"{len(other)} metric(s) have another version here and are not scored again (first: {other[0]}).")
    known = [c for c in fine if set(c["metrics"]) <= set(metrics)]
    same = sum(scoring_id(c["job_id"], [metrics[m] for m in c["metrics"]]) == c["score_id"] for c in known)
    if same < len(fine):
        said.append(
            f"{len(fine) - same} of {len(fine)} record(s) were scored by other code, in another environment, or put together from "
            "several; their values are compared all the same."
        )
    return said
