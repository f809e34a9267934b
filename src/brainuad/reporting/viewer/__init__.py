"""The page over the masks of `brainuad-predict`: a list of scans and a viewer, from disk."""

from brainuad.reporting.viewer.anonymous import write_anonymous_page
from brainuad.reporting.viewer.page import write_page

__all__ = ["write_anonymous_page", "write_page"]
