"""The matchmaking trading centre: the timetable of a slot, and the operator that keeps to it."""
