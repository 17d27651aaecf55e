"""A real Ray cluster of two nodes on this machine, one of which is killed while both judge.

    python tests/ray_node_loss.py [SUBMISSIONS]      default 5000; prints what happened, exit code 0 if it held

Every submission must come back once, with the verdict that one machine gives.
"""

import argparse
import collections
import json
import os
import sys
import time


#: A head node that hears of a lost node within seconds rather than half a minute.
HEAD = {
    "include_dashboard": False,
    "_system_config": {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 5},
}


def submissions(n):
    """Pairs of problem and source, no two programs the same, five ways to end."""
    bodies = [
        "print(a + b)",
        "print(a - b)",
        "print(a + b if a < 5 else 0)",
        "raise ValueError(a)",
        "print(a + b",
    ]
    for i in range(n):
        tests = [{"stdin": f"{x} {i}\n", "expected": f"{x + i}\n"} for x in (1, 7)]
        problem = {"problem_id": f"sum/{i:05}", "kind": "stdio", "tests": tests}
        yield problem, {"source": f"a, b = map(int, input().split())  # {i}\n{bodies[i % len(bodies)]}\n"}


def run(n, cpus=1, kill_at=0.4, say=print):
    """Judges n submissions on two nodes and kills one of them; returns what is to be compared."""
    import ray
    from ray.cluster_utils import Cluster

    from codejury import Judge
    from codejury.ray import JudgePool

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, **HEAD})
    second = cluster.add_node(num_cpus=cpus)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        with JudgePool(patience_s=60) as pool:
            pool.wait_until_ready(nodes=2, timeout_s=120)
            say(f"{pool!r}")
            seen = collections.Counter()
            verdicts = {}
            killed_after = None
            started = time.monotonic()
            for index, verdict in pool.judge_stream(submissions(n)):
                seen[index] += 1
                verdicts[index] = verdict
                if killed_after is None and len(verdicts) >= n * kill_at:
                    killed_after = len(verdicts)
                    say(f"killing a node after {killed_after} verdicts")
                    cluster.remove_node(second, allow_graceful=False)
            seconds = time.monotonic() - started
            say(f"{len(verdicts)} verdicts in {seconds:.1f} s, {pool!r}")
            left = dict(pool.nodes)
    finally:
        ray.shutdown()
        cluster.shutdown()
    with Judge() as judge:
        alone = judge.judge_batch(submissions(n), on_failure="keep")
    return {
        "killed_after": killed_after,
        "nodes_left": len(left),
        "twice": [index for index, times in seen.items() if times != 1],
        "missing": [index for index in range(n) if index not in seen],
        "different": [index for index in range(n) if index in verdicts and verdicts[index] != alone[index]],
        "error_types": dict(collections.Counter(verdict.error_type for verdict in verdicts.values())),
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("submissions", type=int, nargs="?", default=5000)
    n = parser.parse_args().submissions
    result = run(n)
    print(json.dumps({key: value if not isinstance(value, list) else len(value) for key, value in result.items()}, indent=2))
    held = not (result["twice"] or result["missing"] or result["different"]) and 0 < result["killed_after"] < n
    print("held" if held else f"NOT held: {result}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
