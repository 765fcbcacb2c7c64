"""The content of `corrected/attrs.json`: how the numbers were computed, and from what."""

from collections.abc import Iterable, Mapping
from typing import Any

from esrffs.flatfield.plan import Correction, CorrectionPlan, ReducedDataset, ReducedFrame

FORMULA = "(raw - dark) / (flat - dark)"
_ABSCISSA = (
    "the place of a frame among the flats: the number in its name, or its index in the stack;"
    " `abscissae` of a result are those of the first frame of each entry of `raw`, and the frames"
    " after it follow one by one"
)
_ABSORPTION = "-ln of these pixels: the directory absorption beside this one, which is not listed"
_METHODS = {
    "linear": "between flats at a < b: flat_a*(1-w) + flat_b*w, w = (abscissa-a)/(b-a);"
    " outside of them the nearest flat",
    "nearest": "the flat whose abscissa is nearest",
    "first": "the first flat for all frames",
}


def provenance(plan: CorrectionPlan, stems: Iterable[str], version: str) -> Mapping[str, Any]:
    """The content of `corrected/attrs.json`, for JSON; `stems` are the outputs' file names."""
    corrections = plan.corrections
    of_their_own = any(one.flat_dark is not None for one in corrections)
    absorption = plan.outputs[0].absorption
    told = [_correction(correction, of_their_own) for correction in corrections]
    for number, (correction, one) in enumerate(zip(corrections, told, strict=True)):
        if not absorption:
            one["files"] = _files(correction, f"_{number}" if len(told) > 1 else "")
    places = {id(one): place for place, one in enumerate(corrections)}
    results: dict[str, dict[str, Any]] = {}
    for stem, output in zip(stems, plan.outputs, strict=True):
        results[stem] = {
            "raw": [str(stretch.part) for stretch in output.raw],
            "abscissae": [stretch.abscissa for stretch in output.raw],
        }
        if len(told) > 1:
            results[stem]["correction"] = places[id(output.correction)]
    normalised = any(output.currents for output in plan.outputs)
    formula = FORMULA.replace("flat - dark", "flat - flat_dark") if of_their_own else FORMULA
    if normalised:
        formula += " * flat_current / raw_current"
    if any(one.scale != 1.0 for one in corrections):
        formula += " * scale"
    return {
        "formula": f"-ln({formula})" if absorption else formula,
        **({} if absorption else {"absorption": _ABSORPTION}),
        "dtype": "float32",
        "convention": plan.convention,
        "version": version,
        **(told[0] if len(told) == 1 else {"corrections": told}),
        "flat_of_a_frame": _METHODS[plan.outputs[0].correction.method],
        "abscissa": _ABSCISSA,
        "norm": "current" if normalised else None,
        **({"notes": notes} if (notes := [*plan.warnings, *plan.notes]) else {}),
        "results": results,
    }


def attributes_of(dataset: ReducedDataset) -> Mapping[str, Any]:
    """What `dark.attrs.json` or `flats.attrs.json` tells, ready for JSON."""
    if not dataset.abscissae:
        return _reduced(dataset.frames[0])
    return {
        "abscissae": list(dataset.abscissae),
        "flats": [_reduced(frame) for frame in dataset.frames],
    }


def _files(correction: Correction, end: str) -> dict[str, str]:
    """Where the frames that are used can be read, beside `attrs.json`."""
    names = ["dark", "flats"] if correction.flat_dark is None else ["dark", "flat_dark", "flats"]
    return {name: f"{name}{end}.npy" for name in names}


def _correction(correction: Correction, of_their_own: bool) -> dict[str, Any]:
    """`of_their_own`: some flats have a dark of their own, so that each correction tells which."""
    told: dict[str, Any] = {"dark": _reduced(correction.dark)}
    if of_their_own:
        told["flat_dark"] = _reduced(correction.flat_dark or correction.dark)
    told["flats"] = [
        {"abscissa": flat.abscissa, **_reduced(flat.frames)}
        | ({} if flat.current is None else {"current": flat.current})
        for flat in correction.flats
    ]
    told |= {"flat": correction.method, "nan": correction.nan}
    return told | ({"scale": correction.scale} if correction.scale != 1.0 else {})


def _reduced(frames: ReducedFrame) -> dict[str, Any]:
    if not frames.parts:
        return {"constant": frames.constant}
    several = sum(part.last - part.first for part in frames.parts) > 1
    return {
        "frames": [str(part) for part in frames.parts],
        "reduction": frames.reduction if several else None,
        **({"note": frames.note} if frames.note else {}),
    } | ({"divided_by": frames.divisor} if frames.divisor != 1 else {})
