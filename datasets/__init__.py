"""Screens, real and simulated, and how they are split. Add a line here and the registry finds a data set."""

from __future__ import annotations

#: name: (module:object, one line for people)
CATALOGUE: dict[str, tuple[str, str]] = {
    "norman-sim": ("gene_sim:NORMAN_SIM", "SIMULATED screen of singles and doubles, embedded; its noise-free truth is known."),
    "gene-sim": (
        "latent.gene_programs:GENE_SIM",
        "SIMULATED screen of counts from latent programs and cell states that are known: identification and prediction on one screen.",
    ),
    "latent-static": ("latent.static_causal:LATENT_STATIC", "SIMULATED causal model of latent variables under interventions."),
    "latent-temporal": (
        "latent.temporal:LATENT_TEMPORAL",
        "SIMULATED latent processes that perturbations redirect, beside an invariant state: paired, snapshot or endpoint.",
    ),
    "c3di-lite-static": (
        "scenes.c3di_lite:C3DI_LITE_STATIC",
        "RENDERED here: a lite stand-in of Causal3DIdent, objects under interventions on their scene.",
    ),
    "c3di-lite-temporal": (
        "scenes.c3di_lite:C3DI_LITE_TEMPORAL",
        "RENDERED here: a lite stand-in of Causal3DIdent, trajectories of scenes that perturbations redirect.",
    ),
    "causal3dident": ("scenes.causal3dident:CAUSAL3DIDENT", "Causal3DIdent, the published pictures (download)."),
    "temporal-causal3dident": (
        "scenes.temporal_causal3dident:TEMPORAL_CAUSAL3DIDENT",
        "Temporal-Causal3DIdent of CITRIS, the published sequence (download).",
    ),
    "norman-mini": ("files:NORMAN_MINI", "Norman 2019, CRISPRa, a small published subset: 18 singles, 15 doubles."),
    "mcfaline-mini": (
        "files:MCFALINE_MINI",
        "McFaline-Figueroa 2023, CRISPRi, a small published subset: 9 kinases in 3 cell lines.",
    ),
    "papalexi-mini": ("files:PAPALEXI_MINI", "Papalexi 2021, CRISPR-KO in THP-1: all cells, 299 genes."),
    "kang-mini": ("files:KANG_MINI", "Kang 2018, PBMC with and without interferon beta, 7 cell types, the file of scGen."),
    "shalek-lps": ("files:SHALEK_LPS", "Shalek 2014, dendritic cells after LPS, a time course of 1 to 6 h."),
    "kouno-pma": ("files:KOUNO_PMA", "Kouno 2013, THP-1 after PMA, 45 genes by qPCR, a time course of 0 to 96 h."),
    "norman": ("files:NORMAN", "Norman 2019, CRISPRa in K562, singles and doubles (download)."),
    "adamson": ("files:ADAMSON", "Adamson 2016, CRISPRi of the unfolded protein response in K562 (download)."),
    "replogle-k562": ("files:REPLOGLE_K562", "Replogle 2022, essential-gene CRISPRi in K562 (download)."),
    "replogle-rpe1": ("files:REPLOGLE_RPE1", "Replogle 2022, essential-gene CRISPRi in RPE1 (download)."),
    "dixit": ("files:DIXIT", "Dixit 2016, CRISPR-KO of transcription factors (download)."),
    "papalexi": ("files:PAPALEXI", "Papalexi 2021, CRISPR-KO in THP-1, all genes (download)."),
    "frangieh": ("files:FRANGIEH", "Frangieh 2021, CRISPR-KO in melanoma under three conditions (download)."),
    "sciplex3": ("files:SCIPLEX3", "Srivatsan 2020, 188 compounds at four doses in three cell lines (download)."),
    "kang": ("files:KANG", "Kang 2018, PBMC with and without interferon beta, by cell type (download)."),
    "your.h5ad": ("reader:from_h5ad", "Any screen of yours: pbench run --dataset my.h5ad --scale counts --control-label NT."),
}
