"""Names of the headers a request may carry and of those our own copies carry.

None of ours begins with ``x-``: the broker uses and rewrites some of those. Source: contract
sections 2 and 4.
"""

from typing import Final

from worker.identity import PAYMENT_ID_HEADER

IDEMPOTENCY_KEY: Final = "idempotency-key"
NOT_AFTER: Final = "not-after"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

IDENTITY: Final = "identity"
PAYMENT_ID: Final = PAYMENT_ID_HEADER
SEQUENCE: Final = "sequence"
ATTEMPTS: Final = "attempts"
FIRST_SEEN: Final = "first-seen"
ORIGIN_ROUTING_KEY: Final = "origin-routing-key"
ORIGIN_EXCHANGE: Final = "origin-exchange"
REPLAY_COUNT: Final = "replay-count"

RETRY_REASON: Final = "retry-reason"

RESEND: Final = "resend"
"""On an event sent again because an operator asked: how often that was."""

CLOUD_EVENTS_PREFIX: Final = "cloudEvents_"
"""How every CloudEvents attribute of a result begins."""

ERROR_CODE: Final = "error-code"
ERROR_CATEGORY: Final = "error-category"
ERROR_DETAIL: Final = "error-detail"
FAILED_AT: Final = "failed-at"
WORKER_VERSION: Final = "worker-version"

REPLAY_RUN: Final = "replay-run"
REPLAY_OF: Final = "replay-of"
REPLAYED_BY: Final = "replayed-by"

PRODUCER_HEADERS: Final = (IDEMPOTENCY_KEY, NOT_AFTER, TRACEPARENT, TRACESTATE)
"""What every copy keeps of the headers a producer sent."""

ENVELOPE_HEADERS: Final = (
    IDENTITY,
    PAYMENT_ID,
    SEQUENCE,
    ATTEMPTS,
    FIRST_SEEN,
    ORIGIN_ROUTING_KEY,
    REPLAY_COUNT,
)
"""Who a copy is; believed only from the two internal exchanges."""

LETTER_HEADERS: Final = (
    ERROR_CODE,
    ERROR_CATEGORY,
    ERROR_DETAIL,
    FAILED_AT,
    ORIGIN_EXCHANGE,
    WORKER_VERSION,
)
"""Why a message is in the dead-letter queue."""

COPY_HEADERS: Final = ("CC", "BCC")
"""They route a message to keys its sender may not use: topic permissions before RabbitMQ 4.0.3
look at the main key only (measured on 3.10.8), so a request that carries one is refused."""

REPLAY_HEADERS: Final = (REPLAY_RUN, REPLAY_OF, REPLAYED_BY)
"""Which run of which operator put a message back."""
