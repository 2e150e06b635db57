"""The words for the states that snapshots carry as codes."""

from wallet_app import format as fmt
from wallet_app.i18n import tr
from wallet_app.trading.view import AgentMode, Phase, Proof, SlotView


def side(code: str) -> str:
    """Return "Sell" or "Buy"."""
    return {"sell": tr("Sell"), "buy": tr("Buy")}.get(code, "")


def market(code: str) -> str:
    """Return what kind of market the standing is."""
    return {
        "buyer": tr("buyer's market"),
        "seller": tr("seller's market"),
        "balanced": tr("balanced market"),
    }.get(code, "")


def phase(code: Phase) -> str:
    """Return where a slot stands."""
    return {
        "quoting": tr("quoting"),
        "closed": tr("round closed"),
        "final": tr("last standing"),
        "cleared": tr("cleared"),
        "delivering": tr("delivering"),
        "settling": tr("settling"),
        "settled": tr("settled"),
    }.get(code.value, code.value)


def stage(slot: SlotView) -> str:
    """Return where ``slot`` stands; "settled" only if two organisations agree that it is.

    Else how far the settlement is verified: it may be no more than one peer's word.
    """
    if slot.phase is Phase.SETTLED and slot.proof not in (Proof.AGREED, Proof.AUDITED):
        return proof(slot.proof)
    return phase(slot.phase)


def proof(code: Proof) -> str:
    """Return how far a figure has been verified."""
    return {
        Proof.NONE: tr("one peer's word"),
        Proof.VERIFIED: tr("verified"),
        Proof.AGREED: tr("agreed"),
        Proof.AUDITED: tr("audited"),
        Proof.DISPUTED: tr("disputed"),
    }[code]


def agent(mode: AgentMode) -> tuple[str, str]:
    """Return name and explanation of an agent mode."""
    return {
        AgentMode.SHOW: (tr("Show"), tr("Only show what would be best; I quote myself")),
        AgentMode.ASK: (tr("Ask"), tr("Prepare the quote and ask me before submitting it")),
        AgentMode.DO: (tr("Do"), tr("Submit the suggested quote by itself, within my limits")),
    }[mode]


def quote_state(slot: SlotView) -> tuple[str, str]:
    """Return words and tone for how far the own quote got; the rest of a refusal is foreign."""
    code, _, detail = slot.quote_state.partition(":")
    words = {
        "": ("", ""),
        "waiting": (tr("kept, not sent yet"), "warning"),
        "sent": (tr("sent, not in a block yet"), ""),
        "committed": (tr("in the ledger"), "good"),
        "refused": (tr("refused"), "error"),
    }.get(code.strip(), (fmt.foreign(slot.quote_state), ""))
    if code.strip() == "refused" and detail.strip():
        return f"{words[0]}: {fmt.foreign(detail)}", words[1]
    return words


def quantity(energy_wh: int | None) -> str:
    """Return a signed energy (positive bought, negative sold) with its direction as a word."""
    if energy_wh is None:
        return fmt.DASH
    number = fmt.kwh(abs(energy_wh))
    if number == fmt.kwh(0):
        return number
    return tr("buy {kwh}", kwh=number) if energy_wh > 0 else tr("sell {kwh}", kwh=number)
