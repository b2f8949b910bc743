"""The record: what the plugin offers. Nothing heavy is imported here, so that listing the methods stays quick."""

from collections.abc import Iterator

from interp_plugins import Method, hookimpl


@hookimpl
def interp_methods() -> Iterator[Method]:
    """Yield one record for each method."""
    yield Method(
        name="MomentumFGSM",
        kind="attack",
        target="interp_momentum.attack:MomentumFGSM",
        summary="FGSM in several steps that keep their direction by momentum",
        paper="arXiv:1710.06081",
    )
