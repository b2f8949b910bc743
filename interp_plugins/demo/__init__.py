"""The study that `interp-plugins demo` runs: small networks, one attack on all of them, one page about it."""
