"""No tests: answers for conventions from HDF5 files and dicts, and recipes carried out."""

import re
from collections.abc import Callable, Mapping

import h5py
import numpy as np

from esrffs.flatfield.conventions.detect import in_file, in_folder
from esrffs.flatfield.conventions.queries import (
    Describe,
    Entry,
    List,
    Question,
    Read,
    ReadFile,
    answered,
)
from esrffs.flatfield.formula import Mean, correct_run, current_ratio, divided, median
from esrffs.flatfield.plan import Options, Output, Recipe, Reduced
from esrffs.flatfield.provenance import provenance

Load = Callable[[str], np.ndarray]


def of_file(file: h5py.File) -> Callable[[Question], object]:
    def entry(node: object, link: object = None) -> Entry | None:
        if isinstance(link, h5py.SoftLink):
            return Entry("link")
        if isinstance(node, h5py.Group):
            return Entry("group")
        return dataset(node) if node is not None else None

    def dataset(node: h5py.Dataset) -> Entry:
        told = [node.attrs.get(name) for name in ("interpretation", "IMAGE_SUBCLASS")]
        known = {one.decode() if isinstance(one, bytes) else one for one in told}
        colour = not known.isdisjoint(("rgb-image", "rgba-image", "IMAGE_TRUECOLOR"))
        return Entry("dataset", node.shape, node.dtype, colour=colour)

    def answer(question: Question) -> object:
        if isinstance(question, List):
            group = file.get(question.path or "/")
            if not isinstance(group, h5py.Group):
                return None
            return {name: entry(group.get(name), group.get(name, getlink=True)) for name in group}
        node = file.get(question.path)
        if isinstance(question, Describe):
            return entry(node)
        assert isinstance(question, Read)
        if not isinstance(node, h5py.Dataset):
            return None
        return np.asarray(node.asstr()[()] if h5py.check_string_dtype(node.dtype) else node[()])

    return answer


def of_folder(
    images: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None = None,
    series: Mapping[str, tuple[int, ...]] | None = None,
    asked: list[Question] | None = None,
) -> Callable[[Question], object]:
    texts, series = texts or {}, series or {}

    def describe(name: str) -> Entry | None:
        if name in series:
            one = images[name.replace("####", f"{series[name][0]:04d}")]
            return Entry("series", (len(series[name]), *one.shape), one.dtype, series[name])
        return Entry("raster", images[name].shape, images[name].dtype) if name in images else None

    def below(path: str) -> dict[str, Entry] | None:
        """Of a folder, or of a group `file::path`."""
        start = path if path.endswith("::") else path + "/"
        rest = [name.removeprefix(start) for name in images if name.startswith(start)]
        runs = {name.removeprefix(start): numbers for name, numbers in series.items()
                if name.startswith(start)}  # fmt: skip
        deeper = "group" if "::" in path else "folder"
        found = {one.partition("/")[0]: Entry(deeper if "/" in one else "raster") for one in rest}
        found |= {name: Entry("series", numbers=numbers) for name, numbers in runs.items()}
        return found or None

    def answer(question: Question) -> object:
        if asked is not None:
            asked.append(question)
        if isinstance(question, List) and question.path:
            return below(question.path)
        if isinstance(question, List):
            folders = {name.partition("/")[0] for name in images if "/" in name.partition("::")[0]}
            rasters = {name: Entry("raster") for name in images if not re.search("::|/", name)}
            rasters |= {name.partition("::")[0]: Entry("data") for name in images if "::" in name}
            rasters = {name: one for name, one in rasters.items() if "/" not in name}
            rasters |= {name: Entry("folder") for name in folders if name != ".."}
            runs = {name: Entry("series", numbers=numbers) for name, numbers in series.items()}
            return rasters | runs | {name: Entry("other") for name in texts}
        if isinstance(question, Describe):
            return describe(question.path)
        if isinstance(question, Read):
            return images.get(question.path)
        assert isinstance(question, ReadFile)
        return texts[question.name].encode() if question.name in texts else None

    return answer


def file_recipe(file: h5py.File, path: str = "", options: Options | None = None):
    return answered(in_file(path, options or Options()), of_file(file))


def folder_recipe(images, texts=None, series=None, options=None, asked=None):
    answer = of_folder(images, texts, series, asked)
    return answered(in_folder(options or Options()), answer)


def _reduced(frames: Reduced, load: Load, pixels: int) -> np.ndarray:
    if not frames.parts:
        return np.full(pixels, frames.constant, np.float32)
    stacks = []
    for part in frames.parts:
        array = load(part.path)
        stacks.append((array[None] if array.ndim == 2 else array)[part.first : part.last])
    run = np.concatenate([stack.reshape(len(stack), -1) for stack in stacks])
    if frames.reduction == "median":
        return divided(median(run), frames.divisor)
    mean = Mean(run.shape[1])
    mean.add(run)
    return divided(mean.result(), frames.divisor)


def cooked(output: Output, load: Load) -> np.ndarray:
    """The array of `corrected/<name>.npy`, as the array layer will make it."""
    correction = output.correction
    pixels = output.shape[-1] * output.shape[-2]
    dark = _reduced(correction.dark, load, pixels)
    flat_dark = correction.flat_dark and _reduced(correction.flat_dark, load, pixels)
    flats = {k: _reduced(flat.frames, load, pixels) for k, flat in enumerate(correction.flats)}
    out, k = np.empty(output.shape, np.float32), 0
    frames = out.reshape(-1, dark.size)
    for stretch in output.raw:
        part, array = stretch.part, load(stretch.part.path)
        stack = (array[None] if array.ndim == 2 else array)[part.first : part.last]
        mixes = [correction.axis.mix(stretch.abscissa + i) for i in range(len(stack))]
        scales = [
            current_ratio([flat.current for flat in correction.flats], mix, current)
            for mix, current in zip(mixes, output.currents[k:], strict=False)
        ]
        if correction.scale != 1.0:
            scales = [correction.scale] * len(stack)
        target = frames[k : k + len(stack)].reshape(-1)
        nan = correction.nan
        correct_run(stack.reshape(-1), 0, dark, flats, mixes, target, nan, scales, flat_dark)
        k += len(stack)
    assert k == len(frames)
    return out


def all_cooked(recipe: Recipe, load: Load) -> dict[str, np.ndarray]:
    assert isinstance(recipe, Recipe), recipe
    return {output.name: cooked(output, load) for output in recipe.outputs}


def loading(file: h5py.File) -> Load:
    return lambda path: file[path][()]


def told_of(recipe: Recipe, version: str = "") -> Mapping[str, object]:
    return provenance(recipe, [output.name for output in recipe.outputs], version)
