"""The predictors. One file a model; add a line here and the registry finds it without importing it."""

from __future__ import annotations

#: name: (module:class, one line for people), and the group of those that ``all`` leaves out
CATALOGUE: dict[str, tuple[str, ...]] = {
    "no-change": ("no_change:NoChange", "Predicts that nothing happens: the control mean of the context."),
    "train-mean": ("train_mean:TrainMean", "Gives every query the mean change of all training perturbations."),
    "train-mean-cells": ("train_mean:TrainMeanCells", "Gives every query the mean change of all perturbed training cells."),
    "shifted-controls": (
        "shifted_controls:ShiftedControls",
        "Moves control cells by the mean change of training perturbations with as many targets.",
    ),
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
    "mlp-pca": ("embedding_mlp:MlpPca", "Perceptron from gene loadings of the targets to the change."),
    "mlp-go": ("embedding_mlp:MlpGo", "Perceptron from Gene Ontology features of the targets to the change."),
    "linear-additive": ("linear_additive:LinearAdditive", "Adds a learned vector for each target to control cells."),
    "latent-additive": (
        "latent_additive:LatentAdditive",
        "Adds codes of a control cell and of the targets up in a latent space, and decodes the sum.",
    ),
    "decoder-only": ("decoder_only:DecoderOnly", "Decodes the targets to expression and never looks at a control cell."),
    "scgen": ("scgen:ScGen", "Moves codes of control cells by the arrow that the perturbation makes in latent space."),
    "gears": (
        "gears:Gears",
        "Graph network over genes and their Gene Ontology neighbours that gives the shift of every gene.",
    ),
    "gears-coexpression": (
        "gears:GearsCoexpression",
        "GEARS-style on a co-expression graph (or a random one) instead of the ontology.",
    ),
    "cpa": (
        "cpa:Cpa",
        "Adds targets and context to a basal state that classifiers keep free of both, and decodes the sum.",
    ),
    "cpa-no-adversary": ("cpa:CpaNoAdversary", "CPA without the classifiers that keep perturbations out of the basal state."),
    "sams-vae": (
        "sams_vae:SamsVae",
        "Adds sparse latent shifts of the targets to the basal state of a control cell, and decodes the sum.",
    ),
    "svae-plus": ("svae_plus:SvaePlus", "Learns which latents each target shifts the prior of, and decodes draws of that prior."),
    "discrepancy-vae": (
        "discrepancy_vae:DiscrepancyVAE",
        "Shifts single variables of a learned latent graph until control cells look like perturbed ones.",
    ),
    "perturbed-vae": (
        "perturbed_vae:PerturbedVAE",
        "Moves one part of a latent space by a causal model of the perturbation, and leaves the rest as in control cells.",
    ),
    "cite-vae": (
        "cite_vae:CiteVAE",
        "An invariant state and programs that a perturbation sends on a course: latent causal dynamics (independent reconstruction).",
    ),
    "tdrl": (
        "encoders.tdrl:Tdrl",
        "Latent processes from sequences, whose next values depend on the last ones one by one (TDRL-style).",
        "encoders",
    ),
    "ivae": ("encoders.ivae:IVAE", "Identifiable VAE: the prior of the codes follows from the condition.", "encoders"),
    "beta-vae": ("encoders.beta_vae:BetaVAE", "Variational autoencoder that pays more for its codes.", "encoders"),
    "ica": ("encoders.components:Ica", "Independent components of the cells (FastICA).", "encoders"),
    "pca": ("encoders.components:Pca", "Principal components of the cells.", "encoders"),
    "untrained-code": ("encoders.untrained:UntrainedCode", "Control: an encoder that nobody has trained.", "encoders"),
    "label-code": ("encoders.references:LabelCode", "Reference: what was done to a cell, and nothing of the cell.", "encoders"),
    "noise-code": ("encoders.references:NoiseCode", "Reference: codes of pure noise.", "encoders"),
    "rotated-code": (
        "encoders.references:RotatedCode",
        "Reference: the true latent variables, turned at random: everything kept, nothing disentangled.",
        "encoders",
    ),
    "oracle-code": ("encoders.references:OracleCode", "Reference: the true latent variables.", "encoders"),
    "gaming-tiny-noise": (
        "gaming:TinyNoise",
        "Adversary: the train mean with a little noise, so that no two answers are equal.",
        "gaming",
    ),
    "gaming-scaled-up": ("gaming:ScaledUp", "Adversary: five times the mean training change.", "gaming"),
    "gaming-scaled-down": ("gaming:ScaledDown", "Adversary: a tenth of the mean training change.", "gaming"),
    "gaming-typical-size": ("gaming:TypicalSize", "Adversary: the mean training change, as long as a single one is.", "gaming"),
    "gaming-random-size": ("gaming:RandomSize", "Adversary: the mean training change times a random factor.", "gaming"),
    "gaming-sign-only": (
        "gaming:SignOnly",
        "Adversary: the signs of the mean training change, one amount for all genes.",
        "gaming",
    ),
    "gaming-selected-genes": (
        "gaming:SelectedGenes",
        "Adversary: each gene's mean change where it is among the most changed genes.",
        "gaming",
    ),
    "gaming-random-copy": ("gaming:RandomCopy", "Adversary: the change of a training condition drawn by hash.", "gaming"),
    "gaming-hub": ("gaming:Hub", "Adversary: the training change that is most similar to all others.", "gaming"),
    "gaming-sorted-genes": (
        "gaming_profiles:SortedGenes",
        "Adversary: the train-mean profile with its values in the wrong gene order.",
        "gaming",
    ),
    "gaming-count-scale": (
        "gaming_profiles:CountScale",
        "Adversary: the train-mean profile as counts that are declared to be logarithms.",
        "gaming",
    ),
    "gaming-mixed-scale": (
        "gaming_profiles:MixedScale",
        "Adversary: counts declared to be logarithms for half of the conditions.",
        "gaming",
    ),
    "gaming-extra-log": ("gaming_profiles:ExtraLog", "Adversary: the train-mean profile with one logarithm too many.", "gaming"),
    "gaming-edited-control": (
        "gaming:EditedControl",
        "Adversary: the train mean with a control of its own, which nothing reads.",
        "gaming",
    ),
    "gaming-constant-cells": (
        "gaming_cells:ConstantCells",
        "Adversary: the train mean repeated as cells without variance.",
        "gaming",
    ),
    "gaming-inflated-variance": (
        "gaming_cells:InflatedVariance",
        "Adversary: control cells at the train mean, their deviations tripled.",
        "gaming",
    ),
    "gaming-duplicated-cells": (
        "gaming_cells:DuplicatedCells",
        "Adversary: five control cells at the train mean, a hundred copies of each.",
        "gaming",
    ),
    "gaming-many-cells": (
        "gaming_cells:ManyCells",
        "Adversary: two thousand cells drawn from control cells at the train mean.",
        "gaming",
    ),
    "gaming-two-far-cells": ("gaming_cells:TwoFarCells", "Adversary: two cells, silence and twice the train mean.", "gaming"),
    "gaming-noise-cells": (
        "gaming_cells:NoiseCells",
        "Adversary: normal noise of control variance around the train mean.",
        "gaming",
    ),
    "gaming-count-cells": (
        "gaming_cells:CountCells",
        "Adversary: cells at the train mean as counts that are declared to be logarithms.",
        "gaming",
    ),
    "gaming-extra-log-cells": (
        "gaming_cells:ExtraLogCells",
        "Adversary: control cells at the train mean with one logarithm too many.",
        "gaming",
    ),
    "gears-official": (
        "official.gears_official:GearsOfficial",
        "The authors' cell-gears, in an environment of yours (docs/official.md).",
        "official",
    ),
    "cpa-official": (
        "official.cpa_official:CpaOfficial",
        "The authors' cpa-tools, in an environment of yours (docs/official.md).",
        "official",
    ),
    "scgen-official": (
        "official.scgen_official:ScgenOfficial",
        "The authors' scgen, in an environment of yours (docs/official.md).",
        "official",
    ),
    "biolord-official": (
        "official.biolord_official:BiolordOfficial",
        "The authors' biolord, in an environment of yours (docs/official.md).",
        "official",
    ),
    "submission": ("submission:Submission", "Predictions in a file of yours: pbench score FILE --truth DATASET.", "submission"),
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

#: suffix: (module:function that makes another model of a model, one sentence); ``cpa+anchor`` is a row of its own.
VARIANTS: dict[str, tuple[str, str]] = {
    "anchor": ("anchor:anchored", "Combinations are anchored on the training singles: the model supplies the interaction only."),
}
