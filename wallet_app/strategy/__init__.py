"""Forecast, battery, reservation price, best response, suggestion."""
