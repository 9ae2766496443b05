# What the scripts of this folder share: how they speak, and how they install packages that are missing. Sourced, never run.
# The caller sets `script`, the word before each line, and stands in the project's folder.

say() { printf '%s\n' "$script: $*"; }
fail() {
    printf '%s\n' "$script: $1" "$script: mend: $2" >&2
    exit 1
}

check_rust_and_c() {
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    command -v cargo >/dev/null || fail "cargo is not on PATH" "install Rust with rustup (https://rustup.rs) and open a new shell"
    command -v cc >/dev/null || fail "there is no C compiler; librdkafka is built from source" "apt-get install gcc libc6-dev"
}

# Runs a command as root: as we are, or by sudo. Without a terminal sudo must not ask.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ] && [ -z "${CI:-}" ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null || return 1
    { [ -t 0 ] && [ -z "${CI:-}" ]; } || sudo -n true 2>/dev/null
}

# Debian starts a service when it installs one. The tests start brokers of their own, and port 1883 is not ours to take.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d ours=no status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        ours=yes
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >"$log" 2>&1 || status=$?
    if [ "$ours" = yes ]; then
        as_root rm -f "$policy"
        trap - EXIT
    fi
    return "$status"
}

# install_missing COMMAND:PACKAGE...: installs the packages whose commands are not there.
install_missing() {
    local missing=() pair
    for pair in "$@"; do
        PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

    local command="apt-get install --no-install-recommends ${missing[*]}"
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}, and this is no Debian" "install them by your system's own means"
    can_be_root || fail "missing: ${missing[*]}, and neither root nor sudo is to be had" "as root: $command"
    say "installing ${missing[*]} (about half a minute)"
    mkdir -p .cache
    local log=.cache/apt.log
    as_root apt-get update -qq </dev/null >"$log" 2>&1 || true
    install_quietly "${missing[@]}" || {
        tail -n 20 "$log" >&2
        fail "apt-get failed, see above and $log" "as root: $command"
    }
    case " ${missing[*]} " in *" mosquitto "*)
        # Installed by us, so nobody relies on the service: it shall not start at the next boot either.
        ! command -v systemctl >/dev/null || as_root systemctl disable --now mosquitto.service </dev/null >/dev/null 2>&1 || true
        ;;
    esac
}
