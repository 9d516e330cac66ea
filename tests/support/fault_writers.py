"""Processes that write records and archives through the store, to be killed; what each writes follows from its arguments."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
from cards import SPEC, row_table, run_card

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import PbenchError
from pbench.bench.engine.answer import Answer
from pbench.bench.engine.store import Store

CONDITIONS = (Condition(("A",)), Condition(("B",)))
GENES = np.array([f"G{i}" for i in range(40)])
METRICS = ("mse", "l2")


def score_id(number):
    """Names that differ in their first letters, as hashes do."""
    return f"{number * 7919 + 1:08x}" * 8


def card_of(number, writer=0):
    own = {"job_id": score_id(number), "spec": SPEC | {"seed": number}, "metrics": list(METRICS)}
    return run_card(score_id(number), **own, turn=1, writer=writer, padding="x" * 3000)


def table_of(number, writer=0):
    """Rows that say whose they are."""
    values = np.random.default_rng([number, writer]).normal(size=2 * 400)
    return row_table(values, seed=number, metric=list(METRICS) * 400, version=writer)


def answer_of(number):
    mean = np.random.default_rng(number).normal(size=(2, len(GENES))).astype(np.float32)
    return Answer(mean, np.zeros(2, bool), np.array(["", ""], dtype=object), {"fit": 1.0})


def write_one(store, number, writer=0):
    store.save_prediction(score_id(number), CONDITIONS, GENES, answer_of(number))
    store.write(score_id(number), card_of(number, writer), table_of(number, writer))


def write_until_killed(folder, numbers, mouth):
    """Write records again and again, and say the number of each once it is finished."""
    store = Store(Path(folder))
    while True:
        for number in numbers:
            write_one(store, number)
            mouth.send(number)
        store.consolidate()


def write_rounds(folder, writer, numbers, rounds):
    """Write the same records as others at the same time, in an order of one's own."""
    store, order = Store(Path(folder)), random.Random(writer)
    for _ in range(rounds):
        for number in order.sample(numbers, len(numbers)):
            write_one(store, number, writer)
        store.consolidate()


def write_until_full(folder, said):
    """Write new records until that fails; says how many and why."""
    store, number = Store(Path(folder)), 0
    try:
        while number < 5000:
            write_one(store, number)
            number += 1
    except PbenchError as error:
        said.send((number, str(error)))
    else:
        said.send((number, ""))


def write_and_tell(folder, order, mouth):
    """As `write_until_killed`, and say that it begins."""
    mouth.send(-1)
    write_until_killed(folder, order, mouth)


def replace_until(folder, step):
    """Replace a record and end right after one of the steps."""
    import pbench.bench.engine.store as module

    plain, calls = module.write_atomically, []

    def write_atomically(path, write):
        plain(path, write)
        calls.append(path)
        if (step, path.suffix) in (("rows", ".parquet"), ("card", ".json")):
            os._exit(9)

    module.write_atomically = write_atomically
    store = Store(Path(folder))
    store.write(score_id(0), card_of(0, 2), table_of(0, 2))
    os._exit(9)
