"""Images of which a folder has links only."""

from pathlib import Path

from tests.support.image_files import edf, image


def linked_images(parent: Path) -> Path:
    """Write images; `parent/source/sorted` holds links to those within the source and beside it."""
    found = parent / "source"
    for folder in (found / "raw", found / "sorted", parent / "far"):
        folder.mkdir(parents=True)
    for number, name in enumerate(("k17", "k03", "k11")):
        edf(found / "raw" / f"{name}.edf", image(number))
        edf(parent / "far" / f"{name}.edf", image(number))
        (found / "sorted" / f"in_{number:04d}.edf").symlink_to(f"../raw/{name}.edf")
        (found / "sorted" / f"abs_{number:04d}.edf").symlink_to(found / "raw" / f"{name}.edf")
        (found / "sorted" / f"out_{number:04d}.edf").symlink_to(parent / "far" / f"{name}.edf")
        (found / "sorted" / f"gone_{number:04d}.edf").symlink_to("../raw/nothing.edf")
        (found / "sorted" / f"folder_{number:04d}.edf").symlink_to("../raw")
    return found
