"""Trust: what is verified, by whom it is agreed, what is waited for, and what to do."""

from datetime import datetime, timedelta

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from wallet_app import format as fmt
from wallet_app.gui import icons
from wallet_app.gui.page import Page
from wallet_app.gui.root_sheet import RootSheet
from wallet_app.gui.strip import (
    agreeing_organisations,
    disagreeing_organisations,
    disagreement,
)
from wallet_app.gui.theme import Theme
from wallet_app.gui.widgets import (
    Card,
    Facts,
    IconLabel,
    Notice,
    ProofLabel,
    button,
    label,
    set_tone,
)
from wallet_app.i18n import said, tr
from wallet_app.trading.view import Change, PeerView, Proof, TrustView, WalletView

_RENEW_DAYS = 14
_CELL_MARGINS, _WIDEST_ORGANISATION = 28, 220


def peer_state(peer: PeerView) -> str:
    """Return a peer's connection state in words."""
    return {
        "connected": tr("connected"),
        "connecting": tr("connecting"),
        "unreachable": tr("unreachable"),
        "disagrees": tr("connected"),
        "shut out": tr("in quarantine"),
    }.get(peer.state, fmt.foreign(peer.state, 40))


def agreement(peer: PeerView) -> tuple[str, str, str]:
    """Return icon, words and colour of the agreement column."""
    if peer.agrees is None:
        return "unknown", tr("not known yet"), "muted"
    if peer.agrees:
        return "double-check", tr("agrees"), "good"
    return "warning", tr("contradicts"), "error"


def expiry(expires: datetime | None, now: datetime) -> tuple[str, str]:
    """Return words and tone for the end of the trust root."""
    if expires is None:
        return fmt.DASH, ""
    left = expires - now
    day = fmt.date(expires)
    if left <= timedelta(0):
        return tr("expired on {day}: import a new network profile", day=day), "error"
    if left < timedelta(days=_RENEW_DAYS):
        return tr("expires on {day}: renew it soon", day=day), "warning"
    return tr("valid until {day}", day=day), ""


def progress(trust: TrustView) -> str:
    """Return share, pace and time left of a catch-up in words; "" when there is none."""
    if trust.share is None:
        return ""
    share = fmt.decimal(int(1000 * trust.share), 10, 1)
    if trust.blocks_per_s is None or trust.seconds_left is None:
        return tr("Catching up: {share} % verified", share=share)
    return tr(
        "Catching up: {share} % verified, {number} blocks per second, about {time} left",
        share=share,
        number=fmt.count(round(trust.blocks_per_s)),
        time=fmt.duration(trust.seconds_left),
    )


class HeightsCard(Card):
    """Claimed, verified and agreed heights side by side."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Blocks"))
        self._state = IconLabel(theme)
        self.corner.addWidget(self._state)
        row = QHBoxLayout()
        row.setSpacing(24)
        self._values: list[QLabel] = []
        for name, hint in (
            (tr("claimed"), tr("highest any peer claims")),
            (tr("verified"), tr("signatures checked here")),
            (tr("agreed"), tr("two organisations show the same")),
        ):
            column = QVBoxLayout()
            column.setSpacing(0)
            value = label("", "figure")
            value.setAccessibleName(tr("Height, {which}", which=name))
            column.addWidget(label(name, "strong"))
            column.addWidget(value)
            column.addWidget(label(hint, "small", wrap=True))
            column.addStretch(1)
            row.addLayout(column, 1)
            self._values.append(value)
        self.body.addLayout(row)
        self._progress = label("", wrap=True)
        self._progress.setAccessibleName(tr("Progress of catching up"))
        self.body.addWidget(self._progress)
        facts = Facts()
        self._blocks = facts.add(tr("Blocks verified since start"))
        self._signatures = facts.add(tr("Signatures verified since start"))
        self.body.addWidget(facts)
        self.body.addStretch(1)

    def refresh(self, trust: TrustView) -> None:
        """Show ``trust``'s heights."""
        heights = (trust.height, trust.verified_height, trust.agreed_height)
        for value, height in zip(self._values, heights, strict=True):
            value.setText(fmt.count(height))
        self._blocks.setText(fmt.count(trust.blocks_verified))
        self._signatures.setText(fmt.count(trust.signatures_verified))
        self._progress.setText(progress(trust))
        self._progress.setVisible(bool(self._progress.text()))
        if trust.height is None or trust.verified_height is None:
            self._state.show_state("unknown", tr("nothing verified yet"))
        elif trust.verified_height < trust.height:
            behind = fmt.count(trust.height - trust.verified_height)
            self._state.show_state("clock", tr("{number} behind", number=behind), "warning")
        else:
            self._state.show_state("check", tr("up to date"), "good")


