"""Everything one meter says, and how well its line does."""

from datetime import datetime

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from wallet_app import format as fmt
from wallet_app.gui.meter_table import Row, age_words, offset_words, quality_words
from wallet_app.gui.widgets import Card, Facts, label, set_tone
from wallet_app.i18n import tr
from wallet_app.meter.events import Origin, plain
from wallet_app.meter.names import proof_name, value_name, value_order, value_unit
from wallet_app.meter.words import flag_words, gap_words, state_words


class ValuesView(QWidget):
    """The newest values of one meter beside port, protocol, timing and quality."""

    def __init__(self) -> None:
        super().__init__()
        self._values = Card(tr("Values"))
        self._empty = label(tr("Nothing has been read yet."), "muted", wrap=True)
        self._values.body.addWidget(self._empty)
        self._facts: Facts | None = None
        self._labels: dict[str, QLabel] = {}
        self._values.body.addStretch(1)
        line = Card(tr("Serial line"))
        facts = Facts()
        self._line = {
            name: facts.add(title)
            for name, title in (
                ("state", tr("State")),
                ("port", tr("Port")),
                ("adapter", tr("Adapter")),
                ("protocol", tr("Protocol")),
                ("link", tr("Speed and format")),
                ("age", tr("Age of the last reading")),
                ("quality", tr("Damaged frames")),
                ("frames", tr("Good and damaged frames")),
                ("polls", tr("Polls without an answer")),
                ("gaps", tr("Gaps")),
                ("aside", tr("Readings set aside")),
                ("clock", tr("Clock of the meter, ahead of this computer")),
                ("proof", tr("Proven by")),
            )
        }
        line.body.addWidget(facts)
        self._text = label("", "small", wrap=True)
        self._odd = label("", "small", wrap=True)
        line.body.addWidget(self._text)
        line.body.addWidget(self._odd)
        line.body.addStretch(1)
        inner = QWidget()
        inner.setObjectName("scrolled")
        row = QHBoxLayout(inner)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        row.addWidget(self._values, 1)
        row.addWidget(line, 1)
        area = QScrollArea()
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setAccessibleName(tr("Values"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    def show_row(self, row: Row | None, now: datetime) -> None:
        """Show one meter; None shows that there is none."""
        self._show_values(row)
        if row is None:
            for value in self._line.values():
                value.setText(fmt.DASH)
            self._text.setText("")
            self._odd.setText("")
            return
        line, meter, status = row.line, row.meter, row.line.status
        reading = meter.reading if meter else None
        state, tone = state_words(status.state)
        quality, quality_tone = quality_words(line)
        texts = {
            "state": state,
            "port": fmt.foreign(line.connection.port, 60),
            "adapter": fmt.foreign(line.adapter, 60) or fmt.DASH,
            "protocol": line.protocol_name,
            "link": status.link or fmt.DASH,
            "age": age_words(row, now),
            "quality": quality,
            "frames": f"{fmt.count(status.good_frames)} / {fmt.count(status.bad_frames)}",
            "polls": f"{fmt.count(status.missed)} / {fmt.count(status.polls)}",
            "gaps": fmt.count(max(status.gaps, meter.gaps if meter else 0)),
            "aside": fmt.count(meter.rejected if meter else 0),
            "clock": offset_words(meter.clock_offset_s if meter else None),
            "proof": proof_name(str(reading.proof)) if reading else fmt.DASH,
        }
        for name, text in texts.items():
            self._line[name].setText(text)
        set_tone(self._line["state"], tone)
        set_tone(self._line["quality"], quality_tone)
        self._text.setText(fmt.foreign(status.text, 400))
        self._odd.setText(self._odd_words(row))

    @staticmethod
    def _odd_words(row: Row) -> str:
        meter = row.meter
        if meter is None or meter.reading is None:
            return ""
        said = [flag_words(flag) for flag in meter.flags if flag not in ("first", "after_gap")]
        if meter.reading.after_gap:
            said.append(tr("gap before: {why}", why=gap_words(meter.reading.after_gap)))
        if meter.reading.origin is Origin.SIMULATED:
            said.append(tr("simulated, not a real meter"))
        if not said:
            return ""
        text = " · ".join(said)
        return text if meter.accepted else tr("Set aside: {why}", why=text)

    def _show_values(self, row: Row | None) -> None:
        reading = row.meter.reading if row and row.meter else None
        values = reading.values if reading else {}
        self._empty.setVisible(not values)
        keys = sorted(values, key=value_order)
        if list(self._labels) != keys:
            if self._facts is not None:
                self._values.body.removeWidget(self._facts)
                self._facts.deleteLater()
            self._facts = Facts()
            self._labels = {key: self._facts.add(value_name(key)) for key in keys}
            self._values.body.insertWidget(1, self._facts)
        for key, shown in self._labels.items():
            shown.setText(f"{plain(values[key])} {value_unit(key)}".strip())
