"""What the server counts about itself, for Prometheus: requests, events, groups, waiting, personal data. No ids, no texts."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The counters of one server process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "feedback_requests", "Requests answered", ["endpoint", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "feedback_request_seconds",
            "Time from the first byte of a request to its answer",
            ["endpoint"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._events: dict[tuple[str, str, str], Counter] = {}
        self._requests: dict[tuple[str, int], Counter] = {}
        self.events = Counter(
            "feedback_events", "Events by what became of them", ["tenant", "kind", "outcome"], registry=self.registry
        )
        self.waiting = Gauge(
            "feedback_waiting_events", "Events that wait to be written", ["tenant"], registry=self.registry
        )
        self.personal = Gauge(
            "feedback_personal_data_found",
            "Personal data found in texts",
            ["tenant", "detector"],
            registry=self.registry,
        )
        self.accepted = Gauge(
            "feedback_log_position", "Last position of the event log", ["tenant", "stream"], registry=self.registry
        )

    def count_events(self, tenant: str, kind: str, outcomes: Mapping[str, int]) -> None:
        """Add to the events by outcome."""
        for outcome, n in outcomes.items():
            found = self._events.get((tenant, kind, outcome))
            if found is None:
                found = self._events[tenant, kind, outcome] = self.events.labels(tenant, kind, outcome)
            found.inc(n)

    def count_request(self, endpoint: str, status: int) -> None:
        """Add a request."""
        found = self._requests.get((endpoint, status))
        if found is None:
            found = self._requests[endpoint, status] = self.requests.labels(endpoint, status)
        found.inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
