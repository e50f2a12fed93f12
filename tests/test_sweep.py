"""`ws.sweep`: trials by Optuna are runs; pruned, failed and killed ones are told; several processes work on one sweep."""

import json
import multiprocessing
import os
import signal
import sys

import optuna
import pytest

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, MissingDependencyError


def bowl(trial):
    x = trial.suggest_float("x", -10, 10)
    kind = trial.suggest_categorical("kind", ["near", "far", None, 3])
    return (x - 2) ** 2 + (0 if kind == "near" else 1)


def test_the_trials_are_runs_with_their_parameters(workspace):
    found = workspace.sweep(bowl, name="bowl", trials=12, metric="loss", experiment="tuning")
    assert (found.metric, found.goal, len(found.trials)) == ("loss", "min", 12)
    assert [trial.number for trial in sorted(found.trials, key=lambda one: one.number)] == list(range(12))
    assert found.values == sorted(found.values)
    assert found.best.value == found.values[0] == bowl(optuna.trial.FixedTrial(found.best.params))
    run = workspace.runs.get(found.best.run)
    assert (run.parent, run.group, run.status) == (found.run, "bowl", "finished")
    assert (run.params, run.metrics) == (found.best.params, {"loss": found.best.value})
    parent = workspace.runs.get(found.run)
    assert (parent.name, parent.status) == ("bowl", "finished")
    assert parent.metrics == {"loss": found.best.value}
    assert parent.experiment == run.experiment != 0
    frame = found.to_frame()
    assert frame.columns == ["number", "run", "state", "loss", "params.kind", "params.x"]
    assert frame["loss"].to_list() == found.values
    assert repr(found).startswith("sweep bowl: 12 finished; loss, least first")
    assert "and 2 more" in repr(found)
    assert "<table>" in found._repr_html_()


def test_the_same_seed_draws_the_same_and_goes_on(tmp_path):
    values = []
    for name in ("a", "b"):
        with tm.connect(tmp_path / f"{name}.tm", create=True) as ws:
            values.append([trial.params for trial in ws.sweep(bowl, name="bowl", trials=6, goal="min").trials])
            again = ws.sweep(bowl, name="bowl", trials=6, goal="min")
            assert [trial.params for trial in again.trials] == values[-1]
            assert len(ws.sweep(bowl, name="bowl", trials=8, goal="min").trials) == 8
            assert len(ws.runs.children(again.run)) == 8
    assert values[0] == values[1]


def test_optuna_knows_all_that_was_tried_before(workspace):
    seen = []

    def objective(trial):
        others = trial.study.get_trials(deepcopy=False)[: trial.number]
        seen.append([(one.state.name, dict(one.params), one.value, dict(one.intermediate_values)) for one in others])
        x = trial.suggest_int("x", 0, 1000)
        y = trial.suggest_float("y", 1e-3, 1.0, log=True)
        trial.report(float(x), 3)
        if trial.number == 1:
            raise optuna.TrialPruned
        return x * y

    found = workspace.sweep(objective, name="known", trials=3)
    first, second, third = sorted(found.trials, key=lambda one: one.number)
    assert seen[0] == []
    assert seen[1] == [("COMPLETE", first.params, first.value, {3: float(first.params["x"])})]
    assert seen[2] == [*seen[1], ("PRUNED", second.params, float(second.params["x"]), {3: float(second.params["x"])})]
    assert (second.state, second.value, third.state) == ("pruned", None, "finished")
    assert workspace.runs.points(second.run, "score/reported").steps.tolist() == [3.0]
    workspace.sweep(objective, name="known", trials=4)  # from the stored runs alone
    assert seen[3][:2] == seen[2]