class RootCard(Card):
    """What everything verified goes back to."""

    def __init__(self) -> None:
        super().__init__(tr("Trust root"))
        self._channel = label("", "strong")
        self._channel.setAccessibleName(tr("Channel"))
        self._fingerprint = label("", "mono", wrap=True)
        self._fingerprint.setAccessibleName(tr("Fingerprint of the configuration block"))
        self._fingerprint.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByKeyboard)
        self._expiry = label("", wrap=True)
        self.body.addWidget(self._channel)
        self.body.addWidget(label(tr("Fingerprint of the configuration block"), "small"))
        self.body.addWidget(self._fingerprint)
        self.body.addWidget(self._expiry)
        hint = tr("Compare the fingerprint with what your operator published.")
        self.body.addWidget(label(hint, "small", wrap=True))
        self._text = ""
        self.hand_on = button(tr("Hand it on …"), self._hand_on)
        self.body.addWidget(self.hand_on, 0, Qt.AlignmentFlag.AlignLeft)
        self.body.addStretch(1)

    def _hand_on(self) -> None:
        RootSheet(self.window(), self._text, self._fingerprint.text()).exec()

    def refresh(self, trust: TrustView, now: datetime) -> None:
        """Show ``trust``'s root."""
        self._text = trust.trust_root_text
        self.hand_on.setVisible(bool(self._text))
        channel = fmt.foreign(trust.channel, 60)
        self._channel.setText(tr("Channel {name}", name=channel) if channel else fmt.DASH)
        self._fingerprint.setText(_grouped(fmt.foreign(trust.trust_root, 130)) or fmt.DASH)
        words, tone = expiry(trust.trust_root_expires, now)
        self._expiry.setText(words)
        set_tone(self._expiry, tone)


class PeersCard(Card):
    """Peers by organisation, with what each shows."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Peers by organisation"))
        self._shown: tuple[tuple[PeerView, ...], int | None] | None = None
        self._theme = theme
        self._agreed = IconLabel(theme)
        self.corner.addWidget(self._agreed)
        self._heads = [
            tr("Organisation"),
            tr("Address"),
            tr("State"),
            tr("Height"),
            tr("Agreement"),
            tr("Last seen"),
        ]
        table = QTableWidget(0, len(self._heads))
        table.setHorizontalHeaderLabels(self._heads)
        table.setAccessibleName(tr("Peers by organisation"))
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        table.setShowGrid(False)
        table.setTabKeyNavigation(False)
        table.setWordWrap(True)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(32)
        head = table.horizontalHeader()
        head.setHighlightSections(False)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # By the organisations: an error, which spans all columns, would count here in one line.
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        head.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self._table = table
        self._empty = label(tr("No peer is known: import a network profile"), "muted")
        self.body.addWidget(self._empty)
        self.body.addWidget(table)
        self.body.addStretch(1)

    def refresh(self, trust: TrustView) -> None:
        """Show ``trust``'s peers, sorted by organisation and address."""
        if (trust.peers, trust.height) == self._shown:
            return
        self._shown = (trust.peers, trust.height)
        peers = sorted(trust.peers, key=lambda peer: (peer.organisation, peer.address))
        self._empty.setVisible(not peers)
        self._table.setVisible(bool(peers))
        self._table.clearSpans()
        self._table.setRowCount(len(peers) + sum(bool(peer.error) for peer in peers))
        row = 0
        for peer in peers:
            self._show_peer(row, peer, trust.height)
            row += 1
            if peer.error:
                self._show_error(row, peer)
                row += 1
        self._fit_organisations(peers)
        self._table.resizeRowsToContents()
        rows = sum(self._table.rowHeight(line) for line in range(row))
        head = self._table.horizontalHeader().sizeHint().height()
        self._table.setFixedHeight(min(rows + head + 4, 420))
        disputed = disagreeing_organisations(trust)
        number = agreeing_organisations(trust)
        if disputed:
            self._agreed.show_state("warning", disagreement(disputed), "error")
        elif number:
            words = tr("agreed by {number} organisations", number=number)
            self._agreed.show_state("double-check", words, "good")
        else:
            self._agreed.show_state("unknown", tr("not agreed yet"))

    def _fit_organisations(self, peers: list[PeerView]) -> None:
        metrics = self._table.fontMetrics()
        names = [self._heads[0], *(fmt.foreign(peer.organisation, 60) for peer in peers)]
        widest = max(metrics.horizontalAdvance(name) for name in names)
        self._table.setColumnWidth(0, min(widest + _CELL_MARGINS, _WIDEST_ORGANISATION))

    def _show_peer(self, row: int, peer: PeerView, highest: int | None) -> None:
        icon, words, color = agreement(peer)
        height = fmt.count(peer.height)
        if peer.height is not None and highest is not None and peer.height < highest:
            behind = fmt.count(highest - peer.height)
            height += f" ({tr('{number} behind', number=behind)})"
        texts = (
            fmt.foreign(peer.organisation, 60),
            fmt.foreign(peer.address, 80),
            tr("{state}, in use", state=peer_state(peer)) if peer.in_use else peer_state(peer),
            height,
            words,
            fmt.clock_seconds(peer.last_seen),
        )
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{self._heads[column]}: {text}")
            if column == 4:
                item.setIcon(icons.icon(icon, self._theme.color(color), 16))
            self._table.setItem(row, column, item)

    def _show_error(self, row: int, peer: PeerView) -> None:
        # On a line of its own below the peer: it says what to do, and needs the width.
        text = fmt.foreign(said(peer.error), 300)
        item = QTableWidgetItem(text)
        item.setIcon(icons.icon("warning", self._theme.color("warning"), 16))
        spoken = f"{tr('Last error and what to do')}: {text}"
        item.setData(Qt.ItemDataRole.AccessibleTextRole, spoken)
        self._table.setItem(row, 0, item)
        self._table.setSpan(row, 0, 1, len(self._heads))


