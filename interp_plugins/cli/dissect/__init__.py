"""The commands `interp-plugins dissect ...`: which concepts a network's units point at, and what an attack takes."""
