# Completion of esrffs for bash.  Made by `python -m tools.pages`.
_esrffs() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    case $before in
        -o) mapfile -t COMPREPLY < <(compgen -W "allow_other allow_root default_permissions noexec uid= gid= umask= fmask= dmask= cache_size= workers= time_limit= memory_limit= chunk_limit= json_limit= children_limit= views= view_limit= parallel= index= open_files= entry_timeout= attr_timeout= negative_timeout= max_read= read_ahead= flat= nan= dark= norm= log_file=" -- "$word"); compopt -o nospace; return ;;
        --uid|--gid|--umask|--fmask|--dmask|--cache-size|--workers|--time-limit|--memory-limit|--chunk-limit|--json-limit|--children-limit|--views|--view-limit|--parallel|--index|--open-files|--entry-timeout|--attr-timeout|--negative-timeout|--max-read|--read-ahead|--flat|--nan|--dark|--norm) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "-u -f -d -o -V -h --unmount --force --status --foreground --debug --version --help --allow-other --allow-root --default-permissions --noexec --uid --gid --umask --fmask --dmask --cache-size --workers --time-limit --memory-limit --chunk-limit --json-limit --children-limit --views --view-limit --parallel --index --open-files --entry-timeout --attr-timeout --negative-timeout --max-read --read-ahead --flat --nan --dark --norm --log-file" -- "$word")
    elif [[ " ${COMP_WORDS[*]:1:COMP_CWORD-1} " =~ " "(-u|--unmount|--status)" " ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(findmnt -n -r -o TARGET -t fuse.esrffs)" -- "$word")
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -F _esrffs esrffs
