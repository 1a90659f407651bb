"""What the methods of Client raise, besides the problems that the server answers."""


class Error(Exception):
    """Any failure of a call; arguments that cannot be sent are a ValueError or TypeError."""


class ConnectionFailed(Error):
    """The server cannot be reached, or the answer did not arrive, after all attempts.

    `__cause__` has the OSError.
    """

    was_sent: bool = True
    """False when nothing was sent. Otherwise the server may have carried out the request."""


class InvalidAnswer(Error):
    """The answer does not follow the contract; perhaps the address is not that of OEI-MS."""


class SessionEnded(Error):
    """The login has ended and the client has no password with which to log in again."""


class SubscriptionRefused(Error):
    """The server refused topics of the first subscription, such as a sensor that does not exist."""


class NotModified(Error):
    """What was read with `if_none_match` is still current."""
