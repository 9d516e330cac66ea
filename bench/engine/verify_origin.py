"""Where a bundle's records come from: whether its split is what its name says, and its models what their cards say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..contracts.split import SplitManifest
from .bundle import Bundle
from .bundle_files import shown
from .execute import execute
from .prepare import PreparedScreen
from .restage import Restaged, model_facts
from .run import MODEL_RULES, slow_imports
from .store import OK
from .verify_claims import Problem


def check_split(bundle: Bundle, restaged: Restaged) -> tuple[list[Problem], list[str]]:
    """Whether the split is what its name says, and as clean as the cards say."""
    problems: list[Problem] = []
    remarks: list[str] = []
    audits = {SplitManifest.load(s.manifest).id: s.audit for s in restaged.staged.splits}
    remade = {m.fold: m for m in restaged.remade or ()}
    for manifest in bundle.manifests.values():
        other = remade.get(manifest.fold)
        if other is None:
            remarks.append(
                f"{shown(manifest.name)} cannot be made again here; its roles were audited, and are whatever its author chose."
            )
        elif other.id != manifest.id and other.generator_version == manifest.generator_version:
            what = f"the manifest is not the one that {shown(manifest.name)} gives here"
            problems.append(Problem(what, fold=manifest.fold, claimed=manifest.id, found=other.id))
        elif other.id != manifest.id:
            remarks.append(f"{shown(manifest.name)} was made by version {manifest.generator_version} of its generator.")
    for card in bundle.cards:
        audit = audits[card["spec"]["split_id"]]
        claimed = {(f["rule"], f["name"]): f["status"] for f in card["audit"]["findings"]}
        for finding in audit["findings"]:
            said = claimed.get((finding["rule"], finding["name"]))
            if finding["rule"] in MODEL_RULES or finding["status"] not in ("warn", "fail") or said == finding["status"]:
                continue
            what = f"audit rule {finding['rule']}, {finding['name']}"
            problems.append(Problem.of(card, what, claimed=said or "not said", found=f"{finding['status']}: {finding['detail']}"))
    card = PreparedScreen(restaged.staged.screen).meta["card"]
    told = {k for c in bundle.cards for k in card if c["dataset_card"].get(k, card[k]) != card[k]}
    if told:
        remarks.append(f"The card of the data set says something else here of: {', '.join(sorted(told))}.")
    return problems, remarks


def facts_of_models(bundle: Bundle, plugins: Sequence[str]) -> dict[str, Any]:
    """What the classes of a bundle's models declare, of those that are installed."""
    names = sorted({c["spec"]["model"] for c in bundle.cards})
    (outcome,) = execute(model_facts, [(names, plugins)], workers=1, preload=slow_imports(()))
    return outcome.value if outcome.status == OK else {}


def check_models(bundle: Bundle, facts: Mapping[str, Any]) -> tuple[list[Problem], list[str]]:
    """Whether models are what their cards say: above all whether what is made of test cells says so."""
    problems: list[Problem] = []
    remarks: list[str] = []
    unknown, told = set(), set()
    for card in bundle.cards:
        own = facts.get(card["spec"]["model"])
        if own is None:
            unknown.add(card["spec"]["model"])
            continue
        if card["reference_row"] != own["reference_row"]:
            what = "whether it is a reference row, made of test cells"
            problems.append(Problem.of(card, what, claimed=str(card["reference_row"]), found=str(own["reference_row"])))
        if any(card[k] != own[k] for k in ("stochastic", "prior_knowledge", "pretraining_overlap")):
            told.add(card["model"])
    if unknown:
        remarks.append(f"Not installed here: {shown(', '.join(sorted(unknown)))}; what their cards say was not checked.")
    if told:
        remarks.append(f"The classes here declare something else than the cards of: {shown(', '.join(sorted(told)))}.")
    return problems, remarks
