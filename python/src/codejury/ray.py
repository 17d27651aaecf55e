"""Ray: a pool of judges, one a node; and a callable for ``ray.data``'s ``map_batches``.

::

    import ray
    from codejury.ray import JudgePool

    ray.init()
    with JudgePool() as pool:
        verdicts = pool.judge_batch(pairs)          # pairs of problem and completion, as Judge takes them

# Theory of operation

    driver                                  node 1: _NodeJudge actor        node 2: _NodeJudge actor
      | cuts pairs into tasks                 its own `codejury serve`        its own `codejury serve`
      |-- task 1 -----------------------------> all its cells                   |
      |-- task 2 ---------------------------------------------------------------> all its cells
      |<-- verdicts of task 1 ----------------|                                 x  (node lost)
      |-- task 2, again ----------------------> |

One actor a node owns that node's cells, because only one supervisor can keep the rule that no more runs are
made at once than there are CPUs. It reserves as many CPUs as it may use, and goes where they are free.

A task that was lost with its node is sent to another; a result that came is never asked for again. So each
submission gets one verdict, and since judging has no effect, it does not matter whether a lost node had
judged part of the task. Which node judges changes nothing in a verdict.

The driver keeps a few tasks under way for each CPU and reads ``pairs`` no further: that is the
back-pressure.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ._batch import Completion, Problem
from .errors import CodejuryError, RequestRejected, ServerUnavailable
from .judge import Judge, _in_order
from .rewards import check_reward, judge_for, problem_for, score_of, text_of
from .verdict import Verdict

__all__ = ["JudgeBatches", "JudgePool"]

_LOG = logging.getLogger(__name__)

#: Submissions a task. Small enough that losing a node costs little and that the end of a batch is shared
#: out; large enough that a task costs far more than sending it.
TASK_SIZE = 16
#: Tasks under way for each CPU of a node. Two keep it busy while a result travels.
TASKS_PER_CPU = 2
#: How often the pool looks for nodes that have joined, in seconds.
LOOK_FOR_NODES_S = 2.0
#: A task that took down so many nodes is not sent to another.
_MAX_LOSSES = 5


@ray.remote
class _NodeJudge:
    """A node's judge: owns the server that owns the node's cells."""

    def __init__(self, settings: Dict[str, Any]) -> None:
        self._settings = settings

    def ready(self) -> bool:
        """Starts the server. Not in the constructor: what is raised there does not travel as it is."""
        self._judge = Judge(**self._settings)
        return True

    def judge(self, pairs: List[Tuple[Problem, Completion]], options: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Verdict rows, in the order of the pairs."""
        return [dict(v.row) for v in self._judge.judge_batch(pairs, on_failure="keep", **options)]


@dataclass
class _Node:
    node_id: str
    cpus: int
    actor: Any
    #: Whether its actor has answered yet.
    ready: bool = False
    under_way: int = 0

    @property
    def room(self) -> int:
        return self.cpus * TASKS_PER_CPU - self.under_way if self.ready else 0


@dataclass
class _Task:
    indices: List[int] = field(default_factory=list)
    #: Which submission of its problem each is, in the whole batch.
    samples: List[int] = field(default_factory=list)
    pairs: List[Tuple[Problem, Completion]] = field(default_factory=list)
    losses: int = 0


