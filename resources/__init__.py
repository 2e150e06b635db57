"""Files the programs read at run time: profiles, icons, style sheets, translations."""

from importlib.resources import files
from importlib.resources.abc import Traversable


def resource(*parts: str) -> Traversable:
    """Return the resource at ``parts`` below this package, wherever it is installed."""
    return files(__name__).joinpath(*parts)
