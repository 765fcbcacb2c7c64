"""Answers for conventions from HDF5 files and dicts, and their plans carried out in NumPy."""

import re
from collections.abc import Callable, Mapping

import h5py
import numpy as np

from esrffs.flatfield.conventions.detect import detect_in_folder, detect_in_group
from esrffs.flatfield.conventions.queries import (
    DescribeArray,
    ListMembers,
    MemberSummary,
    OwnName,
    Query,
    ReadTextFile,
    ReadValues,
    answer_all,
    split_beside,
)
from esrffs.flatfield.formula import RunningMean, correct_run, current_ratio, median, per_exposure
from esrffs.flatfield.plan import CorrectedDataset, CorrectionOptions, CorrectionPlan, ReducedFrame
from esrffs.flatfield.provenance import provenance

SHAPE = (3, 4)  # of the frames that `counts` makes
Load = Callable[[str], np.ndarray]


def _entry(node: object, link: object = None) -> MemberSummary | None:
    """What a convention is told of an object of an HDF5 file."""
    if isinstance(link, h5py.SoftLink):
        return MemberSummary("link")
    if isinstance(node, h5py.Group):
        return MemberSummary("group")
    if not isinstance(node, h5py.Dataset):
        return None
    told = [node.attrs.get(name) for name in ("interpretation", "IMAGE_SUBCLASS")]
    known = {one.decode() if isinstance(one, bytes) else one for one in told}
    colour = not known.isdisjoint(("rgb-image", "rgba-image", "IMAGE_TRUECOLOR"))
    return MemberSummary("dataset", node.shape, node.dtype, colour=colour)


def of_file(
    file: h5py.File, others: Mapping[str, h5py.File] | None = None, name: str = "scan.h5"
) -> Callable[[Query], object]:
    """Answers from this file, which has this name, and from the `others` beside it."""

    def found(path: str) -> object:
        parts = split_beside(path)
        if parts is None:
            return file.get(path or "/")
        other = (others or {}).get(parts[0])
        return None if other is None else other.get(parts[1])

    def answer(question: Query) -> object:
        if isinstance(question, OwnName):
            return name
        node = found(question.path)
        if isinstance(question, ListMembers):
            if not isinstance(node, h5py.Group):
                return None
            return {one: _entry(node.get(one), node.get(one, getlink=True)) for one in node}
        if isinstance(question, DescribeArray):
            return _entry(node)
        assert isinstance(question, ReadValues)
        if not isinstance(node, h5py.Dataset):
            return None
        return np.asarray(node.asstr()[()] if h5py.check_string_dtype(node.dtype) else node[()])

    return answer


def of_folder(
    images: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None = None,
    series: Mapping[str, tuple[int, ...]] | None = None,
    asked: list[Query] | None = None,
) -> Callable[[Query], object]:
    texts, series = texts or {}, series or {}

    def describe(name: str) -> MemberSummary | None:
        if name in series:
            one = images[name.replace("####", f"{series[name][0]:04d}")]
            return MemberSummary("series", (len(series[name]), *one.shape), one.dtype, series[name])
        return (
            MemberSummary("image", images[name].shape, images[name].dtype)
            if name in images
            else None
        )

    def below(path: str) -> dict[str, MemberSummary] | None:
        """Of a folder, or of a group `file::path`."""
        start = path if path.endswith("::") else path + "/"
        rest = [name.removeprefix(start) for name in images if name.startswith(start)]
        runs = {name.removeprefix(start): numbers for name, numbers in series.items()
                if name.startswith(start)}  # fmt: skip
        deeper = "group" if "::" in path else "folder"
        found = {
            one.partition("/")[0]: MemberSummary(deeper if "/" in one else "image") for one in rest
        }
        found |= {name: MemberSummary("series", numbers=numbers) for name, numbers in runs.items()}
        return found or None

    def answer(question: Query) -> object:
        if asked is not None:
            asked.append(question)
        if isinstance(question, ListMembers) and question.path:
            return below(question.path)
        if isinstance(question, ListMembers):
            folders = {name.partition("/")[0] for name in images if "/" in name.partition("::")[0]}
            shown = {name: MemberSummary("image") for name in images if not re.search("::|/", name)}
            shown |= {
                name.partition("::")[0]: MemberSummary("data") for name in images if "::" in name
            }
            shown = {name: one for name, one in shown.items() if "/" not in name}
            shown |= {name: MemberSummary("folder") for name in folders if name != ".."}
            runs = {
                name: MemberSummary("series", numbers=numbers) for name, numbers in series.items()
            }
            return shown | runs | {name: MemberSummary("other") for name in texts}
        if isinstance(question, DescribeArray):
            return describe(question.path)
        if isinstance(question, ReadValues | OwnName):
            return images.get(getattr(question, "path", ""))
        assert isinstance(question, ReadTextFile)
        return (
            texts[question.name].encode(errors="surrogateescape")
            if question.name in texts
            else None
        )

    return answer


def file_plan(
    file: h5py.File,
    path: str = "",
    options: CorrectionOptions | None = None,
    others: Mapping[str, h5py.File] | None = None,
):
    answer = of_file(file, others)
    return answer_all(detect_in_group(path, options or CorrectionOptions()), answer)


def folder_plan(images, texts=None, series=None, options=None, asked=None):
    answer = of_folder(images, texts, series, asked)
    return answer_all(detect_in_folder(options or CorrectionOptions()), answer)


def _reduced(frames: ReducedFrame, load: Load, pixels: int) -> np.ndarray:
    if not frames.parts:
        return np.full(pixels, frames.constant, np.float32)
    stacks = []
    for part in frames.parts:
        array = load(part.path)
        stacks.append((array[None] if array.ndim == 2 else array)[part.first : part.last])
    run = np.concatenate([stack.reshape(len(stack), -1) for stack in stacks])
    if frames.reduction == "median":
        return per_exposure(median(run), frames.divisor)
    mean = RunningMean(run.shape[1])
    mean.add(run)
    return per_exposure(mean.result(), frames.divisor)


def corrected_array(output: CorrectedDataset, load: Load) -> np.ndarray:
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
        mixes = [correction.axis.weights_at(stretch.abscissa + i) for i in range(len(stack))]
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


def all_corrected(plan: CorrectionPlan, load: Load) -> dict[str, np.ndarray]:
    assert isinstance(plan, CorrectionPlan), plan
    return {output.name: corrected_array(output, load) for output in plan.outputs}


def loading(file: h5py.File, others: Mapping[str, h5py.File] | None = None) -> Load:
    def load(path: str) -> np.ndarray:
        parts = split_beside(path)
        return file[path][()] if parts is None else (others or {})[parts[0]][parts[1]][()]

    return load


def provenance_of(plan: CorrectionPlan, version: str = "") -> Mapping[str, object]:
    return provenance(plan, [output.name for output in plan.outputs], version)


def counts(rng, n=None, low=1000, high=60000):
    """Random counts of one frame or of `n`: uint16 from `low` to `high`."""
    return rng.integers(low, high, SHAPE if n is None else (n, *SHAPE)).astype(np.uint16)
