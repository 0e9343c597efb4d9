"""What a ledger holds beside the path of a payment: a class for each register that is kept."""