def test_a_pruner_gives_up_what_is_worse_than_the_others(workspace):
    def objective(trial):
        level = trial.number
        for step in range(5):
            trial.report(level + step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return level

    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    found = workspace.sweep(objective, name="pruned", trials=4, metric="loss", pruner=pruner)
    assert {trial.number: trial.state for trial in found.trials} == {
        0: "finished",
        1: "finished",
        2: "pruned",
        3: "pruned",
    }
    assert workspace.runs.points(found.trials[-1].run, "loss/reported").steps.tolist() == [0.0, 1.0]


def test_every_sampler_finds_what_it_noted(workspace):
    grid = optuna.samplers.GridSampler({"a": [1, 2], "b": [3, 4]}, seed=1)

    def objective(trial):
        return trial.suggest_int("a", 0, 9) * trial.suggest_int("b", 0, 9)

    found = workspace.sweep(objective, name="grid", trials=4, sampler=grid)
    assert sorted(found.values) == [3.0, 4.0, 6.0, 8.0]


def test_a_trial_that_fails_is_told_and_the_sweep_goes_on(workspace):
    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        if trial.number == 1:
            raise ValueError("no luck")
        return {0: x, 2: None, 3: float("nan"), 4: [x, x], 5: "1.5"}[trial.number]

    found = workspace.sweep(objective, name="failing", trials=6)
    said = {trial.number: (trial.state, trial.error) for trial in found.trials}
    assert said[0] == ("finished", None)
    assert said[1] == ("failed", "ValueError: no luck")
    assert "returned None, not a number" in said[2][1]
    assert "returned nan" in said[3][1]
    assert "not a number" in said[4][1]
    assert said[5] == ("finished", None)
    assert found.trials[-1].state == "failed"
    assert "x" in found.trials[-1].params

    def hopeless(trial):
        raise ValueError("never")

    nothing = workspace.sweep(hopeless, name="hopeless", trials=2)
    with pytest.raises(DataError, match="no trial of sweep 'hopeless' has finished: ValueError: never"):
        print(nothing.best)


def test_an_object_cannot_be_a_parameter(workspace):
    def objective(trial):
        return len(str(trial.suggest_categorical("what", [(1, 2)])))

    with pytest.warns(UserWarning, match="Choices for a categorical distribution"):
        found = workspace.sweep(objective, name="objects", trials=1)
    assert "parameter 'what' is (1, 2), which a run cannot log" in found.trials[0].error


def test_an_objective_may_log_to_its_run(workspace):
    def objective(trial, run):
        run.log_metrics(epoch=1.0)
        run.log_artifact("note.txt", b"text")
        trial.set_user_attr("checked", True)
        return trial.suggest_float("x", 0, 1)

    found = workspace.sweep(objective, name="logging", trials=1)
    run = workspace.runs.get(found.best.run)
    assert run.metrics["epoch"] == 1.0
    assert run.tags["checked"] == "True"
    assert workspace.runs.read_artifact(run.id, "note.txt") == b"text"


def test_an_interrupt_ends_the_sweep_and_the_trial_is_tried_again(workspace):
    ready = []

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        if not ready and trial.number == 2:
            ready.append(True)
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        workspace.sweep(objective, name="interrupted", trials=4)
    found = workspace.sweep(objective, name="interrupted", trials=4)
    states = sorted(trial.state for trial in found.trials)
    assert states == ["finished"] * 4 + ["killed"]


def test_another_objective_needs_another_name(workspace):
    workspace.sweep(bowl, name="bowl", trials=1)
    with pytest.raises(
        ConflictError, match="was begun otherwise: objective 'bowl' is now .*, the code of the objective"
    ):
        workspace.sweep(lambda trial: 1.0, name="bowl", trials=2)
    with pytest.raises(ConflictError, match="metric 'score' is now 'loss', goal 'max' is now 'min'"):
        workspace.sweep(bowl, name="bowl", trials=2, metric="loss")
    workspace.sweep(bowl, name="bowl", trials=1, metric="loss", experiment="another")


def test_a_sweep_in_the_trash_makes_room_for_another(workspace):
    first = workspace.sweep(bowl, name="bowl", trials=2)
    workspace.runs.trash(first.trials[0].run)
    assert len(workspace.sweep(bowl, name="bowl", trials=2).trials) == 2
    workspace.runs.trash(first.run)
    second = workspace.sweep(bowl, name="bowl", trials=1)
    assert second.run != first.run
    workspace.runs.delete(second.trials[0].run)
    workspace.runs.delete(second.run)
    third = workspace.sweep(bowl, name="bowl", trials=1)
    assert (third.run, len(third.trials)) == (second.run, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"trials": 0},
        {"trials": 1.5},
        {"goal": "less"},
        {"seed": -1},
        {"objective": "bowl"},
        {"sampler": "tpe"},
        {"pruner": bowl},
    ],
)
def test_what_makes_no_sense_is_refused(workspace, options):
    objective = options.pop("objective", bowl)
    with pytest.raises(DefinitionError, match="is not"):
        workspace.sweep(objective, **{"name": "bowl", "trials": 1, **options})
    with pytest.raises(DataError, match="a metric's name cannot be"):
        workspace.sweep(bowl, name="bowl", trials=1, metric='"')
    with pytest.raises(DataError, match="a run's name cannot be"):
        workspace.sweep(bowl, name="", trials=1)


def test_without_optuna_it_says_what_to_install(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError) as info:
        workspace.sweep(bowl, name="bowl", trials=1)
    assert info.value.hint == "pip install 'tinymlops[sweeps]'"


def work(path, trials):
    with tm.connect(path) as ws:
        ws.sweep(bowl, name="together", trials=trials, metric="loss")


def dying(trial):
    x = trial.suggest_float("x", 0, 1)
    if os.environ.get("TINYMLOPS_TEST_DIES") == str(trial.number):
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def work_and_die(path):
    os.environ["TINYMLOPS_TEST_DIES"] = "2"
    with tm.connect(path) as ws:
        ws.sweep(dying, name="dying", trials=5)


def test_several_processes_work_on_one_sweep(tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True):
        pass
    spawn = multiprocessing.get_context("spawn")
    several = [spawn.Process(target=work, args=(path, 15)) for _ in range(2)]
    for process in several:
        process.start()
    for process in several:
        process.join(120)
    assert [process.exitcode for process in several] == [0, 0]
    with tm.connect(path) as ws:
        found = ws.sweep(bowl, name="together", trials=15, metric="loss")
        assert sorted(trial.number for trial in found.trials) == list(range(15))
        assert {trial.state for trial in found.trials} == {"finished"}
        assert len({json.dumps(trial.params) for trial in found.trials}) == 15  # no two drew the same


def test_a_trial_whose_process_was_killed_is_lost_and_the_sweep_goes_on(tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True):
        pass
    process = multiprocessing.get_context("spawn").Process(target=work_and_die, args=(path,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    with tm.connect(path) as ws:
        found = ws.sweep(dying, name="dying", trials=5)
        states = {trial.number: trial.state for trial in found.trials}
        assert states == {0: "finished", 1: "finished", 2: "lost", 3: "finished", 4: "finished", 5: "finished"}
