"""The prosumer wallet: keys, meter, strategy, trading and the window."""
