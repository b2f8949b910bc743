"""What all methods share: checks, borrowed models, balls, tiles, prepared copies. Torch only, no method's logic."""
