"""The predictors. One file a model; add a line here and the registry finds it without importing it."""

from __future__ import annotations

#: name: (module:class, one line for people)
CATALOGUE: dict[str, tuple[str, str]] = {
    "no-change": ("no_change:NoChange", "Predicts that nothing happens: the control mean of the context."),
    "train-mean": ("train_mean:TrainMean", "Gives every query the mean change of all training perturbations."),
    "train-mean-cells": ("train_mean:TrainMeanCells", "Gives every query the mean change of all perturbed training cells."),
    "context-mean": ("context_mean:ContextMean", "Gives every query the mean training change in its own context."),
    "matching-mean": (
        "matching_mean:MatchingMean",
        "Averages the training singles of the targets; the train mean replaces unseen ones.",
    ),
    "additive": ("additive:Additive", "Adds up the changes of the training singles of all targets."),
    "nearest": ("nearest:Nearest", "Copies the change of the most similar training condition, dose and time."),
    "bilinear-ridge": (
        "bilinear_ridge:BilinearRidge",
        "Linear map from gene loadings of the targets to gene loadings of the response.",
    ),
    "bilinear-ridge-external": (
        "bilinear_ridge_external:BilinearRidgeExternal",
        "Linear map from an external embedding of the targets to gene loadings of the response.",
    ),
    "ridge-pca": ("feature_regression:RidgePca", "Ridge regression of the change on gene loadings of the targets."),
    "knn-pca": (
        "feature_regression:KnnPca",
        "Mean change of the training perturbations whose targets have the nearest gene loadings.",
    ),
    "forest-pca": ("feature_regression:ForestPca", "Random forest from gene loadings of the targets to the change."),
    "ridge-go": ("feature_regression:RidgeGo", "Ridge regression of the change on Gene Ontology features of the targets."),
    "knn-go": (
        "feature_regression:KnnGo",
        "Mean change of the training perturbations whose targets have the nearest Gene Ontology features.",
    ),
    "forest-go": ("feature_regression:ForestGo", "Random forest from Gene Ontology features of the targets to the change."),
    "oracle-mean": ("references:OracleMean", "Reference: the true mean of the test cells."),
    "noise-free": ("references:NoiseFree", "Reference: the true profile without sampling noise, on simulated screens only."),
    "technical-duplicate": ("references:TechnicalDuplicate", "Reference: half of the test cells predicts the other half."),
    "interpolated-duplicate": (
        "references:InterpolatedDuplicate",
        "Reference: half of the test cells where a gene clearly changes, the train mean where it does not.",
    ),
    "oracle-sampler": ("references:OracleSampler", "Reference: a bootstrap of the test cells themselves."),
    "shuffled": ("references:Shuffled", "Reference: the true profiles of the test conditions, attached to the wrong ones."),
}
