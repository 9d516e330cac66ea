"""The ground floor: the nouns that models, data sets, splits and metrics share. Imports nothing else of ours."""
