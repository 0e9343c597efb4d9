# Shared by deploy/demo, deploy/test and deploy/bench: run a command so that a signal reaches it and nothing it
# started outlives it. Sourced by POSIX sh; the caller sets "program" and "work" (environment.sh).

child=

# Runs a command in the background and waits: only then does sh act on a signal before the command
# ends. sh ignores INT and QUIT for such a command; a program that is tested for them must not.
run_attended() { # COMMAND...
    env --default-signal=INT,QUIT "$@" &
    child=$!
    ended=0
    wait "$child" || ended=$?
    child=
    return "$ended"
}

is_running() { # ID; a process that ended and was not waited for does not count
    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) && [ "$state" != Z ] && [ -n "$state" ]
}

wait_at_most() { # SECONDS ID
    rounds=$(($1 * 5))
    while [ "$rounds" -gt 0 ] && is_running "$2"; do
        rounds=$((rounds - 1))
        sleep 0.2
    done
    ! is_running "$2"
}

# An interrupt typed at a terminal has reached the command already; any other signal has not.
interrupt() { # STATUS
    trap '' INT TERM HUP
    if [ -n "$child" ]; then
        say 'stopping'
        if [ "$1" -ne 130 ] || ! wait_at_most 5 "$child"; then
            kill -INT "$child" 2>/dev/null || true
            wait_at_most 20 "$child" || true
        fi
    fi
    exit "$1"
}

# Ids of the processes whose environment names the directory: everything started from here does,
# as TMPDIR or, for a private node, as HOME.
started_below() { # DIRECTORY
    grep -lsaF -- "$1" /proc/[0-9]*/environ | cut -d / -f 3 | while read -r id; do
        if is_running "$id"; then echo "$id"; fi
    done
}

# Ends what is left of a run, by id; fails where something had to be ended.
end_left_over() { # DIRECTORY
    left=$(started_below "$1")
    [ -n "$left" ] || return 0
    for id in $left; do
        say "still running, ended now: $(tr '\0' ' ' 2>/dev/null <"/proc/$id/cmdline" | cut -c 1-100)"
        kill -TERM "$id" 2>/dev/null || true
    done
    for id in $left; do wait_at_most 10 "$id" || true; done
    for id in $(started_below "$1"); do kill -KILL "$id" 2>/dev/null || true; done
    return 1
}