class TrustPage(Page):
    """Why the figures can be believed, or why not yet."""

    key = "trust"
    icon = "trust"

    def __init__(self, theme: Theme) -> None:
        super().__init__(tr("Trust"))
        inner = QWidget()
        inner.setObjectName("scrolled")
        grid = QGridLayout(inner)
        grid.setContentsMargins(14, 14, 14, 14)
        grid.setSpacing(12)
        self._waiting = Notice(theme)
        self.heights = HeightsCard(theme)
        self.root = RootCard()
        self.peers = PeersCard(theme)
        grid.addWidget(self._waiting, 0, 0, 1, 2)
        grid.addWidget(self.heights, 1, 0)
        grid.addWidget(self.root, 1, 1)
        grid.addWidget(self.peers, 2, 0, 1, 2)
        grid.addWidget(self._legend(theme), 3, 0, 1, 2)
        grid.setColumnStretch(0, 3)
        grid.setColumnStretch(1, 2)
        grid.setRowStretch(4, 1)
        area = QScrollArea()
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setAccessibleName(self.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    def _legend(self, theme: Theme) -> Card:
        card = Card(tr("What the marks beside figures mean"))
        row = QHBoxLayout()
        row.setSpacing(18)
        meanings = {
            Proof.NONE: tr("not checked by this program"),
            Proof.VERIFIED: tr("in a block whose signatures were checked"),
            Proof.AGREED: tr("and two organisations show the same block"),
            Proof.AUDITED: tr("and recomputed here with the same result"),
            Proof.DISPUTED: tr("organisations or the recomputation differ"),
        }
        for proof, text in meanings.items():
            mark = ProofLabel(theme, "strong")
            mark.show_proof(proof)
            column = QVBoxLayout()
            column.setSpacing(2)
            column.addWidget(mark)
            column.addWidget(label(text, "small", wrap=True))
            column.addStretch(1)
            row.addLayout(column, 1)
        card.body.addLayout(row)
        return card

    def refresh(self, view: WalletView, changes: frozenset[Change]) -> None:
        """Show ``view``'s trust."""
        if not changes & {Change.TRUST}:
            return
        trust = view.trust
        waiting, problem = said(trust.waiting_for), said(trust.problem)
        if problem:
            self._waiting.say(fmt.foreign(problem, 500), "error")
        else:
            waiting = fmt.foreign(waiting, 300)
            self._waiting.say(tr("Waiting for: {what}", what=waiting) if waiting else "")
        self.heights.refresh(trust)
        self.root.refresh(trust, view.market_now)
        self.peers.refresh(trust)


def _grouped(fingerprint: str) -> str:
    # Fingerprints are compared by eye: groups of four, unless the text has its own marks.
    if not fingerprint.isalnum():
        return fingerprint
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))
