"""Small screens made by hand, and the doubles of Norman et al. 2019 as they are written in GEARS' file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from pbench.bench.contracts.screen import DatasetCard, Screen, validate

# Published facts: the 131 pairs of Norman et al. (Science 2019), each in the order in which GEARS' file writes it.
NORMAN_DOUBLES = """
AHR+FEV AHR+KLF1 BCL2L11+BAK1 BCL2L11+TGFBR2 BPGM+SAMD1 BPGM+ZBTB1 C3orf72+FOXL2 CBL+CNN1 CBL+PTPN12 CBL+PTPN9
CBL+TGFBR2 CBL+UBASH3A CBL+UBASH3B CDKN1B+CDKN1A CDKN1C+CDKN1A CDKN1C+CDKN1B CEBPB+CEBPA CEBPB+MAPK1 CEBPB+OSR2
CEBPB+PTPN12 CEBPE+CEBPA CEBPE+CEBPB CEBPE+CNN1 CEBPE+KLF1 CEBPE+PTPN12 CEBPE+RUNX1T1 CEBPE+SPI1 CNN1+MAPK1
CNN1+UBASH3A DUSP9+ETS2 DUSP9+IGDCC3 DUSP9+KLF1 DUSP9+MAPK1 DUSP9+PRTG DUSP9+SNAI1 ETS2+CEBPE ETS2+CNN1 ETS2+IGDCC3
ETS2+IKZF3 ETS2+MAP7D1 ETS2+MAPK1 ETS2+PRTG FEV+CBFA2T3 FEV+ISL2 FEV+MAP7D1 FOSB+CEBPB FOSB+CEBPE FOSB+IKZF3
FOSB+OSR2 FOSB+PTPN12 FOSB+UBASH3B FOXA1+FOXF1 FOXA1+FOXL2 FOXA1+HOXB9 FOXA3+FOXA1 FOXA3+FOXF1 FOXA3+FOXL2
FOXA3+HOXB9 FOXF1+FOXL2 FOXF1+HOXB9 FOXL2+HOXB9 FOXL2+MEIS1 IGDCC3+MAPK1 IGDCC3+PRTG IGDCC3+ZBTB25 IRF1+SET
JUN+CEBPA JUN+CEBPB KIF18B+KIF2C KLF1+BAK1 KLF1+CEBPA KLF1+CLDN6 KLF1+COL2A1 KLF1+FOXA1 KLF1+MAP2K6 KLF1+TGFBR2
LHX1+ELMSAN1 LYL1+CEBPB LYL1+IER5L MAP2K3+ELMSAN1 MAP2K3+IKZF3 MAP2K3+MAP2K6 MAP2K3+SLC38A2 MAP2K6+ELMSAN1
MAP2K6+IKZF3 MAP2K6+SPI1 MAPK1+IKZF3 MAPK1+PRTG MAPK1+TGFBR2 PLK4+STIL POU3F2+CBFA2T3 POU3F2+FOXL2 PRDM1+CBFA2T3
PTPN12+OSR2 PTPN12+PTPN9 PTPN12+SNAI1 PTPN12+UBASH3A PTPN12+ZBTB25 RHOXF2BB+SET RHOXF2BB+ZBTB25 SAMD1+PTPN12
SAMD1+TGFBR2 SAMD1+UBASH3B SAMD1+ZBTB1 SET+CEBPE SET+KLF1 SGK1+S1PR2 SGK1+TBX2 SGK1+TBX3 SNAI1+DLX2 SNAI1+UBASH3B
TBX3+TBX2 TGFBR2+C19orf26 TGFBR2+ETS2 TGFBR2+IGDCC3 TGFBR2+PRTG TMSB4X+BAK1 UBASH3B+CNN1 UBASH3B+OSR2
UBASH3B+PTPN12 UBASH3B+PTPN9 UBASH3B+UBASH3A UBASH3B+ZBTB25 ZBTB10+DLX2 ZBTB10+ELMSAN1 ZBTB10+PTPN12 ZBTB10+SNAI1
ZC3HAV1+CEBPA ZC3HAV1+CEBPE ZC3HAV1+HOXC13 ZNF318+FOXL2
""".split()
# The genes that were perturbed alone and are in no pair.
NORMAN_SINGLES_ONLY = """
ARID1A ARRDC3 ATL1 BCORL1 CELF2 CITED1 CKS1B CNNM4 COL1A1 CSRNP1 EGR1 FOXO4 GLB1L2 HES7 HK2 HNF4A HOXA13 KIAA1804
KMT2A MAML2 MAP4K3 MAP4K5 MIDN NCL NIT1 PTPN1 PTPN13 RREB1 SLC4A1 SLC6A9 TP73 TSC22D1
""".split()


def _make_screen(groups, *, n_cells=12, n_genes=40, seed=0, shuffle=None, name="toy", **card):
    """A screen with `n_cells` cells of each group; a group is a label or a dict of obs columns and optionally ``n``."""
    rows = []
    for group in groups:
        group = {"perturbation": group} if isinstance(group, str) else dict(group)
        rows += [group] * group.pop("n", n_cells)
    obs = pd.DataFrame(rows, index=[f"cell{i}" for i in range(len(rows))])
    X = np.random.default_rng(seed).gamma(2.0, 0.5, size=(len(rows), n_genes)).astype(np.float32)
    order = np.arange(len(rows)) if shuffle is None else np.random.default_rng(shuffle).permutation(len(rows))
    genes = np.arange(n_genes) if shuffle is None else np.random.default_rng(shuffle).permutation(n_genes)
    var = pd.DataFrame(index=[f"g{i}" for i in genes])
    adata = AnnData(sparse.csr_matrix(X[order][:, genes]), obs=obs.iloc[order], var=var)
    fields = {"title": "", "source": "", "licence": "", "scale": "log1p_1e4", "control_label": "control"}
    return validate(Screen(adata, DatasetCard(name=name, **fields, **card)), source=name)


@pytest.fixture(scope="session")
def make_screen():
    return _make_screen


@pytest.fixture(scope="session")
def norman_doubles():
    return list(NORMAN_DOUBLES)


@pytest.fixture(scope="session")
def norman_screen(make_screen):
    """A function that makes a screen with Norman's singles and the given pairs, one cell each."""

    def make(pairs, **options):
        singles = sorted({g for p in NORMAN_DOUBLES for g in p.split("+")} | set(NORMAN_SINGLES_ONLY))
        labels = ["+".join(sorted(p.split("+"))) for p in pairs]
        return make_screen(["control", *singles, *labels], n_cells=1, **options)

    return make


