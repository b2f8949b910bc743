"""`interp-plugins attack ...`: adversarial sets, made, checked, exported and shown."""
