"""Whether a bundle is what it claims: its files, its cards, its split, and its values scored again from its predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contracts.errors import DataError, PbenchError
from ..contracts.split import SplitManifest
from .bundle import Bundle, manifest_name, read_bundle
from .bundle_files import shown
from .bundle_predictions import Archived, read_archived
from .execute import execute
from .restage import OtherData, Restaged, changes_of, restage
from .run import Reporter, slow_imports
from .stage import DatasetRequest
from .store import OK
from .verify_claims import Problem, check_claims
from .verify_origin import check_models, check_split, facts_of_models
from .verify_scores import NO_FILE, NO_LATENTS, Compared, ScoreAgain, needs_cell_truth, score_again
from .verify_shifts import check_shifts

#: What reading a bundle may take, and scoring one job.
READ_SECONDS, READ_MEMORY_MB, SCORE_SECONDS = 300.0, 6144.0, 1800.0
MAX_PROBLEMS = 10_000
#: What every process of these would import.
PRELOAD = (*slow_imports(()), "pbench.bench.engine.verify")


@dataclass
class Report:
    """What was found about a bundle.

    Parameters
    ----------
    folder
        Where it lies, as it was given.
    meta
        ``bundle.json``; empty where it cannot be read.
    jobs
        How many cards it has.
    problems
        What does not match.
    remarks
        What a reader should know beside.
    verified
        Values that were scored again and are the same.
    unverified
        How many values were not scored again, by metric and reason.
    rescored
        Whether any were.
    missing
        Why the data could not be read; empty where they were, or were not asked for.
    """

    folder: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 0
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    verified: int = 0
    unverified: Counter[tuple[str, str]] = field(default_factory=Counter)
    rescored: bool = False
    missing: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            **{k: self.meta.get(k) for k in ("name", "dataset", "split", "id", "models", "seeds")},
            "jobs": self.jobs,
            "matches": not self.problems and not self.missing,
            "rescored": self.rescored,
            "values": {"same": self.verified, "not_scored_again": sum(self.unverified.values())},
            "not_scored_again": [{"metric": m, "reason": r, "values": n} for (m, r), n in sorted(self.unverified.items())],
            "n_problems": len(self.problems),
            "problems": [p.to_dict() for p in self.problems[:MAX_PROBLEMS]],
            "remarks": self.remarks,
            "missing": self.missing,
        }


def verify_bundle(
    folder: Path,
    dataset: Callable[[str], DatasetRequest],
    reporter: Reporter,
    *,
    rescore: bool = True,
    require_predictions: bool = False,
    jobs: int = 1,
    plugins: Sequence[str] = (),
) -> Report:
    """Check a bundle; nothing in it is ever run.

    Parameters
    ----------
    dataset
        Gives the data set of a name.
    rescore
        Also compare with the data that lie here.
    require_predictions
        Whether finished jobs that predict must have their predictions with them.
    """
    report = Report(str(folder))
    reporter.phase(f"reading {shown(folder.name)}")
    # In a process of its own, with bounds: whatever a file does to its reader, it does there.
    (outcome,) = execute(strange_things, [folder], workers=1, preload=PRELOAD, timeout=READ_SECONDS, memory_mb=READ_MEMORY_MB)
    said = outcome.value if outcome.status == OK else [f"it could not be read: {outcome.reason}"]
    if said:
        report.problems = [Problem(s) for s in said]
        return report
    bundle = read_bundle(folder)
    report.meta, report.jobs = bundle.meta, len(bundle.cards)
    report.problems, report.remarks = check_claims(bundle, require_predictions=require_predictions)
    if not rescore:
        report.remarks.append("Values were not scored again, and the split was not made again.")
        return report
    try:
        _against_data(bundle, dataset, report, reporter, jobs, plugins)
    except OtherData as error:
        report.problems.append(Problem(f"{error}"))
    except DataError as error:
        report.missing = str(error)
    return report


def strange_things(folder: Path) -> list[str]:
    """Everything that keeps a bundle from being read, in plain words; to be called in a process of its own."""
    try:
        bundle = read_bundle(folder)
    except DataError as error:
        return [str(error)]
    found = []
    for name in sorted(bundle.meta["files"]):
        if name.startswith("predictions/"):
            try:
                read_archived(folder / name)
            except PbenchError as error:
                found.append(str(error))
    return found


def _against_data(
    bundle: Bundle,
    dataset: Callable[[str], DatasetRequest],
    report: Report,
    reporter: Reporter,
    jobs: int,
    plugins: Sequence[str],
) -> None:
    """Everything that needs the data set."""
    name, data_id = bundle.meta["dataset"], bundle.meta["data_id"]
    fine = [c for c in bundle.cards if c["status"] == OK]
    with_file = [c for c in fine if c["predicts"] and bundle.prediction(c["job_id"])]
    for card in fine:
        if card not in with_file:
            report.unverified += Counter(
                {
                    (m, NO_FILE if card["predicts"] else NO_LATENTS): n
                    for m, n in _rows_of(bundle, card)["metric"].value_counts().items()
                }
            )
    reporter.phase(f"preparing {shown(name)}")
    manifests = [bundle.folder / manifest_name(i) for i in bundle.meta["split_ids"]]
    restaged = restage(dataset(name), data_id, manifests, cell_truth=needs_cell_truth(with_file), remake=True, plugins=plugins)
    facts = facts_of_models(bundle, plugins)
    for problems, remarks in (check_split(bundle, restaged), check_models(bundle, facts)):
        report.problems += problems
        report.remarks += remarks
    if not with_file:
        report.remarks.append("The bundle holds no predictions: its values were not scored again.")
        return
    report.rescored = True
    split_of = {SplitManifest.load(s.manifest).id: s for s in restaged.staged.splits}
    tasks = []
    for card in with_file:
        split = split_of[card["spec"]["split_id"]]
        file = bundle.prediction(card["job_id"])
        assert file is not None
        own = facts.get(card["spec"]["model"], {})
        rows = _rows_of(bundle, card)
        tasks.append(
            ScoreAgain(card, file, rows, restaged.staged.screen, split.manifest, split.cell_sums, split.cell_truth, own, plugins)
        )
    reporter.planned(len(tasks), 0)
    titles = [shown(f"{t.card['model']} seed {t.card['spec']['seed']}") for t in tasks]
    outcomes = execute(
        score_again,
        tasks,
        workers=jobs,
        preload=PRELOAD,
        timeout=SCORE_SECONDS,
        on_start=lambda key: reporter.started(titles[key]),
    )
    done: dict[int, Compared] = {}
    for outcome in outcomes:
        reason = shown(outcome.reason, 300)
        if outcome.status == OK:
            done[outcome.key] = outcome.value
        else:
            done[outcome.key] = Compared([Problem.of(tasks[outcome.key].card, f"it cannot be scored again: {reason}")], 0, {})
        reporter.finished(titles[outcome.key], outcome.status, reason, outcome.seconds)
    for _, compared in sorted(done.items()):
        report.problems += compared.problems
        report.verified += compared.verified
        report.unverified += Counter(compared.unverified)
    if bundle.shifts is not None:
        _shifts(bundle, restaged, report)


def _rows_of(bundle: Bundle, card: Mapping[str, Any]) -> Any:
    rows, spec = bundle.rows, card["spec"]
    own = (rows["model"] == card["model"]) & (rows["fold"] == spec["fold"]) & (rows["seed"] == spec["seed"])
    return rows[own & rows["metric"].isin(card["metrics"])]


def _shifts(bundle: Bundle, restaged: Restaged, report: Report) -> None:
    changes = changes_of(restaged.staged)

    def prediction(card: Mapping[str, Any]) -> Archived | None:
        file = bundle.prediction(card["job_id"])
        if file is None:
            return None
        archived = read_archived(file)
        here = changes[card["spec"]["split_id"]]
        fits = tuple(c.key for c in archived.conditions) == here.keys and archived.genes.tolist() == here.genes.tolist()
        return archived if fits else None

    found, unverified = check_shifts(bundle, changes, prediction)
    report.problems += found
    if unverified:
        report.remarks.append(f"{unverified} change(s) of the scatter were not compared: predictions are not in the bundle.")
