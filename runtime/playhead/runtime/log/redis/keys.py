"""The names of the keys of one shard. All share one hash tag, so that every script is safe on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

from playhead.runtime.core.checks import check_count, check_name

__all__ = ["Keys"]


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names under `prefix`. Deployments with different prefixes can share a server.

    Attributes:
        root: What every key begins with, the hash tag included.
    """

    prefix: str = "ph"
    shard: int = 0
    root: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_name("prefix", self.prefix)
        if any(brace in self.prefix for brace in "{}"):  # a hash tag ends at the first brace
            raise ValueError(f"prefix must not have a brace in it, and is {self.prefix!r}")
        check_count("shard", self.shard)
        object.__setattr__(self, "root", f"{{{self.prefix}:{self.shard:x}}}:")

    def of_run(self, run_id: str) -> tuple[str, str, str]:
        """The keys that a write to a run declares: its `run`, `log` and `inbox`."""
        root = self.root
        return f"{root}run:{run_id}", f"{root}log:{run_id}", f"{root}inbox:{run_id}"

    def run(self, run_id: str) -> str:
        """Hash: the run's fields; `docs/records.md` lists them."""
        return f"{self.root}run:{run_id}"

    def log(self, run_id: str) -> str:
        """Stream of records with ids `<seq>-<epoch>`; also the name of the run's channel."""
        return f"{self.root}log:{run_id}"

    def inbox(self, run_id: str) -> str:
        """List of signals not yet acknowledged."""
        return f"{self.root}inbox:{run_id}"

    def steers(self, run_id: str) -> str:
        """List: the prompts that were submitted as steers to the run, each with what it needs to become a run."""
        return f"{self.root}steers:{run_id}"

    def steered(self, run_id: str) -> str:
        """String: the run that got the prompt of this one as a steer, so that a submission sent twice is one."""
        return f"{self.root}steered:{run_id}"

    def ready(self, queue: str) -> str:
        """Sorted set: run id → its position in the queue: when it was queued, or is due, in unix microseconds.

        A queue is named by its agent, or by the agent and a framework: see `own_queue`.
        """
        return f"{self.root}ready:{queue}"

    def suspects(self, queue: str) -> str:
        """Sorted set: like `ready`, for the runs that only a worker without other runs may claim."""
        return f"{self.root}suspects:{queue}"

    def serving(self, queue: str) -> str:
        """Sorted set: the workers that have the framework of a queue → when their announcement expires."""
        return f"{self.root}serving:{queue}"

    @property
    def queues(self) -> str:
        """Sorted set: the queues of frameworks that runs are in, with score 0."""
        return f"{self.root}queues"

    def notify_agent(self, queue: str) -> str:
        """List of queued runs that wakes the workers of a queue; a hint, never the only copy of anything."""
        return f"{self.root}notify_agent:{queue}"

    def notify_worker(self, worker: str) -> str:
        """List of this worker's runs that have a signal; a hint, like `notify_agent`."""
        return f"{self.root}notify_worker:{worker}"

    def claimed(self, token: str) -> str:
        """String: the run that a token claimed, so that a claim sent twice is one claim."""
        return f"{self.root}claimed:{token}"

    def session(self, session: str) -> str:
        """Hash: the run that holds the session."""
        return f"{self.root}session:{session}"

    def waiting(self, session: str) -> str:
        """List: the runs that wait for the session."""
        return f"{self.root}waiting:{session}"

    def messages(self, session: str) -> str:
        """Stream of a session's messages, ids 1-0, 2-0, …"""
        return f"{self.root}messages:{session}"

    def about(self, session: str) -> str:
        """Hash: what else is known of a session that has messages, or had some and was cut."""
        return f"{self.root}about:{session}"

    def definition(self, digest: str) -> str:
        """Hash: an agent's definition, and which runs keep it."""
        return f"{self.root}definition:{digest}"

    def index(self, name: str) -> str:
        """Sorted set: like `runs`, for the runs of one agent, state, session or tag; `RunFilter.indexes` has the names."""
        return f"{self.root}index:{name}"

    def importing(self, run_id: str) -> str:
        """Hash: which import of the run is in progress, and how far it is."""
        return f"{self.root}importing:{run_id}"

    def worker(self, worker: str) -> str:
        """String: a live worker's description, JSON."""
        return f"{self.root}worker:{worker}"

    def doctor(self, token: str) -> str:
        """String that `playhead doctor` writes, reads back and deletes."""
        return f"{self.root}doctor:{token}"

    @property
    def durability_marker(self) -> str:
        """String that is written after a write whose durability is waited for; its value means nothing."""
        return f"{self.root}durability_marker"

    @property
    def queue_position(self) -> str:
        """String: the last position in the queue that was assigned; the next is above it."""
        return f"{self.root}queue_position"

    @property
    def shards(self) -> str:
        """String: the number of shards of the deployment; on shard 0 only."""
        return f"{self.root}shards"

    @property
    def emptying(self) -> str:
        """String: the worker that hands its runs over to take a suspect."""
        return f"{self.root}emptying"

    @property
    def leases(self) -> str:
        """Sorted set: run id → lease deadline by the Redis clock."""
        return f"{self.root}leases"

    @property
    def deadlines(self) -> str:
        """Sorted set: run id → its caller's deadline by the Redis clock, for runs that have one and have not ended."""
        return f"{self.root}deadlines"

    @property
    def runs(self) -> str:
        """Sorted set: run id → position in the order of submission, unix microseconds; what `playhead runs` lists."""
        return f"{self.root}runs"

    @property
    def ids(self) -> str:
        """Sorted set: all run ids in alphabetical order, to find one by its beginning."""
        return f"{self.root}ids"

    @property
    def expiring(self) -> str:
        """Sorted set: an ended run's id with the names of its indexes → when it is gone, unix milliseconds."""
        return f"{self.root}expiring"

    @property
    def sessions(self) -> str:
        """Sorted set: session → position in the order of their last use; what `playhead sessions` lists."""
        return f"{self.root}sessions"

    @property
    def workers(self) -> str:
        """Sorted set: worker → when its announcement expires."""
        return f"{self.root}workers"
