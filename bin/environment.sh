# Shared by the launchers, which source it. Finds the program's folder, and makes or mends .venv there.
#
# The environment is right when .venv/installed-<lock file> holds the lock file's checksum and the interpreter that .venv
# was made with. Otherwise it is made under a lock on the folder itself, so that launchers started together do it once;
# the stamp is written last, so that a start that was interrupted is made good by the next one.

fail() { # message, exit code (default 1)
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-1}"
}

root=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd -P)
venv=$root/.venv
held= # a signal that the program unblocks itself, once it has a handler

stamp() { # lock file
    sha256sum <"$root/$1"
    readlink -f "$venv/bin/python" || true
}

ready() { # lock file
    [ -x "$venv/bin/python" ] && [ -f "$venv/installed-$1" ] && [ "$(stamp "$1")" = "$(cat "$venv/installed-$1")" ]
}

usable() { # interpreter
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

# The system's own goes first: the daemon's user can read it, as it may not what somebody has below their home, and
# Debian's needs an eighth less CPU than one that was built without a profile.
find_python() {
    unable=
    for candidate in ${ARIMON_PYTHON:-/usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11}; do
        usable "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        unable=${unable:-$candidate}
    done
    if [ -n "$unable" ]; then
        fail "$unable cannot make virtual environments. On Debian: apt-get install python3-venv"
    fi
    if [ -n "${ARIMON_PYTHON:-}" ]; then
        fail "ARIMON_PYTHON=$ARIMON_PYTHON is not Python 3.11 to 3.14"
    fi
    fail "Python 3.11 to 3.14 is needed. On Debian 12 or later: apt-get install python3 python3-venv"
}

make_venv() {
    python=$(find_python) || exit
    printf '%s: making %s with %s\n' "${0##*/}" "$venv" "$python" >&2
    "$python" -m venv --clear "$venv" || fail "could not make $venv"
}

prepare() { # lock file
    ready "$1" && return
    command -v flock >/dev/null || fail "flock is needed. On Debian: apt-get install util-linux"
    [ -w "$root" ] || fail "$root is not writable, and its environment is not ready: start it once as its owner"
    exec 9<"$root"
    flock 9
    if ! ready "$1"; then
        # A Python that was replaced (a Debian upgrade) leaves packages that the new one does not see.
        made_with=$(sed -n 2p "$venv/installed-$1" 2>/dev/null) || made_with=
        if [ "${made_with:-$(readlink -f "$venv/bin/python")}" != "$(readlink -f "$venv/bin/python")" ] ||
            ! usable "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
            make_venv
        fi
        printf '%s: installing the packages of %s\n' "${0##*/}" "$1" >&2
        "$venv/bin/python" -m pip install -qq --no-input --disable-pip-version-check --require-hashes \
            -r "$root/$1" 9<&- >&2 || fail "could not install the packages of $1; the next start tries again"
        stamp "$1" >"$venv/installed-$1.new"
        mv "$venv/installed-$1.new" "$venv/installed-$1"
    fi
    exec 9<&-
}

# Modules come from the program's folder and never from the caller's, which stays the working directory.
run() { # module, arguments…
    module=$1
    shift
    export PYTHONPATH="$root" PYTHONSAFEPATH=1
    # Blocked, it waits until the program takes it. An env that cannot (older than coreutils 8.31) is done without.
    if [ -n "$held" ] && env --block-signal="$held" true 2>/dev/null; then
        exec env --block-signal="$held" "$venv/bin/python" -m "$module" "$@"
    fi
    exec "$venv/bin/python" -m "$module" "$@"
}
