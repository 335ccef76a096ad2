"""One file a table or a figure: run them with python -m experiments.NAME."""
