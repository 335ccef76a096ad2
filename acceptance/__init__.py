"""Every promised figure in full, resumable; `make acceptance` writes dated results under docs/results/."""
