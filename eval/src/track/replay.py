"""Feeds metrics to an experiment tracker through its own package.

Reads one JSON object from standard input: {"tracker", "project", "run", "dir", "steps": [{"step",
"values"}]}, steps ascending. Needs `wandb` or `mlflow`; makes no network connection.
"""
import json
import os
import sys


def wandb_offline(job):
    os.environ["WANDB_MODE"] = "offline"
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ["WANDB_DIR"] = job["dir"]
    import wandb

    os.makedirs(job["dir"], exist_ok=True)
    run = wandb.init(project=job["project"], name=job["run"], dir=job["dir"], mode="offline")
    for step in job["steps"]:
        run.log(step["values"], step=step["step"])
    where = os.path.dirname(run.dir)
    run.finish()
    return where


def mlflow_files(job):
    import mlflow

    os.makedirs(job["dir"], exist_ok=True)
    # A file name, whatever characters it has; later versions want a database for the rest.
    mlflow.set_tracking_uri("sqlite:///" + os.path.join(os.path.abspath(job["dir"]), "mlflow.db"))
    if mlflow.get_experiment_by_name(job["project"]) is None:
        mlflow.create_experiment(job["project"], artifact_location=os.path.abspath(job["dir"]))
    mlflow.set_experiment(job["project"])
    with mlflow.start_run(run_name=job["run"]) as run:
        for step in job["steps"]:
            # MLflow's names may not hold an @.
            values = {name.replace("@", "_at_"): value for name, value in step["values"].items()}
            mlflow.log_metrics(values, step=step["step"])
    return run.info.run_id


def main():
    job = json.load(sys.stdin)
    try:
        done = {"wandb": wandb_offline, "mlflow": mlflow_files}[job["tracker"]](job)
    except ImportError as error:
        print(f"{sys.executable} has no package {error.name!r}", file=sys.stderr)
        return 3
    print(done)
    return 0


sys.exit(main())
