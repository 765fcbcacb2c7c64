"""The picture of a terminal in the README: `python demo/terminal.py OUT.svg`.

Each command is run for real, at a terminal, beside a new experiment; what it answers is drawn.
"""

import html
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS = 92
PLACE = "/tmp/try"  # noqa: S108  # drawn in the place of a folder that has another name each time
SESSION = (
    "ls experiment",
    "esrffs experiment mnt",
    "ls mnt",
    "ls mnt/tomo.h5/entry mnt/alignment.dat/2.1/measurement",
    "jq -c . mnt/tomo.h5/entry/instrument/detector/data.attrs.json",
    "python3 -c 'import numpy; print(numpy.load(\"mnt/tomo.h5/entry/corrected/data.npy\").shape)'",
    "getfattr -d mnt/tomo.h5/entry/title.npy",
    "rm mnt/notes.txt",
    "esrffs -u mnt",
)

# Colours of which each can be read on that ground: black, red, green … white, then the bright ones.
THEME = TerminalTheme(
    (24, 28, 34),
    (220, 223, 228),
    [
        (60, 66, 76),
        (240, 113, 120),
        (152, 195, 121),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (220, 223, 228),
    ],
)

# As rich's own, but with the reader's fonts: a picture that loads nothing.
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
    font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    Path(sys.argv[1]).write_text(drawn(session()))


def session() -> list[tuple[str, str]]:
    """Each command, and what it answered, colours included."""
    with tempfile.TemporaryDirectory() as folder:
        make = Path(__file__).with_name("make_experiment.py")
        subprocess.run([sys.executable, make, "experiment"], cwd=folder, check=True)
        Path(folder, "mnt").mkdir()
        try:
            return [(command, answer(command, folder)) for command in SESSION]
        finally:
            if os.path.ismount(Path(folder, "mnt")):
                subprocess.run(["umount", "-l", "mnt"], cwd=folder, check=False)


def answer(command: str, folder: str) -> str:
    """What somebody sees who types this in a terminal with the aliases that are usual."""
    ours, theirs = pty.openpty()
    typed = f"shopt -s expand_aliases; alias ls='ls --color=auto'\n{command}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with subprocess.Popen(
        ["bash", "-c", typed],
        cwd=folder,
        env={"PATH": path, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        told = b""
        while part := read(ours):
            told += part
    os.close(ours)
    return told.decode().replace("\r\n", "\n").replace(folder, PLACE)


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # nobody has it open any more
        return b""


def drawn(told: list[tuple[str, str]]) -> str:
    with open(os.devnull, "w") as nowhere:
        console = Console(
            record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor"
        )
        for command, answer_ in told:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            if answer_:
                console.print(Text.from_ansi(answer_.rstrip("\n")))
        svg = console.export_svg(
            title="", theme=THEME, code_format=SVG, font_aspect_ratio=0.602, unique_id="t"
        )
        return TEXT.sub(words_in_place, svg)


TEXT = re.compile(r'<text class="(.*?)" x="(.*?)" y="(.*?)" textLength="(.*?)" (.*?)>(.*?)</text>')


def words_in_place(run: re.Match[str]) -> str:
    """Each word of a run of text at an `x` of its own: some viewers leave out blanks."""
    style, x, y, length, clip, content = run.groups()
    text = html.unescape(content).replace("\u00a0", " ")
    width = float(length) / len(text)
    return "".join(
        f'<text class="{style}" x="{float(x) + word.start() * width:.1f}" y="{y}"'
        f' textLength="{len(word[0]) * width:.1f}" {clip}>{html.escape(word[0])}</text>'
        for word in re.finditer(r"\S+", text)
    )


if __name__ == "__main__":
    main()
