"""Sweeps: searches for good parameters by Optuna, whose trials are runs. Optuna is an extra: `tinymlops[sweeps]`.

The runs are all that is stored. Before each trial a process makes an Optuna study of them in memory, so that a study is
in every backup, is as safe as any run, and is worked on by as many processes as there are.
"""
