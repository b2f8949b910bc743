"""interp-plugins."""
