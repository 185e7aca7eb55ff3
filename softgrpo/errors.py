"""What can go wrong by the user's hand: one line that names the thing, its value and the remedy."""


class UserError(Exception):
    """Printed as one line without a traceback; the command exits with status 2."""