class JudgePool:
    """Judges on all nodes of a Ray cluster.

    Parameters
    ----------
    cpus_per_node:
        CPUs each node's actor reserves, and runs at once; default: those that are free on the node when
        the actor is made, at least one.
    nodes:
        Ids of the nodes to use; default: all that are alive and have CPUs, also those that join later.
    patience_s:
        How long a batch waits when no node is left before it raises :class:`ServerUnavailable`.
    settings:
        Arguments for each node's :class:`~codejury.Judge`, for example ``{"isolation": "restricted"}``.
    """

    def __init__(
        self,
        *,
        cpus_per_node: Optional[int] = None,
        nodes: Optional[Sequence[str]] = None,
        patience_s: float = 120.0,
        settings: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self._cpus_per_node = cpus_per_node
        self._wanted = None if nodes is None else set(nodes)
        self._patience_s = patience_s
        self._settings = dict(settings or {})
        self._nodes: Dict[str, _Node] = {}
        #: References that say when a new node's actor is ready.
        self._starting: Dict[Any, _Node] = {}
        #: Nodes on which no judge can be started, and why.
        self._unfit: Dict[str, BaseException] = {}
        self._failure: Optional[BaseException] = None
        self._looked = float("-inf")
        self._closed = False
        self._look_for_nodes()

    def judge_batch(
        self, pairs: Iterable[Tuple[Problem, Completion]], *, on_failure: str = "raise", **options: Any
    ) -> List[Verdict]:
        """Verdicts in the order of the pairs; ``on_failure`` and options as in :meth:`codejury.Judge.judge_batch`."""
        return _in_order(dict(self.judge_stream(pairs, **options)), on_failure)

    def judge_stream(
        self, pairs: Iterable[Tuple[Problem, Completion]], **options: Any
    ) -> Iterator[Tuple[int, Verdict]]:
        """Yields ``(place in pairs, verdict)`` as tasks finish. Reads ``pairs`` only as far as nodes have room."""
        if self._closed:
            raise ServerUnavailable("the pool is closed")
        tasks = _tasks(pairs)
        again: List[_Task] = []
        under_way: Dict[Any, Tuple[_Task, _Node]] = {}
        exhausted = False
        stalled_since: Optional[float] = None
        try:
            while True:
                self._look_for_nodes()
                node = self._roomiest()
                while node is not None:
                    task = again.pop() if again else None if exhausted else next(tasks, None)
                    if task is None:
                        exhausted = True
                        break
                    reference = node.actor.judge.remote(task.pairs, options)
                    node.under_way += 1
                    under_way[reference] = (task, node)
                    node = self._roomiest()
                if exhausted and not again and not under_way:
                    return
                if under_way or self.nodes:
                    stalled_since = None
                else:
                    stalled_since = stalled_since or time.monotonic()
                    self._check_hope(time.monotonic() - stalled_since)
                waiting_for = list(under_way) + list(self._starting)
                if not waiting_for:
                    time.sleep(0.2)
                    continue
                ready, _ = ray.wait(waiting_for, num_returns=1, timeout=LOOK_FOR_NODES_S)
                for reference in ready:
                    if reference in self._starting:
                        self._started(reference)
                        continue
                    task, node = under_way.pop(reference)
                    node.under_way -= 1
                    try:
                        rows = ray.get(reference)
                    except RayError as error:
                        cause = _cause(error)
                        if isinstance(cause, RequestRejected) or not isinstance(cause, (CodejuryError, RayError)):
                            raise cause from None  # a bad row is bad on every node
                        self._lost(node, cause)
                        task.losses += 1
                        if task.losses >= _MAX_LOSSES:
                            raise ServerUnavailable(
                                f"a task of {len(task.pairs)} submissions was lost with {task.losses} nodes: {error}"
                            ) from error
                        again.append(task)
                        continue
                    for index, sample, row in zip(task.indices, task.samples, rows):
                        yield index, Verdict.from_row({**row, "sample": sample})
        finally:
            for reference, (_, node) in under_way.items():
                node.under_way -= 1
                # Not forced: that would end the actor. Its current request ends, later ones are dropped.
                try:
                    ray.cancel(reference)
                except (RayError, TypeError, ValueError):
                    pass

    @property
    def nodes(self) -> Dict[str, int]:
        """CPUs by node id, of the nodes whose judges answer."""
        return {node.node_id: node.cpus for node in self._nodes.values() if node.ready}

    def wait_until_ready(self, nodes: int = 1, timeout_s: float = 60.0) -> None:
        """Waits until the judges of so many nodes answer. Raises :class:`ServerUnavailable` if they do not."""
        deadline = time.monotonic() + timeout_s
        while len(self.nodes) < nodes:
            self._look_for_nodes()
            ready, _ = ray.wait(list(self._starting), num_returns=1, timeout=0.5) if self._starting else ([], [])
            for reference in ready:
                self._started(reference)
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"{len(self.nodes)} of {nodes} nodes are ready after {timeout_s:g} s"
                ) from self._failure
            if not self._starting:
                time.sleep(0.2)

    def close(self) -> None:
        """Ends the actors, their servers and whatever these run."""
        if not self._closed:
            self._closed = True
            for node in self._nodes.values():
                if ray.is_initialized():
                    ray.kill(node.actor)
            self._nodes.clear()
            self._starting.clear()

    def __enter__(self) -> "JudgePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<JudgePool {'closed' if self._closed else f'{len(self.nodes)} nodes, {sum(self.nodes.values())} CPUs'}>"

    def _roomiest(self) -> Optional[_Node]:
        """The node with the largest share of its room free."""
        best = max(self._nodes.values(), key=lambda node: node.room / node.cpus, default=None)
        return best if best is not None and best.room > 0 else None

    def _check_hope(self, stalled_s: float) -> None:
        """Called while no node can judge. Raises when none will, or patience is at its end."""
        if self._unfit and not self._starting:
            raise next(iter(self._unfit.values()))
        if stalled_s > self._patience_s:
            raise ServerUnavailable(
                f"no node of the cluster can judge, for {stalled_s:.0f} s: "
                f"{self._failure or self._why_none()}"
            ) from self._failure

    def _why_none(self) -> str:
        if self._starting:
            return f"{len(self._starting)} judges have not started, perhaps because others have reserved their CPUs"
        return "none that is wanted is alive and has CPUs"

    def _look_for_nodes(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_FOR_NODES_S:
            return
        self._looked = now
        for found in ray.nodes():
            node_id = found["NodeID"]
            wanted = self._wanted is None or node_id in self._wanted
            if not found["Alive"] or not wanted or node_id in self._nodes or node_id in self._unfit:
                continue
            total = int(found["Resources"].get("CPU", 0))
            if total < 1:
                continue
            cpus = self._cpus_per_node or max(1, min(total, _free_cpus(node_id, total)))
            settings = {"workers": cpus, **self._settings}
            actor = _NodeJudge.options(  # type: ignore[attr-defined]
                num_cpus=cpus,
                # Tasks wait in the server's queue, which is fair and bounded; here they only need a thread.
                max_concurrency=cpus * TASKS_PER_CPU,
                # Not restarted by Ray: its node may be gone, and this pool starts another where there is one.
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            ).remote(settings)
            self._nodes[node_id] = _Node(node_id, cpus, actor)
            self._starting[actor.ready.remote()] = self._nodes[node_id]

    def _started(self, reference: Any) -> None:
        node = self._starting.pop(reference)
        if self._nodes.get(node.node_id) is not node:
            return  # lost meanwhile
        try:
            node.ready = ray.get(reference)
        except RayTaskError as error:
            # This node cannot judge (its kernel, its image); others may.
            self._failure = self._unfit[node.node_id] = _cause(error)
            _LOG.warning("codejury: node %s cannot judge: %s", node.node_id, self._failure)
            del self._nodes[node.node_id]
            ray.kill(node.actor)
        except RayError as error:
            self._lost(node, error)

    def _lost(self, node: _Node, error: BaseException) -> None:
        if self._nodes.get(node.node_id) is not node:
            return  # known already
        _LOG.warning("codejury: node %s is lost, its work goes to others: %s", node.node_id, str(error).split("\n")[0])
        self._failure = error
        del self._nodes[node.node_id]
        ray.kill(node.actor)  # it may live on without a server; of a dead one nobody hears
        # A Ray node whose actor alone has died is still listed, and gets a new actor at the next look.


def _tasks(pairs: Iterable[Tuple[Problem, Completion]]) -> Iterator[_Task]:
    seen: Dict[Any, int] = {}
    task = _Task()
    for index, (problem, completion) in enumerate(pairs):
        name = problem.get("problem_id", index) if isinstance(problem, Mapping) else index
        seen[name] = seen.get(name, -1) + 1
        task.indices.append(index)
        task.samples.append(seen[name])
        task.pairs.append((problem, completion))
        if len(task.pairs) == TASK_SIZE:
            yield task
            task = _Task()
    if task.pairs:
        yield task


def _cause(error: RayError) -> BaseException:
    """What the actor's code raised; the error itself where Ray or the node failed."""
    cause = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, BaseException) else error


