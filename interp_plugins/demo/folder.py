"""The demo's folder: networks, pictures and the adversarial set lie in it as the other commands want them.

OUT/networks/depth_4.safetensors, ...   the weights
OUT/networks/nets.py                    a factory for each network: --model OUT/networks/nets.py:depth_4
OUT/pictures.npz                        the pictures that are attacked: --data OUT/pictures.npz
OUT/labelled                            all held-out pictures, with what is where in them: --data OUT/labelled
OUT/set                                 the adversarial set
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp_plugins.demo.networks import ResidualNetwork, trained
from interp_plugins.foundation.distributed import Place
from interp_plugins.foundation.files import write_whole
from interp_plugins.store.lock import hold
from interp_plugins.store.sets import AdversarialSet

NETS = '''"""The networks of `interp-plugins demo`, one factory each; --model {name}:depth_4 names one of them."""

from pathlib import Path

from interp_plugins.demo.networks import ResidualNetwork, trained

HERE = Path(__file__).parent
'''
FACTORY = """

def depth_{depth}() -> ResidualNetwork:
    return trained(HERE / "depth_{depth}.safetensors", depth={depth}, classes={classes}, width={width})
"""


@dataclass(frozen=True)
class Recipe:
    """All that decides a network besides the pictures."""

    depth: int
    width: int
    classes: int
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        """What people call it."""
        return f"depth {self.depth}"


@dataclass(frozen=True)
class Folder:
    """Where everything is."""

    path: Path

    @property
    def nets(self) -> Path:
        """The model file."""
        return self.path / "networks" / "nets.py"

    @property
    def pictures(self) -> Path:
        """The pictures that are attacked."""
        return self.path / "pictures.npz"

    @property
    def labelled(self) -> Path:
        """The held-out pictures with their concepts, a Broden directory."""
        return self.path / "labelled"

    @property
    def set(self) -> Path:
        """The adversarial set."""
        return self.path / "set"

    def weights(self, recipe: Recipe) -> Path:
        """The file of a network's weights."""
        return self.nets.with_name(f"depth_{recipe.depth}.safetensors")

    def spec(self, recipe: Recipe) -> str:
        """What names a network to the commands."""
        return f"{self.nets}:depth_{recipe.depth}"

    def network(self, recipe: Recipe) -> ResidualNetwork:
        """A trained network, from its file."""
        return trained(self.weights(recipe), recipe.depth, recipe.classes, recipe.width)

    def clear(self) -> None:
        """Remove what an earlier demo made here, and make the folders; whatever else there is stays.

        Raises:
            ValueError: There is something at `set` that is no set of a demo in this folder, or one that is being made;
                or labelled images at `labelled` that no demo drew.
        """
        self.nets.parent.mkdir(parents=True, exist_ok=True)
        self._clear_labelled()
        if not self.set.exists():
            return
        try:
            mine = AdversarialSet.open(self.set).manifest.data.spec == str(self.pictures.absolute())
        except (ValueError, OSError):
            mine = False
        if not mine:
            raise ValueError(
                f"{self.set} is no set that the demo made in this folder; name another folder with --out, or move it"
            )
        with hold(self.set, Place()):
            pass  # nobody is at work there
        shutil.rmtree(self.set)

    def _clear_labelled(self) -> None:
        index = self.labelled / "index.csv"
        if not index.exists():
            return
        if not index.read_text(encoding="utf-8").partition("\n")[2].startswith("scenes/"):
            raise ValueError(
                f"{self.labelled} holds images that the demo did not draw; name another folder with --out, or move it"
            )
        shutil.rmtree(self.labelled)

    def write_nets(self, recipes: Iterable[Recipe]) -> None:
        """Write the model file."""
        factories = (FACTORY.format(depth=each.depth, classes=each.classes, width=each.width) for each in recipes)
        write_whole(self.nets, NETS.format(name=self.nets.name) + "".join(factories))

    def write_pictures(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str], wnids: Sequence[str]
    ) -> None:
        """Write the pictures, bytes (n, 3, h, w), and what is to be seen in them (n,)."""
        arrays: dict[str, Any] = {"images": images, "labels": labels, "classes": classes, "wnids": wnids}
        content = BytesIO()
        np.savez(content, **arrays)
        write_whole(self.pictures, content.getvalue())
