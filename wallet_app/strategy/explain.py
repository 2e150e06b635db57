"""A suggestion explained in full, a sentence a line."""

from wallet_app.i18n import tr
from wallet_app.strategy.record import TrackRecord
from wallet_app.strategy.suggest import Suggestion
from wallet_app.strategy.wording import in_currency, in_kwh, in_money


def explain(suggestion: Suggestion, record: TrackRecord | None = None) -> tuple[str, ...]:
    """Return the suggestion in full, a sentence a line: quotes, money, chance, baselines, proof.

    ``record`` adds how past suggestions did.
    """
    if suggestion.side is None:
        return (suggestion.reason,)
    lines = [
        suggestion.reason,
        tr(
            "Suggested quote: {energy} kWh at {price}, expected {money}; plain quote: {whole} kWh "
            "at {honest}, expected {plain}.",
            energy=in_kwh(suggestion.energy),
            whole=in_kwh(sum(tranche.energy_wh for tranche in suggestion.tranches)),
            price=in_currency(suggestion.price),
            money=in_money(suggestion.expected_money),
            honest=in_currency(suggestion.honest_price),
            plain=in_money(suggestion.honest_money),
        ),
    ]
    if suggestion.chance_permille is not None:
        lines.append(
            tr(
                "Chance to trade: {chance} of 100; one time in ten below {low}, one in ten above "
                "{high}.",
                chance=f"{suggestion.chance_permille / 10:.0f}",
                low=in_money(suggestion.low_money or 0),
                high=in_money(suggestion.high_money or 0),
            )
        )
    if suggestion.unsold:
        lines.append(suggestion.unsold)
    lines.append(
        tr(
            "Without the market: {battery} with your battery, {grid} with the grid only.",
            battery=in_money(suggestion.own_battery_money),
            grid=in_money(suggestion.grid_only_money),
        )
    )
    if suggestion.regret is not None:
        lines.append(
            tr(
                "Checked against every price between the bounds: another one brings at most "
                "{regret} more.",
                regret=in_money(suggestion.regret),
            )
        )
    else:
        lines.append(tr("The others' quotes are estimated; nothing is proved before round 1 ends."))
    if record is not None:
        lines.append(past_record(record))
    return tuple(lines)


def past_record(record: TrackRecord) -> str:
    """Say in one sentence how past suggestions did."""
    return tr(
        "The last {count} suggestions expected {expected} together and brought {real}; "
        "the plain quotes would have brought {honest}.",
        count=record.count,
        expected=in_money(record.expected_money),
        real=in_money(record.real_money),
        honest=in_money(record.honest_money),
    )
