"""Plan of `brainuad-predict` in words: model, scans, preparation and work."""

from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.machine.text import one_line

if TYPE_CHECKING:
    from brainuad.inference.find_scans import Source
    from brainuad.model.known import Known


def plan(known: "Known", source: "Source", todo: int, out: Path, predicted: set[str]) -> str:
    """Return found scans and further steps in words.

    Args:
        known: cards and choices of the model.
        source: scans that were found.
        todo: number of scans that are not done.
        out: folder of the results.
        predicted: sequences of all models of the command.
    """
    said = [f"model: {known}"]
    counts = {name: n for name, n in sorted(source.aside.items()) if name not in predicted}
    left = ", ".join(f"{number} {name}" for name, number in counts.items())
    aside = f"; left aside: {left}" if left else ""
    if source.trained_on:
        aside += f"; {source.trained_on} that the model was trained on left out"
    said.append(f"found: {source.kind} with {len(source.wanted)} {known.sequence} scans{aside}")
    if source.assumed:
        said.append(
            f"note: of {source.assumed} scans the name tells no sequence; they are taken for "
            f"{known.sequence} (--sequence says otherwise)"
        )
    if source.cohort is None:
        how = "as the model's training scans" if known.card.preparation else "by default"
        where = "to the atlas" if known.recipe.registered else "without an atlas"
        spacing = known.recipe.spacing_mm
        grid = "at the images' own pixels" if spacing is None else f"at {spacing:g} mm"
        said.append(f"preparation: {how}, {where}, {grid}")
    done = len(source.wanted) - todo
    said.append(
        f"to do: {todo} scans"
        + (f", {done} are done already" if done else "")
        + f"; threshold {known.how_marked}; results in {out}"
    )
    # A card's text could forge lines.
    return "\n".join(map(one_line, said))
