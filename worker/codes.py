"""The closed table of our codes: category, who is told what, and whether a dead letter follows.

Source: contract section 4 and the error taxonomy of the payment rules. Codes are append-only;
a subscriber that meets an unknown one decides by its category.
"""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Category(StrEnum):
    """What a subscriber does about a failure."""

    REQUEST = "request"
    CONFIG = "config"
    DECLINED = "declined"
    DUPLICATE = "duplicate"
    TRANSIENT = "transient"
    IN_DOUBT = "in_doubt"
    INTERNAL = "internal"


@unique
class Code(StrEnum):
    """Every code a result event may carry."""

    INVALID_MESSAGE = "invalid_message"
    INVALID_AMOUNT = "invalid_amount"
    UNSUPPORTED_COMBINATION = "unsupported_combination"
    CUSTOMER_UNKNOWN = "customer_unknown"
    PAYMENT_UNKNOWN = "payment_unknown"
    NOT_CANCELLABLE = "not_cancellable"
    ALREADY_CANCELLED = "already_cancelled"
    MODE_NOT_ALLOWED = "mode_not_allowed"
    PROVIDER_CREDENTIALS = "provider_credentials"
    PROVIDER_IP_REFUSED = "provider_ip_refused"
    PROVIDER_TLS = "provider_tls"
    PROVIDER_REDIRECT = "provider_redirect"
    PROVIDER_ENDPOINT = "provider_endpoint"
    COMPANY_NOT_CONFIGURED = "company_not_configured"
    DECLINED = "declined"
    PROVIDER_REFUSED = "provider_refused"
    REFERENCE_ALREADY_USED = "reference_already_used"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    SUPERSEDED = "superseded"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_RATE_LIMITED = "provider_rate_limited"
    REQUEST_EXPIRED = "request_expired"
    OUTCOME_UNKNOWN = "outcome_unknown"
    LINK_LOST = "link_lost"
    LEDGER_LOST = "ledger_lost"
    INTERNAL_ERROR = "internal_error"
    DELIVERY_LIMIT_REACHED = "delivery_limit_reached"
    LINK_ERASED = "link_erased"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one code means: its category and the sentence for each language."""

    category: Category | None
    fr: str
    en: str


MEANINGS: dict[Code, Meaning] = {
    Code.INVALID_MESSAGE: Meaning(
        Category.REQUEST, "Message de paiement invalide", "Invalid payment message"
    ),
    Code.INVALID_AMOUNT: Meaning(Category.REQUEST, "Montant invalide", "Invalid amount"),
    Code.UNSUPPORTED_COMBINATION: Meaning(
        Category.REQUEST,
        "Combinaison cible/type/mode non prévue",
        "Target-type-mode combination not supported",
    ),
    Code.CUSTOMER_UNKNOWN: Meaning(
        Category.REQUEST, "Client inconnu du prestataire", "Customer unknown at provider"
    ),
    Code.PAYMENT_UNKNOWN: Meaning(Category.REQUEST, "Paiement inconnu", "Payment unknown"),
    Code.NOT_CANCELLABLE: Meaning(
        Category.REQUEST,
        "Ce paiement ne peut pas être annulé",
        "This payment cannot be cancelled",
    ),
    Code.ALREADY_CANCELLED: Meaning(
        Category.REQUEST, "Paiement déjà annulé", "Payment already cancelled"
    ),
    Code.MODE_NOT_ALLOWED: Meaning(
        Category.CONFIG,
        "Mode de paiement interdit sur cet environnement",
        "Run mode not allowed here",
    ),
    Code.PROVIDER_CREDENTIALS: Meaning(
        Category.CONFIG, "Accès au prestataire refusé", "Provider rejected our credentials"
    ),
    Code.PROVIDER_IP_REFUSED: Meaning(
        Category.CONFIG, "Adresse IP refusée", "Source IP not allowed"
    ),
    Code.PROVIDER_TLS: Meaning(
        Category.CONFIG,
        "Certificat du prestataire non vérifié",
        "Provider certificate not trusted",
    ),
    Code.PROVIDER_REDIRECT: Meaning(
        Category.CONFIG,
        "Redirection inattendue du prestataire",
        "Unexpected redirect from the provider",
    ),
    Code.PROVIDER_ENDPOINT: Meaning(
        Category.CONFIG,
        "Adresse ou méthode du prestataire refusée",
        "Provider address or method refused",
    ),
    Code.COMPANY_NOT_CONFIGURED: Meaning(
        Category.CONFIG, "Société non configurée", "Company not configured"
    ),
    Code.DECLINED: Meaning(Category.DECLINED, "Paiement refusé", "Payment declined"),
    Code.PROVIDER_REFUSED: Meaning(
        Category.DECLINED,
        "Demande refusée par le prestataire",
        "Request refused by the provider",
    ),
    Code.REFERENCE_ALREADY_USED: Meaning(
        Category.DUPLICATE, "Référence déjà utilisée", "Reference already used"
    ),
    Code.IDEMPOTENCY_MISMATCH: Meaning(
        Category.DUPLICATE, "Même clé, contenu différent", "Same key, different content"
    ),
    Code.SUPERSEDED: Meaning(
        Category.DUPLICATE,
        "Remplacé par un autre paiement identique",
        "Superseded by another identical payment",
    ),
    Code.PROVIDER_UNAVAILABLE: Meaning(
        Category.TRANSIENT, "Prestataire indisponible", "Provider unavailable"
    ),
    Code.PROVIDER_RATE_LIMITED: Meaning(
        Category.TRANSIENT,
        "Trop de demandes chez le prestataire",
        "Provider rate limit reached",
    ),
    Code.REQUEST_EXPIRED: Meaning(Category.TRANSIENT, "Demande expirée", "Request expired"),
    Code.OUTCOME_UNKNOWN: Meaning(
        Category.IN_DOUBT,
        "Résultat inconnu, vérification en cours",
        "Outcome unknown, being checked",
    ),
    Code.LINK_LOST: Meaning(
        Category.IN_DOUBT,
        "Lien créé mais non récupéré",
        "Link was created but could not be read back",
    ),
    Code.LEDGER_LOST: Meaning(
        Category.IN_DOUBT,
        "Historique du paiement perdu, résultat inconnu",
        "Payment record lost, outcome unknown",
    ),
    Code.INTERNAL_ERROR: Meaning(Category.INTERNAL, "Erreur interne", "Internal error"),
    Code.DELIVERY_LIMIT_REACHED: Meaning(
        Category.INTERNAL,
        "Message livré trop souvent sans être traité",
        "Message delivered too often without being handled",
    ),
    Code.LINK_ERASED: Meaning(
        None,
        "Lien effacé, durée de conservation dépassée",
        "Link erased after the retention period",
    ),
}

_NEVER_DEAD_LETTERED = frozenset(
    {
        Code.PAYMENT_UNKNOWN,
        Code.NOT_CANCELLABLE,
        Code.ALREADY_CANCELLED,
        Code.DECLINED,
        Code.SUPERSEDED,
        Code.LINK_ERASED,
    }
)


def category_of(code: Code) -> Category:
    """Category of a failure code; raises ``ValueError`` for ``link_erased``, which is none."""
    category = MEANINGS[code].category
    if category is None:
        raise ValueError(code)
    return category


def codes_of(category: Category) -> frozenset[Code]:
    """The codes of a category."""
    return frozenset(code for code, meaning in MEANINGS.items() if meaning.category is category)


def is_retryable(code: Code) -> bool:
    """Whether the payment may be asked for again under a new key: nothing was applied."""
    return MEANINGS[code].category is Category.TRANSIENT


def is_dead_lettered(code: Code, *, provider_code_known: bool) -> bool:
    """Whether a failure with this code also goes to the dead-letter queue.

    A ``provider_refused`` whose provider code is in our table is a business answer; without a
    code, or with one we do not know, it is kept for replay (contract section 4).
    """
    if code is Code.PROVIDER_REFUSED:
        return not provider_code_known
    return code not in _NEVER_DEAD_LETTERED
