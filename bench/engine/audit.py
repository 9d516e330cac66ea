"""The leakage audit: whether anything of the test can reach training, rule by rule, from a manifest and what goes with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..contracts.condition import Condition
from ..contracts.errors import LONGEST
from ..contracts.model import Capabilities
from ..contracts.screen import Screen
from ..contracts.split import SplitManifest
from ..kernels.row_hashes import row_hashes

Array = np.ndarray[Any, Any]
Verdict = tuple[str, str]
#: Rows with fewer expressed genes can be equal by chance (empty droplets, small panels) and are not compared.
MIN_EXPRESSED = 20
#: Cramér's V above which batch and perturbation are called confounded.
CONFOUNDED = 0.5
UNSEEN_TARGETS = ("unseen-single", "unseen-both")
UNSEEN_CONTEXTS = ("unseen-context", "unseen-both")
#: Rules that no manifest can break, and what sees to it.
ELSEWHERE = {
    5: ("DE lists", "TrainingData holds no list of differential genes; the contract sees to it."),
    6: ("references", "the engine computes the reference profiles from training conditions."),
    13: ("chemical similarity", "conditions carry no structures to compare."),
    15: ("revealed knockdown", "predictions start from control profiles; no cell of a test condition is an input."),
    16: ("join by key", "predictions are joined by condition and gene name, never by position."),
}


@dataclass(frozen=True)
class Finding:
    """What the audit found on one rule.

    Parameters
    ----------
    rule
        Number of the leakage rule; 0 where the manifest is held to its own word.
    name
        A few words for a table.
    status
        ``pass``, ``warn``, ``fail``, or ``na`` where the rule could not be checked.
    detail
        One sentence with the figures.
    """

    rule: int
    name: str
    status: str
    detail: str


def audit(
    manifest: SplitManifest,
    screen: Screen | None = None,
    capabilities: Capabilities | None = None,
    resources: Mapping[str, Any] | None = None,
    hashed: tuple[Array, Array] | None = None,
) -> tuple[Finding, ...]:
    """Check a split for leaks between test and training.

    Parameters
    ----------
    manifest
        The split.
    screen
        The data; without it the rules about cells and about the card are ``na``.
    capabilities
        Of the model that is to be run; without it the rule about pretraining is ``na``.
    resources
        Side information by name; without it the rule about side information is ``na``.
    hashed
        `row_hashes` of the screen where they are known already.

    Returns
    -------
    tuple of Finding
        Sorted by rule. `status` gives the verdict.
    """
    test, train, validation = (list(manifest.with_role(role)) for role in ("test", "train", "validation"))
    seen = train + validation
    verdicts = [
        (0, "roles", _roles(manifest, test, train)),
        (0, "subgroup labels", _subgroup_labels(manifest, test, train)),
        (0, "unseen targets", _unseen_targets(manifest, test, seen)),
        (1, "canonical labels", _canonical_labels(manifest, test, train)),
        (2, "reversed combinations", _combinations(test, seen)),
        (3, "validation", _validation(test, validation)),
        (7, "control cells", _controls(manifest)),
        (8, "test contexts", _contexts(manifest, test, seen)),
        (10, "pretraining overlap", _pretraining(capabilities)),
        (11, "side information", _side_information(resources)),
        (12, "evaluation set", _evaluation_set(manifest, screen)),
        *((rule, name, ("na", detail)) for rule, (name, detail) in ELSEWHERE.items()),
    ]
    absent = ("na", "no screen was given.")
    verdicts += [
        (4, "feature selection", absent if screen is None else _feature_selection(screen)),
        (9, "batch confounding", absent if screen is None else _batches(screen)),
        (14, "barcodes", absent if screen is None else _barcodes(manifest, screen)),
        (14, "divided units", absent if screen is None else _divided_units(manifest, screen)),
        (14, "duplicated cells", absent if screen is None else _duplicated_cells(manifest, screen, hashed)),
        (17, "known defects", absent if screen is None else _known_defects(screen)),
    ]
    # What a plugin says of a data set or of a model may be as long as it likes; a card that holds all of it would be read as none.
    return tuple(Finding(rule, name, said, why[:LONGEST]) for rule, name, (said, why) in sorted(verdicts, key=lambda v: v[0]))


def status(findings: Iterable[Finding]) -> str:
    """The worst status: ``fail`` over ``warn`` over ``pass``; rules that could not be checked do not count."""
    found = {f.status for f in findings}
    return next((s for s in ("fail", "warn") if s in found), "pass")


def to_dict(findings: Iterable[Finding]) -> dict[str, Any]:
    """A JSON object with the verdict and the findings."""
    findings = tuple(findings)
    return {"status": status(findings), "findings": [asdict(f) for f in findings]}


def cramers_v(left: Array, right: Array) -> float:
    """Association of two categorical columns, from 0 (independent) to 1 (one decides the other).

    ``V = sqrt(phi2 / min(r - 1, c - 1))`` with ``phi2 = sum(n_ij^2 / (n_i. n_.j)) - 1``, without bias correction
    (Cramér 1946); NaN where a column has one category.
    """
    i, j = np.unique(left, return_inverse=True)[1], np.unique(right, return_inverse=True)[1]
    pair, n = np.unique(np.stack([i, j]), axis=1, return_counts=True)
    rows, columns = np.bincount(i), np.bincount(j)
    smaller = min(len(rows), len(columns)) - 1
    if smaller == 0:
        return float("nan")
    phi2 = float(np.sum(n / rows[pair[0]] * n / columns[pair[1]])) - 1
    return float(np.sqrt(max(phi2, 0.0) / smaller))


def _parts(condition: Condition, separators: str = "[+]") -> frozenset[str]:
    """Targets without case, white space and control tokens; a label that was read as one target is taken apart."""
    found = (part.strip().casefold() for target in condition.targets for part in re.split(separators, target))
    return frozenset(part for part in found if part not in ("", "ctrl", "control"))


def _canonical(condition: Condition) -> tuple[Any, ...]:
    """Equal for two conditions that mean the same at the same doses, time and context, however they are spelled."""
    doses = frozenset((t.strip().casefold(), d) for t, d in zip(condition.targets, condition.doses, strict=False))
    return (_parts(condition), doses, *_setting(condition))


def _setting(condition: Condition) -> tuple[Any, ...]:
    return (condition.time, None if condition.context is None else condition.context.strip().casefold())


def _listed(conditions: Iterable[Condition]) -> str:
    keys = sorted(c.key for c in conditions)
    return ", ".join(map(repr, keys[:3])) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _roles(manifest: SplitManifest, test: list[Condition], train: list[Condition]) -> Verdict:
    if test and not train and manifest.declared.get("training") == "not stated":
        return "warn", f"{len(test)} conditions are test; nobody has said which were training."
    if not test or not (train or manifest.test_cells):
        return "fail", f"no condition has the role {'train' if test else 'test'}."
    return "pass", f"{len(train)} conditions train and {len(test)} are test."


def _subgroup_labels(manifest: SplitManifest, test: list[Condition], train: list[Condition]) -> Verdict:
    trained = train + test if manifest.test_cells else train
    singles = {c.targets[0] for c in trained if len(c.targets) == 1}
    expected = {c: str(len(singles.intersection(c.targets))) for c in test}
    if wrong := [c for c in test if manifest.subgroups.get(c, {}).get("seen_k") != expected[c]]:
        return "fail", f"seen_k of {_listed(wrong)} does not follow from the training conditions."
    return "pass", "seen_k follows from the training conditions."


def _unseen_targets(manifest: SplitManifest, test: list[Condition], seen: list[Condition]) -> Verdict:
    shared = sorted({t for c in test for t in _parts(c)} & {t for c in seen for t in _parts(c)})
    if manifest.split not in UNSEEN_TARGETS:
        return "na", f"'{manifest.split}' does not promise that test targets are unseen."
    if shared:
        return "fail", f"{len(shared)} test targets occur in training or validation, such as '{shared[0]}'."
    return "pass", "no test target occurs in training or validation."


def _canonical_labels(manifest: SplitManifest, test: list[Condition], train: list[Condition]) -> Verdict:
    if manifest.declared.get("level") == "units":
        return (
            "warn",
            "units are held out, not conditions: it says what a model makes of unseen cells, not of unseen perturbations.",
        )
    if manifest.test_cells:
        return "warn", "a split by cells trains on every test condition; it is a positive control only."
    known = {_canonical(c) for c in train}
    if twice := [c for c in test if _canonical(c) in known]:
        return "fail", f"{len(twice)} test conditions train under another spelling: {_listed(twice)}."
    targets = {_parts(c) for c in train}
    elsewhere = sum(_parts(c) in targets for c in test)
    return "pass", f"no test condition trains; {elsewhere} do at another dose, time or context."


def _combinations(test: list[Condition], seen: list[Condition]) -> Verdict:
    def loose(c: Condition) -> tuple[Any, ...]:
        return (_parts(c, r"[+_,;|/]"), *_setting(c))

    def unread(c: Condition) -> bool:
        # A combination that was read as one name, such as KLF1_BAK1; its doses cannot be told apart.
        return len(c.targets) < len(loose(c)[0])

    several = [c for c in test if len(loose(c)[0]) > 1]
    if not several:
        return "na", "no test condition has several targets."
    exact, every = {_canonical(c) for c in seen}, {loose(c) for c in seen}
    misread = {loose(c) for c in seen if unread(c)}
    leaked = [c for c in several if _canonical(c) in exact or loose(c) in (every if unread(c) else misread)]
    if leaked:
        return "fail", f"the reverse or another spelling of {_listed(leaked)} is in training or validation."
    return "pass", f"none of {len(several)} test combinations is in training or validation in another order or spelling."


def _validation(test: list[Condition], validation: list[Condition]) -> Verdict:
    known = {_canonical(c) for c in validation}
    if shared := [c for c in test if _canonical(c) in known]:
        return "fail", f"{len(shared)} test conditions are validation conditions too: {_listed(shared)}."
    return "pass", f"none of {len(validation)} validation conditions is test."


def _feature_selection(screen: Screen) -> Verdict:
    how = screen.card.feature_selection
    if how == "none" or "train" in how:
        return "pass", f"the card declares: {how}."
    return "warn", f"the card declares '{how}': genes were chosen with test cells in view."


def _controls(manifest: SplitManifest) -> Verdict:
    declared = manifest.declared.get("controls")
    if declared is None:
        return "fail", "the manifest does not declare whether training and truth share control cells."
    return "warn" if "shared" in declared else "pass", f"declared: {declared}."


def _contexts(manifest: SplitManifest, test: list[Condition], seen: list[Condition]) -> Verdict:
    treated = {_setting(c)[1] for c in seen}
    leaked = [c for c in test if _setting(c)[1] in treated]
    if manifest.split in UNSEEN_CONTEXTS and leaked:
        return "fail", f"training has perturbed cells of the test context of {_listed(leaked)}."
    if manifest.test_cells or len(leaked) == len(test):
        return "na", "no test context is held out."
    if not seen and manifest.declared.get("training") == "not stated":
        return "na", "nobody has said what was in training."
    declared = manifest.declared.get("target_context_controls")
    if declared is None:
        return "fail", "the manifest does not declare whether controls of the test context are in training."
    return "pass", f"no perturbed cell of the test context is in training; its controls: {declared}."


def _batches(screen: Screen) -> Verdict:
    obs: Any = screen.adata.obs
    if "batch" not in obs or obs["batch"].nunique() < 2:
        return "na", "the screen records one batch or none."
    v = cramers_v(obs["batch"].astype(str).to_numpy(dtype=str), obs["perturbation"].astype(str).to_numpy(dtype=str))
    return "warn" if v > CONFOUNDED else "pass", f"Cramér's V of batch and perturbation is {v:.2f}."


def _pretraining(capabilities: Capabilities | None) -> Verdict:
    if capabilities is None:
        return "na", "no model was given."
    overlap = capabilities.pretraining_overlap
    return "pass" if overlap == "no" else "warn", f"the model declares overlap with the test cells: {overlap}."


def _side_information(resources: Mapping[str, Any] | None) -> Verdict:
    if not resources:
        return "na", "no side information was given."
    if own := sorted(name for name, table in resources.items() if getattr(table, "same_screen", False)):
        return "fail", f"derived from the screen that is evaluated: {', '.join(own)}."
    return "pass", f"from elsewhere: {', '.join(sorted(resources))}."


def _evaluation_set(manifest: SplitManifest, screen: Screen | None) -> Verdict:
    excluded = manifest.with_role("excluded")
    if silent := [c for c in excluded if not manifest.reasons.get(c)]:
        return "fail", f"excluded without a reason: {_listed(silent)}."
    if screen is not None:
        if missing := [c for c in screen.perturbed if c not in manifest.roles]:
            return "fail", f"the manifest leaves out {len(missing)} conditions of the screen: {_listed(missing)}."
        if unknown := set(manifest.roles) - set(screen.perturbed):
            return "fail", f"the screen does not have {_listed(unknown)}."
    counts = sorted(Counter(manifest.reasons[c] for c in excluded).items())
    return "pass", f"excluded conditions: {'; '.join(f'{n} {reason}' for reason, n in counts) or 'none'}."


def _barcodes(manifest: SplitManifest, screen: Screen) -> Verdict:
    names: Any = screen.adata.obs_names
    if copies := 0 if names.is_unique else len(names) - names.nunique():
        return "fail", f"{copies} cells have the barcode of another cell."
    chosen = set(manifest.test_cells)
    if unknown := len(chosen) - int(names.isin(chosen).sum()):
        return "fail", f"{unknown} test cells of the manifest are not in the screen."
    return "pass", f"{len(names)} barcodes, each once."


def _divided_units(manifest: SplitManifest, screen: Screen) -> Verdict:
    obs: Any = screen.adata.obs
    if "unit" not in obs or not manifest.test_cells:
        return "na", "the screen names no units, or the split holds out whole conditions."
    unit = obs["unit"].astype(str).to_numpy()
    chosen = np.isin(screen.barcodes, np.asarray(manifest.test_cells))
    # Cells of excluded conditions are on neither side.
    used = np.array([c.is_control or manifest.roles.get(c) != "excluded" for c in screen.conditions])[screen.codes]
    if divided := set(unit[chosen].tolist()) & set(unit[used & ~chosen].tolist()):
        return "fail", f"{len(divided)} units have cells in training and in the test (first: {min(divided)})."
    return "pass", f"all cells of each of {len(set(unit.tolist()))} units are on one side."


def _duplicated_cells(manifest: SplitManifest, screen: Screen, hashed: tuple[Array, Array] | None) -> Verdict:
    import pandas as pd

    roles = ["train" if c.is_control else manifest.roles.get(c, "excluded") for c in screen.conditions]
    is_test = np.array([role == "test" for role in roles])[screen.codes]
    is_train = np.array([role in ("train", "validation") for role in roles])[screen.codes]
    if manifest.test_cells:
        chosen = np.isin(screen.barcodes, np.asarray(manifest.test_cells))
        # Control cells can be held out too.
        is_train, is_test = (is_train | is_test) & ~chosen, chosen
    hashes, expressed = row_hashes(screen.adata.X) if hashed is None else hashed
    is_test &= expressed >= MIN_EXPRESSED
    if not is_test.any():
        return "na", f"no test cell expresses {MIN_EXPRESSED} genes; equal cells could be chance."
    # A table of hashes is faster than sorting them, and takes less memory.
    if copies := int(pd.Series(hashes[is_test]).isin(hashes[is_train]).sum()):
        return "fail", f"{copies} test cells equal a training cell in every gene."
    return "pass", f"none of {int(is_test.sum())} test cells that express {MIN_EXPRESSED} genes equals a training cell."


def _known_defects(screen: Screen) -> Verdict:
    defects = screen.card.known_defects
    return "warn" if defects else "pass", "; ".join(defects) or "the card names none."
