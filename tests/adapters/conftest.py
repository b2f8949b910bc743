"""The tests of an adapter are collected where its host is installed."""

from importlib.util import find_spec

HOSTS = {"torchattacks": "torchattacks", "art": "art", "captum": "captum"}

collect_ignore_glob = [f"*{name}*.py" for name, package in HOSTS.items() if find_spec(package) is None]
