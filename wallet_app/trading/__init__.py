"""The trading session: slot timetable, outbox, agent, statement."""
