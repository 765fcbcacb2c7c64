"""Manual pages, completions and the table of docs/options.md, from the tables of options.

`python -m tools.pages` writes them into the working directory, which must be a clone of the
repository.  A test fails if a committed file differs from what this module makes.
"""

import re
from collections.abc import Callable
from pathlib import Path

from esrffs.cli.main import DESCRIPTION, EXAMPLES, FORMS
from esrffs.cli.options import SWITCHES
from tools import completions
from tools.completions import entries

OPTIONS_PAGE = "docs/options.md"
_BEGIN, _END = "<!-- begin: made by `python -m tools.pages` -->\n", "<!-- end -->\n"


# Manual pages: man(7)


def _roff(text: str) -> str:
    """Plain text as man(7) needs it: backslashes, hyphens, and dots at the start of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return re.sub(r"(?m)^([.'])", r"\\&\1", escaped)


def _title(name: str, section: int, what: str) -> str:
    """The head of a page and its section NAME."""
    kind = "User Commands" if section == 1 else "System Administration"
    return f""".\\" Made by `python -m tools.pages`.
.TH {name.upper()} {section} "" esrffs "{kind}"
.SH NAME
{_roff(name)} \\- {_roff(what)}
"""


def _item(head: str, text: str) -> str:
    """One entry of a list: `head`, which is roff already, and below it the plain text."""
    return f".TP\n{head}\n{_roff(text)}\n"


def _mount_options(*, long: bool) -> str:
    """The list of mount options: "--cache-size MIB" if `long`, else "cache_size=MIB"."""
    text = ""
    for entry in entries():
        name = entry.long if long else entry.name
        value = f"{' ' if long else '='}\\fI{entry.kind}\\fR" * bool(entry.kind)
        text += _item(f"\\fB{_roff(name)}\\fR{value}", entry.text)
    return text


def _esrffs_1() -> str:
    synopsis = "\n.br\n".join(f"\\fBesrffs\\fR {_roff(form)}" for form in FORMS)
    switches = ""
    for switch in SWITCHES:
        names = [f"\\-{switch.letter}"] * bool(switch.letter)
        names += [f"\\-\\-{switch.name}"] * bool(switch.name)
        value = f" \\fI{_roff(switch.value)}\\fR" * bool(switch.value)
        switches += _item(f"\\fB{', '.join(names)}\\fR{value}", switch.help)
    examples = "".join(
        f".TP\n{_roff(what)}\n\\fB{_roff(command)}\\fR\n" for command, what in EXAMPLES
    )
    return (
        _title("esrffs", 1, "mount Spec, EDF and HDF5 files as directories of arrays")
        + f".SH SYNOPSIS\n{synopsis}\n"
        + f".SH DESCRIPTION\n{_roff(DESCRIPTION.strip())}\n"
        + f".SH OPTIONS\n{switches}"
        + ".SH MOUNT OPTIONS\nEach can also be given as \\fB\\-o\\fR \\fIname\\fR or "
        + "\\fB\\-o\\fR \\fIname\\fR=\\fIvalue\\fR, with underscores.\n"
        + _mount_options(long=True)
        + f".SH EXAMPLES\n{examples}"
        + _ENDING
    )


_ENDING = """.SH SIGNALS
SIGINT, SIGTERM and SIGHUP unmount; SIGUSR1 turns debugging in the log on and off.
.SH EXIT STATUS
0: done; 1: failed; 2: called wrongly.
.SH FILES
.TP
\\fI/etc/fuse.conf\\fR
must hold the line \\fBuser_allow_other\\fR before others than root can use \\fBallow_other\\fR.
.TP
\\fI.esrffs.toml\\fR
in a folder of images names what is raw, flat and dark.
.SH SEE ALSO
.BR mount.esrffs (8),
.BR fusermount3 (1),
.BR mount (8),
.BR fstab (5)
"""


def _mount_esrffs_8() -> str:
    return (
        _title("mount.esrffs", 8, "what mount(8) calls for file systems of type esrffs")
        + """.SH SYNOPSIS
\\fBmount \\-t esrffs\\fR \\fISOURCE MOUNTPOINT\\fR [\\fB\\-o\\fR \\fIoptions\\fR]
.br
\\fBmount \\-t fuse.esrffs\\fR \\fISOURCE MOUNTPOINT\\fR [\\fB\\-o\\fR \\fIoptions\\fR]
.SH DESCRIPTION
Mounts as \\fBesrffs\\fR(1) does, which goes to the background once the mount answers.
The second form goes by way of \\fBmount.fuse3\\fR(8), and \\fBesrffs\\fR must lie where the shell
of root finds it.
Options that mount(8), fstab(5) or systemd.mount(5) know and that mean nothing here, such as
\\fBrw\\fR, \\fB_netdev\\fR, \\fBnofail\\fR or \\fBx\\-systemd.automount\\fR, are taken
without effect.
An unknown option is an error.
.SH MOUNT OPTIONS
"""
        + _mount_options(long=False)
        + """.SH EXIT STATUS
0: done; 1: called wrongly; 32: could not be mounted.
.SH EXAMPLES
.TP
A line of fstab(5), mounted when somebody looks into it:
/data/visitor /mnt/visitor esrffs noauto,x\\-systemd.automount,allow_other 0 0
.SH SEE ALSO
.BR esrffs (1),
.BR mount (8),
.BR fstab (5)
"""
    )


# docs/options.md


def _table() -> str:
    """The table of mount options in Markdown."""
    rows = ["| `-o` | long | what it does |", "|---|---|---|"]
    for entry in entries():
        name = entry.name + f"={entry.kind}" * bool(entry.kind)
        long = entry.long + f" {entry.kind}" * bool(entry.kind)
        rows.append(f"| `{name}` | `{long}` | {entry.text} |")
    return "\n".join(rows) + "\n"


def _options_page(present: str) -> str:
    """docs/options.md with a new table; all other text of `present` stays."""
    before, rest = present.split(_BEGIN)
    return before + _BEGIN + _table() + _END + rest.split(_END, 1)[1]


_MADE: dict[str, Callable[[], str]] = {
    "man/esrffs.1": _esrffs_1,
    "man/mount.esrffs.8": _mount_esrffs_8,
    "completions/esrffs.bash": completions.bash,
    "completions/_esrffs": completions.zsh,
    "completions/esrffs.fish": completions.fish,
}


def made(root: Path) -> dict[str, str]:
    """The text of each file, by its path relative to `root`, the folder of the clone."""
    pages = {name: make() for name, make in _MADE.items()}
    return {**pages, OPTIONS_PAGE: _options_page((root / OPTIONS_PAGE).read_text())}


if __name__ == "__main__":
    for name, text in made(Path()).items():
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
