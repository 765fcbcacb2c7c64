"""What a plan was made from besides its own file or folder, and whether that is still the same.

Does not: find the plan (`service`), or follow links (`source/path_resolver`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from esrffs.model import Generation

Generations = Mapping[str, Generation | None]  # by path in the source; None: it was not there


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Files and folders with the generation in which they were seen.

    `generation` tells that of now; it calls stat(2), which may block.  `links`: data files that
    links lead to.  `folders`, `files`: other folders of the source, and the data files in them.
    `texts`: small files of the own folder, such as `.esrffs.toml`.
    """

    generation: Callable[[str], Generation | None]
    links: Generations = field(default_factory=dict)
    folders: Generations = field(default_factory=dict)
    files: Generations = field(default_factory=dict)
    texts: Generations = field(default_factory=dict)

    def is_current(self) -> bool:
        """Are they unchanged?  Texts are not looked at: the version of their folder tells."""
        return all(map(self._unchanged, (self.links, self.folders, self.files)))

    def serves_unlisted(self) -> bool:
        """Are they unchanged, as far as can be told without a stat for each file of a folder?"""
        return all(map(self._unchanged, (self.links, self.folders, self.texts)))

    def _unchanged(self, known: Generations) -> bool:
        return all(self.generation(path) == seen for path, seen in known.items())
