"""Every metric of the worker, on a registry of its own, with labels from closed tables only.

Names and labels: operations 5.1. Never labelled by payment, debtor, order or origin, nor by
anything a producer chooses; ``account`` names come from the settings.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_DURATIONS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_AGES = (
    0.1,
    0.5,
    1.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    86400.0,
)
_ATTEMPTS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)


class Metrics:
    """The metrics themselves; ``Telemetry`` is what the rest of the program tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.jobs = Counter(
            "payment_worker_jobs",
            "Requests decided, by result status, error category and code.",
            ("status", "category", "code", "livemode"),
            registry=registry,
        )
        self.deliveries = Counter(
            "payment_worker_deliveries",
            "Deliveries handled, by what they led to.",
            ("action",),
            registry=registry,
        )
        self.job_duration = Histogram(
            "payment_worker_job_duration_seconds",
            "Time spent on one delivery.",
            buckets=_DURATIONS,
            registry=registry,
        )
        self.job_age = Histogram(
            "payment_worker_job_age_seconds",
            "Time from the first receipt of a request to its decision.",
            buckets=_AGES,
            registry=registry,
        )
        self.job_attempts = Histogram(
            "payment_worker_job_attempts",
            "Attempts a decided request took.",
            buckets=_ATTEMPTS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "payment_worker_jobs_in_progress", "Deliveries being worked on.", registry=registry
        )
        self.provider_requests = Counter(
            "payment_worker_provider_requests",
            "Calls to a provider, by what came back.",
            ("provider", "operation", "code_class", "livemode"),
            registry=registry,
        )
        self.provider_duration = Histogram(
            "payment_worker_provider_request_duration_seconds",
            "Time of one call to a provider.",
            ("provider", "operation"),
            buckets=_DURATIONS,
            registry=registry,
        )
        self.breaker_open = Gauge(
            "payment_worker_breaker_open",
            "1 while the circuit breaker of an account is open or probing.",
            ("provider",),
            registry=registry,
        )
        self.breaker_changes = Counter(
            "payment_worker_breaker_changes",
            "Changes of an account's circuit breaker.",
            ("provider", "state"),
            registry=registry,
        )
        self.breaker_state = Gauge(
            "payment_worker_breaker_state",
            "1 for the state the circuit breaker of an account is in.",
            ("provider", "state"),
            registry=registry,
        )
        self.account_paused = Gauge(
            "payment_worker_account_paused",
            "1 while operators have paused an account, or every one.",
            ("provider",),
            registry=registry,
        )
        self.calls_in_flight = Gauge(
            "payment_worker_provider_calls_in_flight",
            "Calls to an account under way.",
            ("provider",),
            registry=registry,
        )
        self.permits_waiting = Gauge(
            "payment_worker_permits_waiting",
            "Deliveries that wait for a free place at an account.",
            ("provider",),
            registry=registry,
        )
        self.permits_refused = Counter(
            "payment_worker_permits_refused",
            "Deliveries an account had no place for; they wait on the ladder, uncounted.",
            ("provider", "reason"),
            registry=registry,
        )
        self.permits_delayed = Counter(
            "payment_worker_permits_delayed",
            "Deliveries that had to wait for an account's place or for its rate.",
            ("provider", "reason"),
            registry=registry,
        )
        self.published = Counter(
            "payment_worker_events_published",
            "Messages published, by type and by what the broker said.",
            ("type", "result"),
            registry=registry,
        )
        self.dead_letters = Counter(
            "payment_worker_dead_letters",
            "Dead letters the broker confirmed.",
            ("code",),
            registry=registry,
        )
        self.unclaimed = Counter(
            "payment_worker_results_unclaimed",
            "Results no queue was bound for.",
            registry=registry,
        )
        self.reply_to_ignored = Counter(
            "payment_worker_reply_to_ignored",
            "Requests that named a reply_to.",
            registry=registry,
        )
        self.unknown_properties = Counter(
            "payment_worker_unknown_properties",
            "Requests with properties we do not know.",
            registry=registry,
        )
        self.suspicions = Counter(
            "payment_worker_suspicious_requests",
            "Requests with headers no honest producer sends, by reason.",
            ("reason",),
            registry=registry,
        )
        self.forced_live = Counter(
            "payment_worker_forced_live",
            "Requests that FORCE_LIVE led to a live endpoint outside production.",
            registry=registry,
        )
        self.oldest_open_age = Gauge(
            "payment_worker_oldest_job_age_seconds",
            "Age of the oldest request without a decision, from its first receipt.",
            registry=registry,
        )
        self.in_doubt = Gauge(
            "payment_worker_in_doubt", "Payments in doubt.", ("provider",), registry=registry
        )
        self.in_doubt_age = Gauge(
            "payment_worker_in_doubt_oldest_age_seconds",
            "Age of the oldest payment in doubt.",
            registry=registry,
        )
        self.breaks = Gauge(
            "payment_worker_breaks",
            "Payments in doubt whose provider lists another amount; each waits for a person.",
            ("provider",),
            registry=registry,
        )
        self.look_ups = Counter(
            "payment_worker_look_ups",
            "Look-ups of payments in doubt, by what the provider's answer told.",
            ("provider", "finding"),
            registry=registry,
        )
        self.overdue_waits = Gauge(
            "payment_worker_overdue_waits",
            "Waiting requests whose message should have come back two hours ago.",
            registry=registry,
        )
        self.unpublished_age = Gauge(
            "payment_worker_unpublished_answer_oldest_age_seconds",
            "Age of the oldest decided answer that the broker has not confirmed.",
            registry=registry,
        )
        self.last_success = Gauge(
            "payment_worker_last_success_timestamp_seconds",
            "When a payment last succeeded.",
            registry=registry,
        )
        self.last_tick = Gauge(
            "payment_worker_consumer_last_tick_timestamp_seconds",
            "When the consumer was last seen consuming.",
            registry=registry,
        )
        self.connected = Gauge(
            "payment_worker_amqp_connected",
            "1 while the connection of this role is open.",
            ("role",),
            registry=registry,
        )
        self.reconnects = Counter(
            "payment_worker_amqp_reconnects",
            "Connections opened again after a loss.",
            ("role",),
            registry=registry,
        )
        self.troubles = Counter(
            "payment_worker_amqp_troubles",
            "Connections lost or not opened: unreachable, refused, certificate, lost, missing.",
            ("role", "trouble"),
            registry=registry,
        )
        self.lost_lines = Gauge(
            "payment_worker_log_lines_lost",
            "Log lines that could not be written.",
            registry=registry,
        )
        self.build = Info("payment_worker_build", "Version of this worker.", registry=registry)
