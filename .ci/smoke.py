"""Ask an installed wheel whether it is whole: every module imports from there, and every record leads to a class."""

import importlib
import pkgutil
import sys
import sysconfig
from pathlib import Path

import interp_plugins
from interp_plugins import get, methods

PACKAGES = ("interp_plugins", "interp_torchattacks", "interp_art", "interp_captum")
installed = Path(sysconfig.get_path("purelib")).resolve()
imported = 0

for name in PACKAGES:
    package = importlib.import_module(name)
    folder = Path(package.__path__[0]).resolve()
    if folder.parent != installed:
        sys.exit(f"{name} came from {folder}, not from {installed}: the wheel lacks it")
    if not (folder / "py.typed").is_file():
        sys.exit(f"{name} has no py.typed in the wheel")
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            imported += 1

records = methods()
if missing := {None, "torchattacks", "art", "captum"} - {record.host for record in records}:
    sys.exit(f"no record for {missing}: an entry point is missing in the wheel")
for record in records:
    get(record.name, host=record.host)

sys.stdout.write(f"interp-plugins {interp_plugins.__version__} is whole: {imported} modules, {len(records)} methods\n")
