"""JudgePool on a real Ray cluster."""

import itertools
import json

import pytest

ray = pytest.importorskip("ray")

import ray_node_loss  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from codejury import RequestRejected, ServerStartError, ServerUnavailable  # noqa: E402


def test_a_lost_node_loses_nothing():
    n = 600  # more than both nodes hold at once when one of them goes
    result = ray_node_loss.run(n)
    assert result["missing"] == [] and result["twice"] == [] and result["different"] == []
    assert 0 < result["killed_after"] < n and result["nodes_left"] == 1
    assert result["error_types"] == {"success": 120, "wrong_answer": 240, "runtime_error": 120, "syntax_error": 120}


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **ray_node_loss.HEAD})
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_pool(cluster, add, judge):
    from codejury.ray import TASK_SIZE, TASKS_PER_CPU, JudgePool

    pairs = list(ray_node_loss.submissions(50))
    with JudgePool(cpus_per_node=1) as pool:
        assert pool.judge_batch(pairs) == judge.judge_batch(pairs)
        assert list(pool.nodes.values()) == [1] and "1 nodes, 1 CPUs" in repr(pool)
        # Back-pressure: an endless source is read only as far as there is room.
        read = itertools.count()
        endless = ((problem, source) for problem, source in ray_node_loss.submissions(10**9) if next(read) >= 0)
        for count, _ in enumerate(pool.judge_stream(endless)):
            if count == 40:
                break
        assert next(read) <= 41 + (TASKS_PER_CPU + 2) * TASK_SIZE
        # What is wrong with the input is raised here, and costs no node.
        with pytest.raises(RequestRejected, match="kind"):
            pool.judge_batch([({"problem_id": "p"}, "x")])
        assert pool.judge_batch(pairs[:3]) == judge.judge_batch(pairs[:3])
        # An actor that dies is replaced on the same node.
        [node] = pool._nodes.values()
        ray.kill(node.actor)
        assert pool.judge_batch(pairs[:20]) == judge.judge_batch(pairs[:20])
        assert pool.judge_batch([]) == []
    with pytest.raises(ServerUnavailable, match="closed"):
        pool.judge_batch(pairs[:1])


def test_a_pool_that_cannot_start_says_why(cluster):
    from codejury.ray import JudgePool

    with JudgePool(cpus_per_node=1, settings={"server_args": ["--no-such-flag"]}) as pool:
        with pytest.raises(ServerStartError, match="no-such-flag"):
            pool.judge_batch(ray_node_loss.submissions(1))
    with JudgePool(nodes=["no such node"], patience_s=1) as pool:
        with pytest.raises(ServerUnavailable, match="no node"):
            pool.judge_batch(ray_node_loss.submissions(1))


def test_map_batches_callable(judge, monkeypatch, add):
    """The callable that ray.data calls, called as it calls it (ray.data itself needs pyarrow)."""
    import numpy

    import codejury.judge as module
    from codejury.ray import JudgeBatches

    monkeypatch.setattr(module, "_default", judge)
    completions = ["```python\nprint(sum(map(int, input().split())))\n```", "```python\nprint(3)\n```"]
    batch = {"id": numpy.array([1, 2]), "problem": numpy.array([json.dumps(add)] * 2, dtype=object), "completion": numpy.array(completions, dtype=object)}
    judged = JudgeBatches()(batch)
    assert list(judged["id"]) == [1, 2]
    assert list(judged["score"]) == [1.0, 0.0] and list(judged["pass_ratio"]) == [1.0, 0.5]
    assert list(judged["error_type"]) == ["success", "wrong_answer"] and list(judged["accepted"]) == [True, False]
    assert json.loads(judged["verdict"][1])["error_subtype"] == "wrong_output"
    assert list(JudgeBatches(reward="pass_ratio")(batch)["score"]) == [1.0, 0.5]
    with pytest.raises(ValueError, match="on_failure"):
        JudgeBatches(on_failure="none")
