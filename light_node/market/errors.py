"""What the market rules refuse, one class per reason (a closed tree under ``MarketError``).

Messages say what is wrong and what would be right. A participant id in a message is bounded and
free of control characters, because :class:`~light_node.market.quotes.Quote` refuses others.
"""


class MarketError(ValueError):
    """The market rules refuse this input."""


class InvalidSlot(MarketError):
    """A slot id or a slot's start or length is not usable."""


class InvalidQuote(MarketError):
    """A field of a quote is of the wrong type or out of range."""


class InvalidBounds(MarketError):
    """Floor and cap are not integers in range, or the floor is above the cap."""


class PriceOutOfBounds(MarketError):
    """A quote's price is below the slot's floor or above its cap."""


class DuplicateParticipant(MarketError):
    """A participant appears twice where it may appear once (one quote per participant and slot)."""


class TooManyQuotes(MarketError):
    """The book holds more quotes than sums in 64 bits allow."""


class RoundRuleBroken(MarketError):
    """A quote breaks the rules of the quoting rounds (docs/market-rules.md section 4)."""


class SideChanged(RoundRuleBroken):
    """A later round may replace a quote's price, not its side."""


class EnergyRaised(RoundRuleBroken):
    """A later round may not raise a quote's energy."""


class FirstQuoteTooLate(RoundRuleBroken):
    """First quotes are collected in round 1 only."""


class InvalidSettlement(MarketError):
    """Contract and delivery do not fit together, or a tariff is not usable."""


class InvalidOrders(MarketError):
    """Fills do not balance, or a matching degree's weights are not usable."""
