"""Made-up records in the shape of real ones, as many as wanted: run cards, tidy rows, shifts, agreements, releases.

``python tests/support/synthetic_records.py FOLDER [MODELS BOARDS PERTURBATIONS]`` builds the site of such records.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pbench.bench.contracts import registry
from pbench.leaderboards.board import boards
from pbench.leaderboards.identification import identifications
from pbench.leaderboards.published import Published, Words

PRIMARY = "l2@all"
#: Headline metrics of predictions, and what turns an error level between 0 and 1.2 into their values.
METRICS = {
    PRIMARY: lambda level: level,
    "pearson_delta@all~ctrl": lambda level: 1 - 0.75 * level,
    "retrieval.truths@all~ctrl#cosine": lambda level: 1 - 0.5 * np.minimum(level, 1),
    "retrieval.predictions@all~ctrl#l2": lambda level: 1 - 0.5 * np.minimum(level, 1),
    "pearson_excess@all~ctrl": lambda level: 0.9 - level,
}
LATENT_METRICS = {"mcc.responsive": 0.0, "r2_block.invariant": -0.1, "dci.disentanglement": -0.3, "r2.nonlinear": -0.05}
BASELINES = {"no-change": 1.0, "train-mean": 0.8}
REFERENCES = {"interpolated-duplicate": 0.1, "technical-duplicate": 0.14, "shuffled": 1.2}
GAMING = {"gaming-tiny-noise": 0.81, "gaming-scaled-up": 1.15, "gaming-hub": 0.9}
NAMES = (
    "additive matching-mean bilinear-ridge ridge-pca knn-pca forest-pca ridge-go knn-go forest-go mlp-pca mlp-go linear-additive "
    "latent-additive decoder-only scgen gears gears-coexpression cpa sams-vae svae-plus discrepancy-vae perturbed-vae cite-vae"
).split()
DATASETS = "norman-sim norman-mini mcfaline-mini papalexi-mini kang-mini gene-sim shalek-lps adamson dixit frangieh".split()
#: Kinds of boards in turn: single targets, pairs that share genes, contexts in two folds.
SPLITS = ("unseen-single", "doubles", "unseen-context")
CONTEXTS = ("A172", "T98G", "U87MG")


@dataclass(frozen=True)
class Records:
    """What a folder of results or a bundle holds."""

    cards: list[dict[str, Any]]
    rows: pd.DataFrame
    shifts: pd.DataFrame
    agreements: list[dict[str, Any]]


def synthetic_records(
    n_models: int,
    n_boards: int,
    n_perturbations: int,
    seed: int = 0,
    *,
    n_codes: int = 1,
    n_seeds: int = 1,
    n_genes: int = 30,
    names: list[str] | None = None,
) -> Records:
    """Records of `n_models` models (two baselines among them) on `n_boards` boards of predictions and `n_codes` of latent variables.

    Reference rows and adversaries come on top. Of twenty models, one is unavailable, one leaves conditions out and one answers
    some with something simpler; several are alike but for noise. On every fourth board one metric tells nothing, and on the fourth
    alone that is the primary one.

    Parameters
    ----------
    n_genes
        Genes a condition in the shifts; 0 for none.
    names
        Names of the models other than the two baselines.
    """
    models = _levels(n_models, names)
    made = [_board(models, b, n_perturbations, seed, n_seeds, n_genes) for b in range(n_boards)]
    coded = [_codes(list(models), b, seed, max(n_seeds, 3)) for b in range(n_codes)]
    cards = [c for own, _, _ in made for c in own] + [c for own, _, _ in coded for c in own]
    rows = pd.concat([r for _, r, _ in (*made, *coded)], ignore_index=True)
    shifts = [s for _, _, s in made if len(s)]
    return Records(cards, rows, _joined(shifts), [a for _, _, own in coded for a in own])


def synthetic_published(n_models: int, n_boards: int, n_perturbations: int, seed: int = 0, **more: Any) -> Published:
    """`Published` of `synthetic_records`, by the same way as from real ones."""
    return published(synthetic_records(n_models, n_boards, n_perturbations, seed, **more))


def published(records: Records) -> Published:
    """`Published` of some records, with words and three releases made up."""
    metrics = {m: registry.metrics.get(m) for m in (*METRICS, *LATENT_METRICS, "r2_latent.nonlinear")}
    made = boards(records.cards, records.rows, metrics)
    codes = identifications(records.cards, records.rows, metrics, records.agreements)
    return Published(
        boards=made,
        codes=codes,
        metrics=metrics,
        cards=records.cards,
        rows=records.rows,
        shifts=records.shifts,
        words={(b.dataset, b.split): _words(b.dataset, b.split) for b in (*made, *codes)},
        history=_history(made),
    )


def _levels(n_models: int, names: list[str] | None) -> dict[str, float]:
    rng = np.random.default_rng(99)
    own = names or [
        NAMES[i] if i < len(NAMES) else f"{NAMES[i % len(NAMES)]}-v{i // len(NAMES) + 1}" for i in range(n_models - 2)
    ]
    levels = 0.25 + 0.6 * np.round(rng.random(len(own)) * 12) / 12 + rng.normal(0, 0.002, len(own))
    return BASELINES | dict(zip(own, levels.tolist(), strict=True))


def _digest(*parts: Any) -> str:
    import hashlib

    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


def _dataset_card(dataset: str, *, simulated: bool, n_genes: int = 2000) -> dict[str, Any]:
    return {
        "name": dataset,
        "title": f"{dataset}: made-up numbers in the shape of a screen",
        "source": "a random generator",
        "citation": "none",
        "licence": "CC0-1.0",
        "scale": "log1p_1e4",
        "modality": "CRISPRi",
        "n_cells": 50_000,
        "n_genes": n_genes,
        "n_perturbations": 1000,
        "simulated": simulated,
        "known_defects": ["every number is made up"],
        "control_label": "control",
        "default_split": "unseen-single",
        "feature_selection": "none",
        "sha256": _digest(dataset),
    }


def _card(model: str, dataset: str, split: str, fold: str, seed: int, **more: Any) -> dict[str, Any]:
    digit = int(_digest(model)[:6], 16) / 16**6
    spec = {
        "dataset": dataset,
        "split": split,
        "fold": fold,
        "seed": seed,
        "model": model,
        "params": {},
        "resources": {},
        "engine": "e" * 16,
        "model_code": _digest(model, "code"),
        "data_id": _digest(dataset),
        "split_id": _digest(dataset, split, fold),
        "environment": {"numpy": "2.4.6", "python": "3.11"},
    }
    findings = [
        {"rule": 1, "name": "canonical labels", "status": "pass", "detail": "no test condition trains."},
        {"rule": 7, "name": "control cells", "status": "warn", "detail": "declared: shared by training and truth reference."},
        {
            "rule": 10,
            "name": "pretraining overlap",
            "status": "pass",
            "detail": "the model declares overlap with the test cells: no.",
        },
    ]
    if "go" in model.split("-"):
        findings.append({"rule": 11, "name": "side information", "status": "warn", "detail": "from elsewhere: go."})
    return {
        "schema": 1,
        "model": model,
        "spec": spec,
        "score_id": _digest(model, dataset, split, fold, seed),
        "job_id": _digest("job", model, dataset, split, fold, seed),
        "audit": {"status": "warn", "findings": findings},
        "started": 1.7e9 + digit,
        "status": "ok",
        "reason": "",
        "reference_row": model in REFERENCES,
        "group": "gaming" if model in GAMING else "",
        "stochastic": model not in BASELINES,
        "predicts": True,
        "prior_knowledge": ["Gene Ontology"] if "go" in model.split("-") else [],
        "pretraining_overlap": "no",
        "claim": "",
        "uses_condition_at_encode": False,
        "n_fallback": 0,
        "absent": {},
        "origin": "built in",
        "pbench": "0.1.0",
        "machine": {"platform": "none", "python": "3.11", "threads": "2"},
        "peak_memory_mb": round(250 + 900 * digit, 1),
        "seconds": {"fit": round(600 * digit**3, 3), "predict": 0.4, "score": 2.0, "total": round(3 + 600 * digit**3, 3)},
        "dataset_card": _dataset_card(dataset, simulated=dataset.endswith("-sim")),
    } | more


def _board(
    models: dict[str, float], number: int, n: int, seed: int, n_seeds: int, n_genes: int
) -> tuple[list[dict[str, Any]], pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng([seed, number])
    split = SPLITS[number % 3]
    turn = number // len(DATASETS)
    dataset = DATASETS[number % len(DATASETS)] + (f"-{turn + 1}" if turn else "")
    if split == "doubles":
        first = rng.integers(0, max(n // 5, 8), n)
        labels = [f"GENE{a:03d}+PARTNER{i:03d}" for i, a in enumerate(first)]
    else:
        labels = [f"GENE{i:03d}" for i in range(n)]
    contexts = [CONTEXTS[i % 3] for i in range(n)] if split == "unseen-context" else [None] * n
    keys = np.array([f"{x} | context={c}" if c else x for x, c in zip(labels, contexts, strict=True)], dtype=object)
    folds = [f"{c}" for c in CONTEXTS] if split == "unseen-context" else ["1/1"]
    fold = np.array([c if c else "1/1" for c in contexts], dtype=object)
    facts = {
        "effect": np.round(rng.lognormal(0.5, 0.6, n), 4),
        "n_cells": rng.integers(20, 400, n).astype(float),
        "seen_k": np.array([str(k) for k in rng.integers(0, 3 if split == "doubles" else 2, n)], dtype=object),
    }
    difficulty = rng.lognormal(0, 0.35, n)
    cards, parts, shifts = [], [], []
    everyone = {**models, **REFERENCES, **GAMING}
    truth, genes = _truth(rng, n, n_genes, facts["effect"])
    for place, (model, level) in enumerate(everyone.items()):
        competing = model in models and model not in BASELINES
        kind = place % 20 if competing else -1
        gone = rng.random(n) < 0.2 if kind == 6 else np.zeros(n, dtype=bool)
        simpler = rng.random(n) < 0.1 if kind == 7 else np.zeros(n, dtype=bool)
        for s in range(n_seeds if model not in BASELINES else 1):
            for f in folds:
                own = fold == f
                more: dict[str, Any] = {"n_conditions": int(own.sum()), "metrics": list(METRICS)}
                if kind == 5:
                    more |= {"status": "unavailable", "reason": "resource 'embedding' is not there; give a table with --resource"}
                more |= {
                    "n_predicted": int((own & ~gone).sum()),
                    "n_fallback": int((own & simpler).sum()),
                    "absent": dict.fromkeys(keys[own & gone].tolist(), "capability: unseen target"),
                }
                cards.append(_card(model, dataset, split, f, s, **more))
            if kind == 5:
                continue
            noise = rng.normal(0, 0.05 if model in REFERENCES else 0.3, n)
            for metric, of in METRICS.items():
                dull = number % 4 == 1 and metric == "retrieval.predictions@all~ctrl#l2" or number == 3 and metric == PRIMARY
                scale = difficulty if metric == PRIMARY else 1.0
                value = of(0.5 + rng.normal(0, 0.2, n) if dull else level * np.exp(noise + rng.normal(0, 0.02, n))) * scale
                half = of(0.5 + rng.normal(0, 0.2, n) if dull else level * np.exp(noise + rng.normal(0, 0.04, n))) * scale
                lost = gone | ((rng.random(n) < 0.03) & (metric == "pearson_delta@all~ctrl") & (model == "no-change"))
                reason = np.where(gone, "capability: unseen target", np.where(lost, "zero_variance", None)).astype(object)
                parts.append(
                    {
                        "model": np.full(n, model, dtype=object),
                        "reference_row": np.full(n, model in REFERENCES),
                        "fold": fold,
                        "seed": np.full(n, s),
                        "condition": keys,
                        "predicted": ~gone,
                        "fallback": simpler,
                        "metric": np.full(n, metric, dtype=object),
                        "value": np.where(lost, np.nan, value),
                        "reason": reason,
                        "half_value": np.where(lost, np.nan, half),
                    }
                )
        if n_genes and kind != 5:
            predicted = truth * (1 - min(level, 1.1)) + rng.normal(0, 0.15, truth.shape) * np.abs(truth).mean()
            shifts.append((model, ~gone, predicted))
    times = len(parts)
    rows = pd.DataFrame(
        {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        | {
            "perturbation": np.tile(np.array(labels, dtype=object), times),
            "context": np.tile(np.array(contexts, dtype=object), times),
        }
        | {name: np.tile(v, times) for name, v in facts.items()}
        | {"dataset": dataset, "split": split, "version": 1, "dose": None, "time": np.nan, "gi_class": None}
    )
    return cards, rows, _shifts(dataset, split, keys, fold, genes, truth, shifts)


def _truth(rng: np.random.Generator, n: int, n_genes: int, effect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, n_genes) true changes, the largest first, and the genes that they belong to."""
    genes = np.stack([rng.permutation(2000)[:n_genes] for _ in range(n)]) if n_genes else np.zeros((n, 0), dtype=int)
    size = np.sort(np.abs(rng.normal(0, 0.4, genes.shape)), axis=1)[:, ::-1] * effect[:, None]
    return size * rng.choice([-1, 1], genes.shape), genes


