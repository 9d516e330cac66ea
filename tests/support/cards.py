"""Run cards for tests of the store: all that a card must have, and nothing else."""

from __future__ import annotations

SPEC = {"dataset": "d", "split": "s", "fold": "1/1", "seed": 0, "data_id": "0" * 64, "split_id": "1" * 64, "environment": {}}


def run_card(score_id, **facts):
    """The card of a job that ended well, or did not, with some facts in place of others."""
    return {
        "score_id": score_id,
        "job_id": "job",
        "status": "ok",
        "model": "m",
        "started": 1.0,
        "pbench": "0.1.0",
        "reference_row": False,
        "stochastic": False,
        "dataset_card": {"title": "a toy", "source": "here", "licence": "CC0", "scale": "raw", "simulated": True},
        "audit": {"status": "pass", "findings": []},
        "spec": SPEC,
        "seconds": {},
        "n_conditions": 1,
        "n_fallback": 0,
        "absent": {},
        "reason": "",
        **facts,
    }


def row_table(values=(0.0,), **facts):
    """Rows of a metric with these values, with some facts, of all or a list of one each, in place of others."""
    import pyarrow as pa

    from pbench.bench.engine.tables import ROW_COLUMNS, schema

    about = {"model": "m", "reference_row": False, "dataset": "d", "split": "s", "fold": "1/1", "seed": 0, "version": 1}
    about |= {"condition": "A", "perturbation": "A", "metric": "l2", **facts}
    n = len(values)
    columns = {name: value if isinstance(value := about.get(name), list) else [value] * n for name in ROW_COLUMNS}
    return pa.table(columns | {"value": list(values)}, schema=schema(ROW_COLUMNS))
