"""Adversarial sets on disk: what was asked for, the images as bytes, and who was fooled by them.

Nothing is imported here, so that a listing starts without torch and pydantic.
"""
