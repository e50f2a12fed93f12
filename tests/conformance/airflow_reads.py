"""Run by Airflow's Python: read a folder of DAGs as Airflow does, and say what it makes of it, as JSON.

Arguments are the folder, and pairs of moments between which each DAG's due times are told.
"""

import json
import sys
from datetime import datetime

import pendulum
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables import interval, trigger
from airflow.timetables.base import TimeRestriction


def due_times(dag, start, stop):
    """Return when Airflow starts runs of a DAG that is new at a moment, asked like its scheduler asks, which is never late."""
    clock = [pendulum.instance(start)]
    interval.utcnow = trigger.utcnow = lambda: clock[0]
    found, last = [], None
    restriction = TimeRestriction(earliest=dag.start_date, latest=None, catchup=False)
    while True:
        info = dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if info.run_after > stop:
            return found
        if info.run_after > start:
            found.append(info.run_after.isoformat())
        last, clock[0] = info.data_interval, max(clock[0], info.run_after)


bag = DagBag(sys.argv[1])
moments = [datetime.fromisoformat(text) for text in sys.argv[2:]]
spans = list(zip(moments[::2], moments[1::2], strict=True))
dags = {}
for name, dag in bag.dags.items():
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))  # as the scheduler has it
    dags[name] = {
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in stored.tasks},
        "due": [due_times(stored, *span) for span in spans],
    }
print(json.dumps({"errors": {str(path): error for path, error in bag.import_errors.items()}, "dags": dags}))
