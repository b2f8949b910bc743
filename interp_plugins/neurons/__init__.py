"""What single neurons stand for, and whether they still do under attack."""