def _shifts(
    dataset: str, split: str, keys: Any, fold: Any, genes: Any, truth: Any, predicted: list[tuple[str, Any, Any]]
) -> pd.DataFrame:
    if not predicted:
        return pd.DataFrame()
    width = genes.shape[1]
    kept = [np.repeat(present, width) for _, present, _ in predicted]
    every = np.concatenate(kept)
    names = np.array([f"G{i:04d}" for i in range(2000)], dtype=object)

    def named(code: Any, categories: Any) -> Any:
        return pd.Categorical.from_codes(np.tile(code, len(predicted))[every], categories=categories)

    fold_code, fold_names = pd.factorize(fold)
    model_code = np.repeat(np.arange(len(predicted)), len(keys) * width)[every]
    return pd.DataFrame(
        {
            "dataset": pd.Categorical.from_codes(np.zeros(every.sum(), dtype=np.int8), categories=[dataset]),
            "split": pd.Categorical.from_codes(np.zeros(every.sum(), dtype=np.int8), categories=[split]),
            "model": pd.Categorical.from_codes(model_code, categories=[m for m, _, _ in predicted]),
            "fold": named(np.repeat(fold_code, width), fold_names),
            "condition": named(np.repeat(np.arange(len(keys)), width), keys),
            "gene": named(genes.ravel(), names),
            "truth": _rounded(np.tile(truth.ravel(), len(predicted))[every]),
            "predicted": _rounded(np.concatenate([p.ravel() for _, _, p in predicted])[every]),
        }
    )


