"""The matchmaking trading centre's driver: opens slots, closes rounds, clears and settles on time."""