def _free_cpus(node_id: str, total: int) -> int:
    """CPUs of a node that nobody has reserved, as far as Ray says."""
    try:
        from ray._private.state import available_resources_per_node

        return int(available_resources_per_node().get(node_id, {}).get("CPU", 0))
    except (ImportError, AttributeError):
        return total


class JudgeBatches:
    """For ``ray.data``: adds verdicts to batches of problems and completions.

    ::

        dataset.map_batches(
            codejury.ray.JudgeBatches,
            fn_constructor_kwargs={"problem": "problem", "completion": "completion"},
            batch_size=64, concurrency=2,
        )

    Each row has a ``problem`` (a native row or verl's JSON, as a string or an object) and a ``completion``
    (a text or a list of messages). Added columns: ``score``, ``accepted``, ``pass_ratio`` (NaN if we failed),
    ``error_type``, ``error_subtype`` and ``verdict`` (the whole row as JSON). ``on_failure="keep"`` leaves rows
    whose sandbox failed in place, with a score of NaN; the default raises.

    All workers of a node share one server, which owns the node's cells, so ``concurrency`` may be larger than
    the number of nodes without making more runs at once.
    """

    def __init__(
        self,
        *,
        problem: str = "problem",
        completion: str = "completion",
        reward: str = "accepted",
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        url: Optional[str] = None,
        on_failure: str = "raise",
    ) -> None:
        check_reward(reward)
        if on_failure not in ("raise", "keep"):
            raise ValueError(f'on_failure is "raise" or "keep", not {on_failure!r}')
        self._problem, self._completion = problem, completion
        self._reward, self._compare, self._limits, self._on_failure = reward, compare, limits, on_failure
        self._judge = judge_for(url)

    def __call__(self, batch: Dict[str, Any]) -> Dict[str, Any]:
        import json

        import numpy as np

        sources = batch.get("data_source", [None] * len(batch[self._completion]))
        pairs = [
            (problem_for(truth, source, None, self._compare), text_of(_listed(completion)))
            for truth, source, completion in zip(batch[self._problem], sources, batch[self._completion])
        ]
        verdicts = self._judge.judge_batch(pairs, on_failure=self._on_failure, limits=self._limits)
        nan = float("nan")
        return {
            **batch,
            "score": np.array([nan if v.failed_by_us else score_of(v, self._reward) for v in verdicts]),
            "accepted": np.array([v.accepted for v in verdicts]),
            "pass_ratio": np.array([nan if v.pass_ratio is None else v.pass_ratio for v in verdicts]),
            "error_type": np.array([v.error_type for v in verdicts], dtype=object),
            "error_subtype": np.array([v.error_subtype or "" for v in verdicts], dtype=object),
            "verdict": np.array([json.dumps(v.row) for v in verdicts], dtype=object),
        }


def _listed(completion: Any) -> Any:
    return completion.tolist() if hasattr(completion, "tolist") else completion