def _rounded(values: Any) -> Any:
    """Float32 of four significant digits."""
    place = 3 - np.floor(np.log10(np.maximum(np.abs(values), 1e-9)))
    return (np.round(values * 10.0**place) / 10.0**place).astype(np.float32)


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One frame whose names are categories, which a concatenation of different categories would make objects of."""
    if not parts:
        return pd.DataFrame()
    from pandas.api.types import union_categoricals

    columns = {
        c: union_categoricals([p[c] for p in parts])
        if isinstance(parts[0][c].dtype, pd.CategoricalDtype)
        else pd.concat([p[c] for p in parts], ignore_index=True)
        for c in parts[0]
    }
    return pd.DataFrame(columns)


def _codes(
    models: list[str], number: int, seed: int, n_seeds: int
) -> tuple[list[dict[str, Any]], pd.DataFrame, list[dict[str, Any]]]:
    """Cards, rows and agreements of models that were asked for the codes of held-out units."""
    rng = np.random.default_rng([seed, 1000 + number])
    dataset, split = (
        DATASETS[number % len(DATASETS)],
        "units" if number < len(DATASETS) else f"units-{number // len(DATASETS) + 1}",
    )
    cards, rows, agreements = [], [], []
    asked = {m: 0.35 + 0.55 * rng.random() for m in models if m not in BASELINES} | {"oracle-code": 1.0, "noise-code": 0.1}
    for place, (model, skill) in enumerate(asked.items()):
        reference = model in ("oracle-code", "noise-code")
        seeds = range(1 if reference else n_seeds)
        for s in seeds:
            more: dict[str, Any] = {
                "predicts": False,
                "encoded": True,
                "n_conditions": 0,
                "n_predicted": 0,
                "metrics": [*LATENT_METRICS, "r2_latent.nonlinear"],
                "reference_row": reference,
                "stochastic": not reference,
                "claim": ("permutation", "")[place % 2],
                "uses_condition_at_encode": place % 3 == 0,
            }
            if place % 7 == 4:
                more |= {"status": "failed", "reason": "the model has no encode()"}
            cards.append(_card(model, dataset, split, "1/1", s, **more))
            if place % 7 == 4:
                continue
            draw = skill + (0 if reference else rng.normal(0, 0.02))
            for metric, offset in LATENT_METRICS.items():
                undefined = metric == "dci.disentanglement" and place % 5 == 3
                value = np.nan if undefined else float(np.clip(draw + offset, 0, 1))
                rows.append((model, s, "*", metric, value, "one_latent" if undefined else None, reference))
            for z in range(6):
                rows.append(
                    (model, s, f"latent z{z}", "r2_latent.nonlinear", float(np.clip(draw - 0.05 * z, 0, 1)), None, reference)
                )
        if not reference and place % 7 != 4:
            for a in seeds:
                for b in range(a):
                    jobs = [_digest("job", model, dataset, split, "1/1", s) for s in (b, a)]
                    agreements.append(
                        {
                            "schema": 1,
                            "model": model,
                            "jobs": jobs,
                            "value": round(float(np.clip(skill + rng.normal(0, 0.05), 0, 1)), 4),
                        }
                    )
    columns = ["model", "seed", "condition", "metric", "value", "reason", "reference_row"]
    frame = pd.DataFrame(rows, columns=columns).assign(dataset=dataset, split=split, fold="1/1", predicted=True, fallback=False)
    frame["version"] = frame["metric"].map({m: registry.metrics.get(m).version for m in set(frame["metric"])})
    return cards, frame.assign(perturbation=frame["condition"], context=None, half_value=np.nan), agreements


def _words(dataset: str, split: str) -> Words:
    return Words(
        f"{dataset}, {split}",
        "That the pages, the tables and the pictures work.",
        "Anything about models or cells: every number here is made up.",
        f"pbench run --models all --dataset {dataset} --split {split} --seeds 3",
    )


def _history(made: list[Any]) -> list[dict[str, Any]]:
    """Three releases; the first lacks the last model of every board."""
    found = []
    for release, (version, factor) in enumerate((("0.1.0", 1.1), ("0.2.0", 1.04), ("0.3.0", 1.0))):
        numbers = [
            [b.dataset, b.split, x.model, m, round(x.cells[m].mean * factor, 6)]
            for b in made
            for place, x in enumerate(b.lines)
            for m in METRICS
            if m in x.cells and (release or place < len(b.lines) - 1)
        ]
        found.append({"version": version, "numbers": numbers})
    return found


def main() -> None:
    """Build the site of made-up records."""
    import time

    from pbench.leaderboards.site.build import build

    n_models, n_boards, n_perturbations = map(int, sys.argv[2:5]) if len(sys.argv) > 4 else (8, 3, 40)
    start = time.perf_counter()
    records = synthetic_records(n_models, n_boards, n_perturbations, n_seeds=3 if n_models < 20 else 1)
    made = time.perf_counter()
    content = published(records)
    ordered = time.perf_counter()
    build(content, Path(sys.argv[1]))
    built = time.perf_counter()
    sys.stdout.write(
        f"records {made - start:.1f} s ({len(records.cards)} cards, {len(records.rows)} rows, {len(records.shifts)} shifts), "
        f"boards {ordered - made:.1f} s, site {built - ordered:.1f} s\n"
    )


if __name__ == "__main__":
    main()
