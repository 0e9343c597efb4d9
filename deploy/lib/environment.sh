# Shared by deploy/demo, deploy/test and deploy/bench: what a bare Debian or Ubuntu needs before they can run.
# Sourced by POSIX sh, in the root of the checkout; the caller sets "program", its name in messages,
# and "work", its own temporary directory. Nothing here depends on HOME.

say() { printf '%s: %s\n' "$program" "$*" >&2; }

fail() {
    say "$*"
    exit 69
}

# The output of installers is read only when they fail.
quietly() { # COMMAND...
    if "$@" >"$work/output" 2>&1 </dev/null; then return 0; fi
    tail -n 40 "$work/output" >&2
    return 1
}

install_packages() { # WHAT-FOR PACKAGE...
    purpose=$1
    shift
    command -v apt-get >/dev/null ||
        fail "$purpose needs the package(s) $*, and there is no apt-get here: install them by hand, then run this again"
    if [ "$(id -u)" -eq 0 ]; then
        set -- deploy/lib/install-packages "$@"
    elif command -v sudo >/dev/null; then
        set -- sudo "$PWD/deploy/lib/install-packages" "$@"
    else
        fail "$purpose needs the package(s) $*: run this as root or install sudo, or ask an administrator for: apt-get install --no-install-recommends $*"
    fi
    say "installing what $purpose needs (a minute or two)"
    quietly "$@" || fail "$purpose could not be installed; the end of the installer's output stands above"
}

is_supported_python() { # COMMAND
    "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null
}

# Debian ships "venv" without the wheels it needs; ensurepip is there once python3-venv is installed.
can_create_environments() { # PYTHON
    command -v uv >/dev/null || "$1" -c 'import ensurepip, venv' 2>/dev/null
}

# Prints the interpreter to build on: $PYTHON when set, else the first suitable one.
find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3}; do
        if is_supported_python "$candidate" && can_create_environments "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

ensure_python() {
    python=$(find_python) && return 0
    [ -z "${PYTHON:-}" ] ||
        fail "PYTHON=$PYTHON is not a Python 3.11 or newer with the modules venv and ensurepip"
    install_packages 'Python with its venv module' python3 python3-venv
    python=$(find_python) ||
        fail "Python 3.11 or newer is needed and this distribution has $(python3 --version 2>&1): install one and set PYTHON to its path"
}

create_environment() { # DIRECTORY
    if command -v uv >/dev/null; then
        quietly uv venv --quiet --no-cache --no-python-downloads --clear --python "$python" "$1"
    else
        quietly "$python" -m venv --clear "$1"
    fi || fail "the virtual environment $1 could not be created with $python"
}

# Wheels only: building from source would fetch build requirements that no hash covers.
install_requirements() { # DIRECTORY FILE...
    environment=$1
    shift
    for file in "$@"; do
        shift
        set -- "$@" --requirement "$file"
    done
    install_into "$environment" --require-hashes --only-binary=:all: "$@" ||
        fail 'the pinned requirements could not be installed; the end of the output stands above'
}

install_into() { # DIRECTORY ARGUMENT...
    environment=$1
    shift
    if command -v uv >/dev/null; then
        quietly env UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.venv/cache}" \
            uv pip install --quiet --no-python-downloads --python "$environment/bin/python" "$@"
    else
        quietly env PIP_CACHE_DIR="${PIP_CACHE_DIR:-$PWD/.venv/cache}" PIP_DISABLE_PIP_VERSION_CHECK=1 \
            "$environment/bin/python" -m pip install --quiet --no-input "$@"
    fi
}

# An environment that was moved, whose interpreter is gone, that uv made where uv is gone, or that
# PYTHON contradicts.
is_unusable() { # DIRECTORY
    is_supported_python "$1/bin/python" || return 0
    command -v uv >/dev/null || "$1/bin/python" -c 'import pip' 2>/dev/null || return 0
    [ ! -f "$1/checkout" ] || [ "$(cat "$1/checkout")" = "$PWD" ] || return 0
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$1/bin/python")" = "$(version_of "$PYTHON")" ] || return 0
    return 1
}

version_of() { "$1" -c 'import sys; print(sys.version)'; }

# Checksum of everything an installed group was made from.
checksum_of() { # FILE...
    cat pyproject.toml "$@" | sha256sum | cut -d ' ' -f 1
}

# "place" is the environment's directory.
is_installed() { # GROUP FILE...
    group=$1
    shift
    [ -f "$place/installed-$group" ] && [ "$(cat "$place/installed-$group")" = "$(checksum_of "$@")" ]
}

# Creates .venv in the checkout, with this package installed from it, or leaves it as it is when
# nothing it was made from has changed. "test" holds everything that "run" holds. "bench" has an
# environment of its own, so that what it compares with is never installed where the tests run.
ensure_environment() { # run | test | bench
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
    run='deploy/requirements/run.txt deploy/requirements/build.txt'
    test=deploy/requirements/test.txt
    bench="$run deploy/requirements/bench.txt"
    case $1 in
    bench) place=.venv/bench ;;
    *) place=.venv ;;
    esac
    # Two scripts at once in one checkout: the second waits for the first, then has nothing to do.
    exec 9<deploy/lib/environment.sh
    flock 9
    install_environment "$1" 9<&-
    exec 9<&-
    python=$PWD/$place/bin/python
    PATH=$PWD/$place/bin:$PATH
    export PATH
}

install_environment() { # run | test | bench
    if is_unusable "$place"; then
        ensure_python
        say "creating $place with $("$python" --version)"
        mkdir -p "$place"
        create_environment "$place"
    fi
    # shellcheck disable=SC2086 # lists of files without spaces
    case $1 in
    run) is_installed test $test || is_installed run $run ;;
    test) is_installed test $test ;;
    bench) is_installed bench $bench ;;
    esac && return 0
    rm -f "$place"/installed-*
    say "installing the pinned requirements into $place"
    # shellcheck disable=SC2086
    case $1 in
    run) install_requirements "$place" $run ;;
    test) install_requirements "$place" $test ;;
    bench) install_requirements "$place" $bench ;;
    esac
    install_into "$place" --no-deps --no-build-isolation --editable . ||
        fail "this package could not be installed into $place; the end of the output stands above"
    printf '%s\n' "$PWD" >"$place/checkout"
    # shellcheck disable=SC2086
    case $1 in
    run) checksum_of $run ;;
    test) checksum_of $test ;;
    bench) checksum_of $bench ;;
    esac >"$place/installed-$1"
}

ensure_rabbitmq() {
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && return 0
    install_packages RabbitMQ rabbitmq-server
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] ||
        fail 'the package rabbitmq-server is installed, but /usr/lib/rabbitmq/bin/rabbitmq-server is missing: reinstall the package'
}

# Debian keeps the server's programs of each version apart and out of PATH.
has_postgresql() {
    for initdb in "${postgresql_versions:-/usr/lib/postgresql}"/*/bin/initdb; do
        if [ -x "$initdb" ]; then return 0; fi
    done
    return 1
}

ensure_postgresql() {
    has_postgresql && return 0
    install_packages PostgreSQL postgresql
    has_postgresql ||
        fail 'the package postgresql is installed, but /usr/lib/postgresql/*/bin/initdb is missing: reinstall the package'
}
