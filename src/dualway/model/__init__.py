"""The model of the paper, its losses, negatives and training. Importing this package loads nothing heavy."""
