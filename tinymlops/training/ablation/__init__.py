"""Ablation: what each view, feature or variant adds, measured by leaving it out on one frozen training set."""
