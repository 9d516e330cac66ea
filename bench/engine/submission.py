"""A file of predictions made ready for jobs: joined with its truth by key, checked, and summed in one pass in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts.condition import Condition
from ..contracts.errors import DataError, UsageError
from ..contracts.identity import content_id, file_sha256
from ..contracts.screen import validate
from ..contracts.split import SplitManifest
from .apart import apart
from .fingerprint import code_id
from .folders import cache_folder, write_atomically, write_folder
from .kept import whole_or_quarantined
from .plan import Request
from .prepare import PreparedScreen, prepare
from .run import slow_imports
from .stage import DatasetRequest, StageRequest, stage
from .store import OK, Store, current
from .submission_files import open_predictions
from .submission_join import join
from .submission_layouts import Reading
from .submission_notes import notes
from .submission_write import Summing
from .worker import load_plugins

#: As in the registered splits: what fewer cells say about a perturbation is not scored.
MIN_CELLS = 12
#: What boards say of control cells and of training where no split was named.
UNSAID = (
    "not stated, so they may be shared by training and truth reference. No --split was named: all perturbations are test, what the "
    "predictions were made from is not known, and reference rows that are made from training, such as the train mean, are left out"
)


@dataclass(frozen=True)
class SubmissionRequest:
    """A file of predictions, how to read it, and the truth to score it against; without `splits` all of it is test."""

    path: Path
    reading: Reading
    truth: DatasetRequest
    data_id: str
    splits: Sequence[Request | Path]
    cells: bool
    plugins: Sequence[str] = ()


@dataclass(frozen=True)
class Submission:
    """Predictions on disk, ready for jobs.

    Parameters
    ----------
    folder
        Holds ``submission.json``, ``mean.npy`` and, where the file has cells, ``variance.npy``; beside it, with the ending
        ``-cells``, the cells grouped by condition, once they were asked for.
    id
        Identity by content: the file's bytes and how they were read.
    splits
        What to score on.
    boards
        Names of the data set, the split and the fold that a record of them is shown under.
    facts
        What was found in the file, for the user.
    missing
        Test conditions that it does not predict.
    notes
        What the user should know, a sentence each.
    """

    folder: Path
    id: str
    splits: Sequence[Request | Path]
    boards: frozenset[tuple[str, str, str]]
    facts: Mapping[str, Any]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def submitted(request: SubmissionRequest) -> Submission:
    """`prepare_submission` in a process of its own, where a damaged file can do no harm.

    Raises
    ------
    DataError, UsageError, PbenchError
        Whatever is wrong with the file or the truth.
    """
    what = f"{request.path.name} could not be read"
    return apart(prepare_submission, request, what, preload=slow_imports(()))


def prepare_submission(request: SubmissionRequest) -> Submission:
    """Read predictions; what is in the cache is not read again.

    Raises
    ------
    DataError, UsageError
        If the file cannot be read, does not fit its truth, or is on another scale than declared.
    """
    load_plugins(request.plugins)
    screen, splits, manifests = _truth(request)
    identity = content_id([file_sha256(request.path), vars(request.reading), request.path.suffix.lower()])
    prepared = content_id([identity, screen.folder.name, code_id(Summing.__module__)])
    folder = cache_folder() / "submissions" / prepared[:32]
    cells = folder.with_name(f"{folder.name}-cells")
    whole, whole_cells = whole_or_quarantined(folder), whole_or_quarantined(cells)
    if not whole or (request.cells and not whole_cells and _facts(folder)["cells"]):
        with open_predictions(request.path, request.reading, folder.parent) as predictions:
            where = request.path.name
            perturbed = tuple(c for c in screen.conditions if not c.is_control)
            joined = join(predictions.labels, predictions.genes, perturbed, screen.genes, where)
            summing = Summing(predictions, joined, perturbed, screen, request.reading, where)
            if not whole:
                write_folder(folder, summing.write)
            if request.cells and not summing.means and not whole_cells:
                write_folder(cells, summing.write_cells)
    facts = _facts(folder)
    test = {c for m in manifests for c in m.with_role("test")}
    missing = tuple(sorted(c.key for c in test.difference(map(Condition.from_dict, facts["conditions"]))))
    boards = frozenset((request.truth.name, m.name, m.fold) for m in manifests)
    return Submission(folder, identity, splits, boards, facts, missing, notes(facts, test, missing, manifests[0].name))


def check_label(store: Store, label: str, submission: Submission) -> None:
    """Keep one row of a board to one file.

    Raises
    ------
    UsageError
        If other predictions or a model stand under that label on a board of these results.
    """
    for card in current(store.cards()):
        spec = card["spec"]
        board = (spec["dataset"], spec["split"], spec["fold"])
        if card["status"] != OK or card["model"] != label or board not in submission.boards:
            continue
        held = spec["params"].get("content") if spec["model"] == "submission" else None
        if held != submission.id:
            other = f"those of content {held[:12]}" if held else f"the model '{spec['model']}'"
            raise UsageError(
                f"'{label}' on {spec['dataset']} / {spec['split']} in {store.folder} is {other}, and these predictions, of content "
                f"{submission.id[:12]}, are others (another file, or read in another way). Give them a name of their own with --name, or "
                "the place of the others with --overwrite always."
            )


def _truth(request: SubmissionRequest) -> tuple[PreparedScreen, Sequence[Request | Path], list[SplitManifest]]:
    """The prepared truth, the splits as they are asked for and the manifests they stand for."""
    if request.splits and not any(isinstance(s, Path) for s in request.splits):
        staged = stage(StageRequest(request.truth, request.data_id, request.splits, request.cells, request.plugins))
        return PreparedScreen(staged.screen), request.splits, [SplitManifest.load(s.manifest) for s in staged.splits]
    dataset = request.truth.dataset()
    source = f"data set '{dataset.card.name}'"
    screen = prepare(
        dataset, data_id=request.data_id, cells=request.cells, loaded=lambda: validate(dataset.load(), source=source)
    )
    if request.splits:
        manifests = [SplitManifest.load(s) for s in request.splits if isinstance(s, Path)]
        if other := [m for m in manifests if m.data_id != request.data_id]:
            raise DataError(
                f"the manifest {other[0].name} was made for data {other[0].data_id[:12]} of '{other[0].dataset}', and the truth here is "
                f"{request.data_id[:12]}: a split holds for the bytes that it was made from."
            )
        return screen, request.splits, manifests
    manifest = everything(screen, dataset.card.name, request.data_id)
    path = screen.folder / "splits" / f"{manifest.id[:32]}.json"
    write_atomically(path, manifest.save)
    return screen, [path], [manifest]


def everything(screen: PreparedScreen, dataset: str, data_id: str) -> SplitManifest:
    """The split of somebody who has said nothing of training: all perturbed conditions with enough cells are test.

    Raises
    ------
    DataError
        If no condition has enough cells.
    """
    sizes = dict(zip(screen.conditions, screen.meta["n_cells"], strict=True))
    roles = {c: "test" if n >= MIN_CELLS else "excluded" for c, n in sizes.items() if not c.is_control}
    if "test" not in roles.values():
        raise DataError(f"no perturbation of '{dataset}' has {MIN_CELLS} cells or more; with fewer nothing can be scored.")
    return SplitManifest(
        dataset=dataset,
        data_id=data_id,
        split="everything",
        params={},
        fold="1/1",
        generator_version=1,
        roles=roles,
        reasons={c: "too_few_cells" for c, role in roles.items() if role == "excluded"},
        subgroups={c: {"seen_k": "0"} for c, role in roles.items() if role == "test"},
        declared={"controls": UNSAID, "training": "not stated"},
    )


def _facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "submission.json").read_text())
