"""The GEARS split against a restatement on GEARS' own labels, which itself reproduces the published subgroup sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pbench.datasets.splits.gears import gears_simulation

# Genes that GEARS' file perturbs alone in both spellings, "A+ctrl" and "ctrl+A"; SLC38A2 only has the second.
BOTH_SPELLINGS = """
BAK1 C19orf26 CBFA2T3 CDKN1A CDKN1B CEBPA CEBPB CEBPE CLDN6 CNN1 COL2A1 DLX2 ELMSAN1 ETS2 FEV FOXA1 FOXF1 FOXL2 HOXB9
HOXC13 IER5L IGDCC3 IKZF3 ISL2 KIF2C KLF1 MAP2K6 MAP7D1 MAPK1 MEIS1 OSR2 PRTG PTPN12 PTPN9 RUNX1T1 SAMD1 SET SNAI1 SPI1
STIL TBX2 TBX3 TGFBR2 UBASH3A UBASH3B ZBTB1 ZBTB25
""".split()
# Sizes that GEARS' tutorials and others report: combo_seen0, combo_seen1, combo_seen2, unseen_single.
FILTERED = {1: (9, 43, 19, 36), 2: (12, 52, 16, 37), 3: (4, 51, 19, 35), 4: (4, 52, 18, 37), 5: (3, 56, 18, 40)}
UNFILTERED = {1: (9, 52, 18, 37)}
NOT_IN_GENE2GO = {"RHOXF2BB", "IER5L", "KIAA1804"}
LABELS = ("combo_seen0", "combo_seen1", "combo_seen2", "unseen_single")


def restated(labels, gene_share, pair_share, seed):
    """One draw on labels as strings: (training labels, subgroup of every other label)."""
    genes = np.unique([g for label in labels for g in label.split("+") if g != "ctrl"])
    np.random.seed(seed)
    seen = np.random.choice(genes, int(len(genes) * gene_share), replace=False)
    group = {}
    for label in labels:
        known = np.isin([g for g in label.split("+") if g != "ctrl"], seen)
        if "ctrl" in label and not known.all():
            group[label] = "unseen_single"
        elif "ctrl" not in label and known.sum() < 2:
            group[label] = f"combo_seen{known.sum()}"
    pairs = np.unique([label for label in labels if "ctrl" not in label and label not in group])
    np.random.seed(seed)
    kept = np.random.choice(pairs, int(len(pairs) * pair_share), replace=False)
    group.update(dict.fromkeys(np.setdiff1d(pairs, kept), "combo_seen2"))
    return [label for label in labels if label not in group], group


@pytest.fixture(scope="module")
def whole(norman_screen, norman_doubles):
    return norman_screen(norman_doubles)


@pytest.fixture(scope="module")
def file_labels(whole, norman_doubles):
    genes = [c.targets[0] for c in whole.perturbed if len(c.targets) == 1]
    singles = [f"{g}+ctrl" for g in genes if g != "SLC38A2"] + [f"ctrl+{g}" for g in (*BOTH_SPELLINGS, "SLC38A2")]
    return singles + norman_doubles


def test_the_restatement_reproduces_the_published_sizes(file_labels):
    filtered = [label for label in file_labels if not NOT_IN_GENE2GO & set(label.split("+"))]
    assert (len(file_labels), len(filtered)) == (283, 276)  # and the control: 284 and 277
    for published, labels in ((FILTERED, filtered), (UNFILTERED, file_labels)):
        for seed, sizes in published.items():
            count = Counter(restated(labels, 0.75, 0.75, seed)[1].values())
            assert tuple(count[name] for name in LABELS) == sizes


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_doubles_agree_with_the_published_sizes(whole, file_labels, seed):
    (m,) = gears_simulation(whole, data_id="0", seed=seed, min_cells=1)
    ours = Counter(m.subgroups[c]["gears"] for c in m.with_role("test"))
    theirs = restated(file_labels, 0.75, 0.75, seed)[1]
    for name in LABELS[:3]:
        assert ours[name] == sum(group == name for group in theirs.values())
    # Here a gene is one condition whichever way its label was written.
    assert ours["unseen_single"] == len({label.replace("ctrl", "").strip("+") for label, g in theirs.items() if g == LABELS[3]})


@pytest.mark.parametrize(("seed", "a", "b"), [(1, 0.75, 0.75), (2, 0.75, 0.75), (7, 0.5, 0.6)])
def test_roles_equal_the_restatement_on_canonical_labels(whole, seed, a, b):
    labels = ["+".join(c.targets) if len(c.targets) == 2 else f"{c.targets[0]}+ctrl" for c in whole.perturbed]
    train, test = restated(labels, a, b, seed)
    train, validation = restated(train, 0.9, 0.9, seed)
    (m,) = gears_simulation(whole, data_id="0", seed=seed, train_gene_set_size=a, combo_seen2_train_frac=b, min_cells=1)
    for label, condition in zip(labels, whole.perturbed, strict=True):
        assert m.roles[condition] == ("test" if label in test else "validation" if label in validation else "train")
        if label in test:
            assert m.subgroups[condition]["gears"] == test[label]
    assert len(train) == len(m.with_role("train"))


def test_gears_label_and_the_training_list_disagree(whole):
    """Seed 1: some pairs called combo_seen2 have a member that validation took out of training."""
    (m,) = gears_simulation(whole, data_id="0", min_cells=1)
    singles = {c.targets[0] for c in m.with_role("train") if len(c.targets) == 1}
    seen2 = [c for c in m.with_role("test") if m.subgroups[c]["gears"] == "combo_seen2"]
    lost = [c for c in seen2 if not set(c.targets) <= singles]
    assert lost and {m.subgroups[c]["seen_k"] for c in lost} <= {"0", "1"}
    assert all(m.subgroups[c]["seen_k"] == "2" for c in seen2 if c not in lost)