@pytest.fixture(scope="session")
def rich_groups():
    """Two cell lines with singles, doubles and a triple; two drugs with doses; two times."""
    groups = []
    for context in ("K562", "RPE1", "A549"):
        groups.append({"perturbation": "control", "context": context})
        groups += [{"perturbation": g, "context": context} for g in "ABCDEFGHIJ"]
        groups += [{"perturbation": p, "context": context} for p in ("A+B", "A+C", "B+C", "D+E", "F+G", "I+J")]
    return [*groups, {"perturbation": "A+B+C", "context": "K562"}, {"perturbation": "H+I", "context": "K562", "n": 3}]


@pytest.fixture(scope="session")
def rich(make_screen, rich_groups):
    return make_screen(rich_groups)


@pytest.fixture(scope="session")
def timed(make_screen):
    groups = [{"perturbation": d, "time": t} for d in ("LPS", "PAM") for t in (1.0, 2.0, 4.0, 6.0)]
    return make_screen(["control", *groups, {"perturbation": "PIC", "time": 6.0}])


@pytest.fixture(scope="session")
def dosed(make_screen):
    groups = [{"perturbation": "drug", "dose": d} for d in ("1", "10", "100")]
    groups += [{"perturbation": "slow", "dose": "10"}, {"perturbation": "drug+slow", "dose": "1+10"}]
    return make_screen([{"perturbation": "control", "dose": ""}, *groups])
