"""The text of the completion files for bash, zsh and fish, from the tables of options.

They complete options, the names after `-o`, paths, and after `-u` and `--status` mount points.
Does not write the files: `tools/pages` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from esrffs.cli.main import default_text
from esrffs.cli.options import SWITCHES, MountOptions


@dataclass(frozen=True, slots=True)
class OptionEntry:
    """One mount option, as completions, manual pages and docs/options.md show it."""

    name: str  # after -o: "cache_size"
    kind: str  # what its value is: "MIB", "FILE"; "" if it takes none
    text: str  # what it does, with its default

    @property
    def long(self) -> str:
        """The option as a word of its own: "--cache-size"."""
        return "--" + self.name.replace("_", "-")


def entries() -> Iterator[OptionEntry]:
    """All mount options, in the order of `MountOptions`."""
    for entry in fields(MountOptions):
        text = entry.metadata["help"] + default_text(entry.default)
        yield OptionEntry(entry.name, entry.metadata["kind"], text)


def _words() -> str:
    """All options that begin with a hyphen, separated by blanks."""
    names = [f"-{switch.letter}" for switch in SWITCHES if switch.letter]
    names += [f"--{switch.name}" for switch in SWITCHES if switch.name]
    return " ".join(names + [entry.long for entry in entries()])


def bash() -> str:
    """The file `completions/esrffs.bash`."""
    names = " ".join(entry.name + "=" * bool(entry.kind) for entry in entries())
    valued = "|".join(entry.long for entry in entries() if entry.kind and entry.name != "log_file")
    return f"""# Completion of esrffs for bash.  Made by `python -m tools.pages`.
_esrffs() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    case $before in
        -o) mapfile -t COMPREPLY < <(compgen -W "{names}" -- "$word"); compopt -o nospace; return ;;
        {valued}) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "{_words()}" -- "$word")
    elif [[ " ${{COMP_WORDS[*]:1:COMP_CWORD-1}} " =~ " "(-u|--unmount|--status)" " ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(findmnt -n -r -o TARGET -t fuse.esrffs)" -- "$word")
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}}
complete -F _esrffs esrffs
"""


def _quoted(text: str) -> str:
    """A help text without the characters that zsh and fish would interpret."""
    return text.replace("'", "’").replace("[", "(").replace("]", ")").replace(":", ",")


def zsh() -> str:
    """The file `completions/_esrffs`, for `_arguments` of zsh."""
    lines = []
    for switch in SWITCHES:
        if not switch.name:
            lines.append(f"'*-{switch.letter}[{_quoted(switch.help)}]:options:'")
        elif switch.letter:
            pair = f"-{switch.letter},--{switch.name}"
            lines.append(f"{{{pair}}}'[{_quoted(switch.help)}]'")
        else:
            lines.append(f"'--{switch.name}[{_quoted(switch.help)}]'")
    for entry in entries():
        value = f":{entry.kind}:{'_files' * (entry.kind == 'FILE')}" * bool(entry.kind)
        lines.append(f"'{entry.long}[{_quoted(entry.text)}]{value}'")
    body = " \\\n    ".join([*lines, "'*:source or mount point:_files'"])
    return f"""#compdef esrffs
# Completion of esrffs for zsh.  Made by `python -m tools.pages`.
_arguments -s \\
    {body}
"""


def fish() -> str:
    """The file `completions/esrffs.fish`."""
    lines = ["# Completion of esrffs for fish.  Made by `python -m tools.pages`."]
    for switch in SWITCHES:
        letter = f" -s {switch.letter}" * bool(switch.letter)
        name = f" -l {switch.name}" * bool(switch.name)
        takes = " -x" * bool(switch.value)
        lines.append(f"complete -c esrffs{letter}{name}{takes} -d '{_quoted(switch.help)}'")
    for entry in entries():
        takes = (" -r" if entry.kind == "FILE" else " -x") * bool(entry.kind)
        long = entry.long.removeprefix("--")
        lines.append(f"complete -c esrffs -l {long}{takes} -d '{_quoted(entry.text)}'")
    mounted = "(findmnt -n -r -o TARGET -t fuse.esrffs)"
    lines.append(
        f"complete -c esrffs -n '__fish_contains_opt -s u unmount status' -f -a '{mounted}'"
    )
    return "\n".join(lines) + "\n"
