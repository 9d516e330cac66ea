"""What the neural predictors share; see `regression` and `generation` for the two ways to write one.

Modules here may import torch at their top, so a model's own module imports them inside functions, apart from the base classes.
"""
