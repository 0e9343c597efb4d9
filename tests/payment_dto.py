"""The DTO class of the producers' Python client, written anew in the shape its page prints."""

from dataclasses import dataclass
from enum import StrEnum

from dataclasses_json import DataClassJsonMixin, LetterCase, config


class Target(StrEnum):
    LABANQUEPOSTALE = "LABANQUEPOSTALE"
    PAYBOX = "PAYBOX"
    MILLIET = "MILLIET"


class Mode(StrEnum):
    TEST = "TEST"
    LIVE = "LIVE"
    FORC_E__L_I_V_E = "FORCE_LIVE"


class Kind(StrEnum):
    DIREC_T__S_E_P_A = "DIRECT_SEPA"
    SEPA = "SEPA"
    CB = "CB"
    AMEX = "AMEX"
    COMPTABILITE = "COMPTABILITE"


@dataclass
class PaymentInitiate(DataClassJsonMixin):
    """Every field optional, camelCase on the wire, absent values as null."""

    dataclass_json_config = config(letter_case=LetterCase.CAMEL)["dataclasses_json"]

    payment_target: Target | None = None
    payment_run_mode: Mode | None = None
    payment_type: Kind | None = None
    id_origin: str | None = None
    id_societe: str | None = None
    id_client: str | None = None
    id_commande: str | None = None
    type_paiement: Kind | None = None
    amount: str | None = None
    email: str | None = None
    commentaire: str | None = None
