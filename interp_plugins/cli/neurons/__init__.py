"""The commands `interp-plugins neurons ...`: what a network's neurons mean, and whether they still do under attack."""
