"""The split by units: a unit is wholly on one side, and neither order nor other perturbations matter."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.engine.audit import audit
from pbench.datasets.splits.units import units


def split(screen, **params):
    params.setdefault("min_cells", 1)
    (manifest,) = units(screen, data_id="0" * 64, **params)
    return manifest


def sides(screen, manifest):
    """Unit to the sides on which its cells are: 'test', 'train', or 'neither' for those of excluded conditions."""
    found = defaultdict(set)
    chosen = set(manifest.test_cells)
    for barcode, code, unit in zip(screen.barcodes, screen.codes, screen.adata.obs["unit"], strict=True):
        condition = screen.conditions[code]
        excluded = not condition.is_control and manifest.roles[condition] == "excluded"
        found[unit].add("test" if barcode in chosen else "neither" if excluded else "train")
    return found


@pytest.fixture(scope="module")
def paired(make_screen):
    groups = [
        {"perturbation": p, "unit": f"{p}:{u}", "time": float(t), "n": 1}
        for p in ("control", "A", "B", "A+B")
        for u in range(20)
        for t in range(3)
    ]
    return make_screen(groups)


def test_a_share_of_the_units_of_every_perturbation_is_held_out_with_all_cells(paired):
    manifest = split(paired)
    found = sides(paired, manifest)
    assert {frozenset(s) for s in found.values()} == {frozenset({"test"}), frozenset({"train"})}
    for p in ("control", "A", "B", "A+B"):
        held_out = {u for u, s in found.items() if u.split(":")[0] == p and s == {"test"}}
        # Twenty units, .35 of them, those with the smallest hashes.
        own = sorted((f"{p}:{u}" for u in range(20)), key=lambda u: hashlib.sha256(f"0:{u}".encode()).hexdigest())
        assert held_out == set(own[:7])
    assert set(manifest.roles.values()) == {"test"} and len(manifest.test_cells) == 4 * 7 * 3
    assert manifest.declared["level"] == "units"
    assert manifest.params == {"seed": 0}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["control", "A", "B", "A+B"]), st.integers(0, 9), st.integers(0, 3)),
        min_size=20,
        max_size=80,
        unique=True,
    ),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
    st.integers(1, 6),
)
def test_no_unit_is_on_both_sides(make_screen, rows, fraction, seed, min_cells):
    """Units may be seen under several perturbations, and conditions may be too small to be scored."""
    every = [("control", 100 + i, 0) for i in range(3)] + [("A", 110 + i, 0) for i in range(6)] + rows
    groups = [{"perturbation": p, "unit": f"u{u}", "time": float(t), "n": 1} for p, u, t in every]
    screen = make_screen(groups)
    try:
        manifest = split(screen, fraction=fraction, seed=seed, min_cells=min_cells)
    except DataError as error:
        assert "no fold" in str(error)
        return
    for found in sides(screen, manifest).values():
        assert found not in ({"test", "train"}, {"test", "train", "neither"})
    control = {b for b, c in zip(screen.barcodes, screen.codes, strict=True) if screen.conditions[c].is_control}
    assert control - set(manifest.test_cells), "no control cell is left for training"


def test_order_of_cells_and_other_perturbations_do_not_matter(make_screen):
    groups = [{"perturbation": p, "unit": f"{p}{u}", "n": 2} for p in ("control", "A", "B") for u in range(15)]
    plain, shuffled = make_screen(groups), make_screen(groups, shuffle=3)
    assert split(plain).id == split(shuffled).id
    fewer = make_screen([g for g in groups if g["perturbation"] != "B"])
    assert set(split(fewer).test_cells) < set(split(plain).test_cells)
    assert split(plain).test_cells != split(plain, seed=1).test_cells


def test_contexts_are_strata_of_their_own(make_screen):
    groups = [
        {"perturbation": p, "context": c, "unit": f"{p}{c}{u}", "n": 1}
        for p in ("control", "A")
        for c in ("x", "y")
        for u in range(20)
    ]
    screen = make_screen(groups)
    chosen = screen.adata.obs.loc[list(split(screen).test_cells)]
    assert chosen.groupby(["perturbation", "context"], observed=True).size().tolist() == [7, 7, 7, 7]


def test_cells_are_units_where_a_screen_has_none(make_screen):
    screen = make_screen(["control", "A", "B"], n_cells=40)
    manifest = split(screen)
    counts = screen.adata.obs.loc[list(manifest.test_cells)].groupby("perturbation", observed=True).size()
    assert counts.to_dict() == {"control": 14, "A": 14, "B": 14}


def test_conditions_with_too_few_held_out_cells_are_excluded(make_screen):
    groups = [
        {"perturbation": p, "unit": f"{p}{u}", "n": 1} for p, n in (("control", 40), ("A", 40), ("B", 20)) for u in range(n)
    ]
    screen = make_screen(groups)
    manifest = split(screen, min_cells=8)
    assert {c.label: r for c, r in manifest.roles.items()} == {"A": "test", "B": "excluded"}
    assert set(manifest.reasons.values()) == {"too_few_cells"}
    labels = set(screen.adata.obs.loc[list(manifest.test_cells), "perturbation"])
    assert labels == {"A", "control"}


def test_what_cannot_be_divided_is_refused(make_screen):
    screen = make_screen(["control", "A"], n_cells=40)
    with pytest.raises(UsageError, match="fraction=0 holds out no unit"):
        split(screen, fraction=0.0)
    with pytest.raises(UsageError, match="no fraction"):
        split(screen, fraction=1.0)
    adata = screen.adata.copy()
    adata.obs["unit"] = [f"u{i}" if i else np.nan for i in range(adata.n_obs)]
    with pytest.raises(DataError, match=r"obs\['unit'\] of data set 'toy' lacks 1"):
        split(type(screen)(adata, screen.card))


def test_units_that_meet_perturbations_of_their_own_are_one_stratum(make_screen):
    """One long sequence cut into pieces: nearly every piece has another set of perturbations, and a third is held out all the same."""
    rng = np.random.default_rng(0)
    groups = [
        {"perturbation": str(rng.choice(["control", "A", "B", "C", "D"])), "unit": f"u{u:03d}", "time": float(t), "n": 1}
        for u in range(90)
        for t in range(4)
    ]
    screen = make_screen(groups)
    found = sides(screen, split(screen))
    assert all(len(s) == 1 for s in found.values())
    assert 0.25 < np.mean([s == {"test"} for s in found.values()]) < 0.45


def test_the_audit_finds_a_unit_on_both_sides(paired):
    manifest = split(paired)
    verdicts = {f.name: f.status for f in audit(manifest, paired)}
    assert verdicts["divided units"] == "pass" and verdicts["canonical labels"] == "warn"
    one_less = replace(manifest, test_cells=manifest.test_cells[1:])
    (found,) = [f for f in audit(one_less, paired) if f.name == "divided units"]
    assert found.status == "fail" and found.detail.startswith("1 units")
