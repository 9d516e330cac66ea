"""Folders of a site made up by the layout of its data files, so that the page is tested apart from the code that fills it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import numpy as np

from pbench.leaderboards.site.assets import write_assets

METRICS = {
    "l2@all": ("down", 0.0, 0.0, None, "Euclidean norm of the error over all genes."),
    "pearson_delta@all~ctrl": ("up", 1.0, -1.0, 1.0, "Pearson correlation of predicted and true change against control."),
    "retrieval.truths@all~ctrl#cosine": ("up", 1.0, 0.0, 1.0, "Share of truths further from the prediction than its own."),
    "de.overlap@de20~ctrl": ("up", 1.0, 0.0, 1.0, "Overlap of the 20 most changed genes."),
    "sign.accuracy@de20~ctrl": ("up", 1.0, 0.0, 1.0, "Share of genes whose direction of change is right."),
    "energy@pca50": ("down", 0.0, 0.0, None, "Energy distance of predicted and true cells."),
    "slope@de20~ctrl": ("target", 1.0, None, None, "Slope of predicted on true change."),
}
HEADLINE = tuple(METRICS)[:5]
GREY = "de.overlap@de20~ctrl"
REASON = "the positive control is not better than the negative one in enough conditions: share of wins 0.55 [0.4, 0.69]"
REFERENCES = ("no-change", "oracle-mean", "technical-duplicate", "train-mean")
REAL = ("additive", "gears", "cpa", "ridge", "nearest", "linear+pca", "sams-vae", "scgpt", "random-forest", "bilinear")


def number(x):
    """As the data files hold it: five significant digits, null for what is not defined."""
    return None if x is None or not np.isfinite(x) else float(f"{x:.5g}")


def put(folder, key, value):
    """Write a data file, as the browser loads it."""
    path = folder / "data" / f"{key}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("</", "<\\/").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    path.write_text(f"pbench.put({json.dumps(key)},{text});\n", encoding="utf-8")


def model_names(n):
    return [*REAL[:n], *(f"model-{i:03d}" for i in range(max(0, n - len(REAL))))]


def slug(name):
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in name.lower()).strip("-.") or "x"


def interval(rng, mean, spread):
    return {"mean": number(mean), "low": number(mean - spread * rng.uniform(0.6, 1.2)), "high": number(mean + spread)}


def head(dataset, split, title, *, simulated=False, defects=("control cells are shared by training and truth reference",)):
    return {
        "dataset": dataset,
        "split": split,
        "words": {
            "title": title,
            "may": "Which of these models predicts the mean change of unseen double knock-outs of this screen best.",
            "may_not": "Anything about other cell lines, or about single cells: means are scored, not distributions.",
            "command": f"pbench run --dataset {dataset} --split {split} --seeds 3",
        },
        "card": {
            "title": title,
            "source": "https://example.org/screen",
            "licence": "CC BY 4.0",
            "citation": "A. Author et al., A screen, Journal 1 (2020).",
            "scale": "counts",
            "modality": "CRISPRa",
            "n_cells": 91205,
            "n_genes": 5000,
            "simulated": simulated,
            "known_defects": list(defects),
        },
        "data_id": "16e46cbd661c9f4e16e46cbd661c9f4e",
        "split_ids": ["e1f4c7f9147ee1f4c7f9147e"],
        "seeds": [0, 1, 2],
        "versions": ["numpy 2.4.6", "pbench 0.1.0", "python 3.11"],
        "audit": {
            "status": "warn" if defects else "pass",
            "findings": [{"rule": 4, "name": "control cells", "status": "warn", "detail": "shared by training and truth"}]
            if defects
            else [],
        },
    }


def letters(ranked):
    """Overlapping groups of neighbours, as a post-hoc test would give them."""
    groups = {}
    for i, name in enumerate(ranked):
        groups[name] = "abcdefghijklmnopqrstuvwxyz"[min(i // 2, 25)] + (
            "abcdefghijklmnopqrstuvwxyz"[min(i // 2 + 1, 25)] if i % 2 else ""
        )
    return groups


def line(rng, name, kind, quality, n_conditions, metrics, shape):
    """`quality` 0 is as bad as the negative control, 1 as good as the positive one."""
    cells, scores = {}, {}
    for m, (direction, *_rest) in metrics.items():
        bad, good = {"down": (4.8, 0.4), "up": (0.45, 0.98), "target": (0.2, 1.0)}[direction]
        mean = bad + (good - bad) * quality + rng.normal(0, 0.01)
        reasons = {"zero_variance": 2} if name == "no-change" and "pearson" in m else {}
        undefined = bool(reasons)
        cells[m] = {
            **(dict.fromkeys(("mean", "low", "high")) if undefined else interval(rng, mean, abs(good - bad) * 0.06)),
            "median": None if undefined else number(mean),
            "seed_sd": number(rng.uniform(0, 0.01)),
            "defined": 0 if undefined else n_conditions,
            "asked": n_conditions,
            "reasons": reasons,
        }
        score = quality + rng.normal(0, 0.02)
        scores[m] = (
            {"score": None, "low": None, "high": None, "reason": "undefined"}
            if undefined
            else {"score": number(score), "low": number(score - 0.07), "high": number(score + 0.08), "reason": ""}
        )
    seconds = 10 ** rng.uniform(-1, 3.2)
    return {
        "model": name,
        "slug": slug(name),
        "kind": kind,
        "status": "ok",
        "reason": "",
        "rank": None,
        "letters": "",
        "mean_rank": None,
        "complete": True,
        "predicted": n_conditions,
        "asked": n_conditions,
        "fallback": int(shape.get("fallback", 0)),
        "absent": {},
        "prior": list(shape.get("prior", ())),
        "remarks": list(shape.get("remarks", ())),
        "seconds": {"fit": number(seconds), "predict": number(seconds / 20), "total": number(seconds * 1.05)},
        "memory_mb": number(rng.uniform(200, 4000)),
        "cells": cells,
        "scores": scores,
    }


def board(rng, dataset, split, title, names, n_conditions, *, simulated=False, more=()):
    metrics = METRICS | dict(more)
    bslug = f"{slug(dataset)}--{slug(split)}"
    lines = []
    quality = dict(zip(names, np.linspace(0.8, -0.05, len(names)), strict=True))
    for i, name in enumerate(names):
        shape = {"fallback": n_conditions // 4} if i == 2 else {}
        if i == 1:
            shape = {"prior": ["GO graph", "co-expression"], "remarks": ["pretrained on cells of the same line"]}
        lines.append(line(rng, name, "model", quality[name], n_conditions, metrics, shape))
    if len(lines) > 4:
        lines[3]["predicted"] = lines[3]["asked"] - max(2, n_conditions // 5)
        lines[3]["absent"] = {"gene not in the graph": lines[3]["asked"] - lines[3]["predicted"]}
        lines[3]["complete"] = False
        lines[4] |= {
            "status": "error",
            "reason": "TrainingFailed: the loss is no number after epoch 3",
            "cells": {},
            "scores": {},
        }
        lines[4] |= {"complete": False, "predicted": 0}
    ranked = [x for x in lines if x["complete"]]
    groups = letters([x["model"] for x in ranked])
    for i, x in enumerate(ranked):
        x["rank"], x["letters"], x["mean_rank"] = max(1, i), groups[x["model"]], number(1.4 + 0.9 * i + rng.uniform(-0.2, 0.2))
    for name, q in zip(REFERENCES, (-0.9, 1.3, 1.0, 0.0), strict=True):
        lines.append(line(rng, name, "reference", q, n_conditions, metrics, {}))
    lines.append(line(rng, "metric-gamer", "gaming", 0.1, n_conditions, metrics, {}))
    controls = {
        m: {
            "positive": "technical-duplicate",
            "negative": "train-mean",
            "separates": m != GREY,
            "drf": number(rng.uniform(0.3, 0.9)),
            "drf_low": 0.31,
            "drf_high": 0.92,
            "bds": number(rng.uniform(0.7, 1)),
            "bds_low": 0.5,
            "bds_high": 1.0,
            "ceiling": 0.97 if "pearson" in m else None,
            "positive_mean": {"down": 0.4, "up": 0.98, "target": 1.0}[info[0]],
            "negative_mean": {"down": 4.8, "up": 0.45, "target": 0.2}[info[0]],
        }
        for m, info in metrics.items()
    }
    genes = [f"GENE{i}" for i in range(60)]
    conditions = [
        {
            "label": f"{genes[i % 60]}+{genes[(7 * i + 3) % 60]}" if i % 3 else genes[i % 60],
            "fold": "0",
            "context": "K562",
            "targets": [genes[i % 60], *([genes[(7 * i + 3) % 60]] if i % 3 else [])],
        }
        for i in range(n_conditions)
    ]
    strata = [
        {
            "name": kind,
            "value": value,
            "n": n_conditions // 3,
            "cells": {x["model"]: interval(rng, 4.8 - 4 * quality.get(x["model"], 0.1), 0.4) for x in lines if x["cells"]},
        }
        for kind, value in (
            ("targets seen alone in training", "0"),
            ("targets seen alone in training", "1"),
            ("targets seen alone in training", "2"),
            ("size of the true change", "low"),
            ("size of the true change", "high"),
        )
    ]
    return {
        "slug": bslug,
        "kind": "prediction",
        **head(dataset, split, title, simulated=simulated),
        "contexts": 1,
        "primary": "l2@all",
        "metrics": list(metrics),
        "headline": list(HEADLINE),
        "grey": {GREY: REASON},
        "controls": controls,
        "lines": lines,
        "common": [{**x, "scores": {}} for x in lines if x["kind"] == "model" and x["cells"]],
        "common_n": n_conditions - max(2, n_conditions // 5),
        "order": {
            "tests": [[names[0], x["model"], number(rng.uniform(0, 0.2))] for x in ranked[1:]],
            "stability": 0.91,
            "agreement": {"mean": 0.71, "lowest": 0.4, "pair": ["l2@all", "pearson_delta@all~ctrl"]},
        },
        "strata": strata,
        "conditions": conditions,
    }


def model_file(rng, made, entry, n_genes=30):
    """Values and shifts of a model; what it did not answer is null."""
    n = len(made["conditions"])
    answered = np.arange(n) < entry["predicted"]
    values = {}
    for m in made["headline"]:
        mean = entry["cells"].get(m, {}).get("mean")
        values[m] = [number(mean + rng.normal(0, 0.4)) if mean is not None and a else None for a in answered]
    genes = [f"GENE{i}" for i in range(200)]
    shifts = {}
    for i in range(n):
        if answered[i]:
            truth = np.sort(rng.normal(0, 0.5, n_genes))[::-1]
            shifts[str(i)] = {
                "g": sorted(rng.choice(200, n_genes, replace=False).tolist()),
                "t": [number(t) for t in truth],
                "p": [number(p) for p in truth * 0.7 + rng.normal(0, 0.12, n_genes)],
            }
    return {
        "board": made["slug"],
        "model": entry["model"],
        "conditions": list(range(n)),
        "metrics": made["headline"],
        "values": values,
        "genes": genes,
        "shifts": shifts,
    }


def identification(rng, dataset="latent-static", split="codes"):
    metrics = ["mcc.responsive", "mcc.all", "r2_latent.nonlinear.mean", "dci.disentanglement"]
    latents = ["z1", "z2", "z3", "unit", "time"]
    lines = []
    for i, (name, kind) in enumerate(
        [("ivae", "model"), ("pca", "model"), ("sams-vae", "model"), ("linear+pca", "model"), ("oracle-latents", "reference")]
    ):
        q = 0.9 - 0.15 * i if kind == "model" else 1.0
        seeds = [number(q + d) for d in (-0.03, 0.0, 0.04)]
        lines.append(
            {
                "model": name,
                "slug": slug(name),
                "kind": kind,
                "status": "ok",
                "reason": "",
                "claim": "permutation and scale" if i == 0 else "",
                "told": i == 2,
                "scores": {
                    m: {"mean": number(q), "low": number(q - 0.05), "high": number(q + 0.05), "seeds": seeds, "reason": ""}
                    for m in metrics
                },
                "by_latent": {z: number(np.clip(q - 0.1 * k + rng.normal(0, 0.05), -0.2, 1)) for k, z in enumerate(latents)},
                "agreement": {"mean": 0.8, "lowest": 0.71, "highest": 0.9, "pairs": 3} if kind == "model" else None,
                "seconds": number(10 ** rng.uniform(0, 2)),
            }
        )
    return {
        "slug": f"{slug(dataset)}--{slug(split)}--identification",
        "kind": "identification",
        **head(dataset, split, "Static latent variables, known to us", simulated=True, defects=()),
        "primary": metrics[0],
        "metrics": metrics,
        "latents": latents,
        "lines": lines,
    }


def index_of(boards, rng):
    listed, models = [], {}
    for b in boards:
        prediction = b["kind"] == "prediction"
        own = [x for x in b["lines"] if x["kind"] == "model"]
        ranked = [x["model"] for x in own if x.get("rank") == 1] if prediction else [own[0]["model"]]
        listed.append(
            {
                "slug": b["slug"],
                "kind": b["kind"],
                "dataset": b["dataset"],
                "split": b["split"],
                "title": b["words"]["title"],
                "simulated": b["card"]["simulated"],
                "models": len(own),
                "conditions": len(b.get("conditions", ())),
                "seeds": 3,
                "grey": len(b.get("grey", ())),
                "best": ranked,
                "audit": b["audit"]["status"],
            }
        )
        for x in b["lines"]:
            if x["kind"] == "gaming":
                continue
            entry = models.setdefault(
                x["model"],
                {
                    "slug": x["slug"],
                    "name": x["model"],
                    "reference_row": x["kind"] != "model",
                    "prior": x.get("prior", []),
                    "boards": [],
                },
            )
            cell = (x.get("cells") or x.get("scores") or {}).get(b["primary"]) or dict.fromkeys(("mean", "low", "high"))
            entry["boards"].append(
                {"slug": b["slug"], "rank": x.get("rank"), "mean": cell["mean"], "low": cell["low"], "high": cell["high"]}
            )
    predicted = [b for b in boards if b["kind"] == "prediction"]
    codes = [b for b in boards if b["kind"] == "identification"]
    together = None
    if codes and predicted:
        columns = [
            {"board": codes[0]["slug"], "metric": codes[0]["primary"], "label": "latent-static: mcc.responsive"},
            {"board": predicted[0]["slug"], "metric": "l2@all", "label": f"{predicted[0]['dataset']}: l2@all"},
        ]
        rows = []
        for x in codes[0]["lines"]:
            other = next((y for y in predicted[0]["lines"] if y["model"] == x["model"]), None)
            s = x["scores"][codes[0]["primary"]]
            cells = [{"mean": s["mean"], "low": s["low"], "high": s["high"], "rank": None}]
            cell = other["cells"].get("l2@all") if other else None
            cells.append({**{k: cell[k] for k in ("mean", "low", "high")}, "rank": other["rank"]} if cell else None)
            rows.append({"model": x["model"], "slug": x["slug"], "cells": cells})
        together = {"columns": columns, "rows": rows}
    means = [x["cells"]["l2@all"]["mean"] for b in predicted[:1] for x in b["lines"][:3]]
    return {
        "pbench": "0.1.0",
        "primary": "l2@all",
        "boards": listed,
        "models": [models[k] for k in sorted(models)],
        "metrics": {
            m: {
                "direction": d,
                "perfect": p,
                "lower": lo,
                "upper": hi,
                "formula": f,
                "version": 1,
                "headline": m in HEADLINE,
                "level": "perturbation",
            }
            for m, (d, p, lo, hi, f) in METRICS.items()
        }
        | {
            m: {
                "direction": "up",
                "perfect": 1.0,
                "lower": 0.0,
                "upper": 1.0,
                "formula": "Mean correlation of matched latent variables.",
                "version": 1,
                "headline": True,
                "level": "dataset",
            }
            for m in (codes[0]["metrics"] if codes else ())
        },
        "together": together,
        "history": {
            "versions": ["0.0.9", "0.1.0"],
            "series": [
                {
                    "board": b["slug"],
                    "model": x["model"],
                    "metric": "l2@all",
                    "means": [number(m + 0.2) if i else None, m],
                }
                for b in predicted[:1]
                for i, (x, m) in enumerate(zip(b["lines"][:3], means, strict=True))
            ],
        },
        "refused": ["leaky on norman-mini / doubles: rule 1, test cells: 12 test cells are in training"],
        "damaged": [],
    }


def write_site(folder, *, models=10, boards=3, conditions=24, codes=True, rename=None, files=None, more=()):
    """Write a whole site.

    Parameters
    ----------
    rename
        Names of models to put in place of made-up ones.
    files
        Of how many models of each board the values are written; all by default.
    more
        Further metrics, as in `METRICS`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = [(rename or {}).get(n, n) for n in model_names(models)]
    titles = ["Norman 2019: pairs of genes in K562, a small part", "Kang 2018: interferon in blood cells", "Papalexi 2021: THP-1"]
    sets = ["norman-mini", "kang-mini", "papalexi-mini"]
    made = []
    for i in range(boards):
        dataset = sets[i] if i < 3 else f"screen-{i:02d}"
        title = titles[i] if i < 3 else f"Screen number {i}"
        made.append(board(rng, dataset, "doubles", title, names, conditions, simulated=i == 2, more=more))
    for b in made:
        put(folder, f"board/{quote(b['slug'])}", b)
        for x in b["lines"][: files if files is not None else None]:
            if x["cells"]:
                put(folder, f"model/{b['slug']}/{x['slug']}", model_file(rng, b, x))
    if codes:
        made.append(identification(rng))
        put(folder, f"board/{made[-1]['slug']}", made[-1])
    put(folder, "index", index_of(made, rng))
    write_assets(folder)
    return made
