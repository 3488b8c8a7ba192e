# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the examples and tests/run.sh: installs the Debian packages that are missing.

# What each package is for; printed when it is to be installed.
declare -A package_use=(
    [gcc]="C compiler" [libc6-dev]="C library" [cmake]="build" [ninja-build]="build"
    [pkg-config]="finds libraries" [libopenmpi-dev]="MPI" [openmpi-bin]="mpirun"
    [libdnnl-dev]="oneDNN: matrix products" [libhdf5-dev]="HDF5: checkpoints, datasets"
    [libyaml-dev]="YAML: job specs" [libisal-dev]="ISA-L: checksums"
    [bible-kjv]="the text that the example learns" [python3]="lint and job tests"
    [python3-venv]="Python packages of some tests, below build/"
    [python3-h5py]="reads checkpoints, in tests and examples/read-checkpoint" [python3-numpy]="the same"
    [libcjson-dev]="cJSON: headers of safetensors, config.json"
    [zlib1g-dev]="zlib: compressed datasets"
    [clang-14]="second compiler, fuzzers" [libclang-rt-14-dev]="sanitizers of clang"
    [libomp-14-dev]="OpenMP of clang" [clang-format-14]="format check" [clang-tidy-14]="static checks"
    [binutils]="objdump, for a check"
)
packages_build="gcc libc6-dev cmake ninja-build pkg-config libopenmpi-dev openmpi-bin libdnnl-dev
    libhdf5-dev libyaml-dev libisal-dev libcjson-dev zlib1g-dev"

# install_packages NAME...: installs those that are missing, or fails and says what to do.
install_packages()
{
    local missing=() name as_root=()
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "== packages: this is no Debian-like system; going on with what is there." >&2
        echo "   Debian's names of what is needed: $*" >&2
        return 0
    fi
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            provided "$name" || missing+=("$name")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        echo "== packages: all $# are installed"
        return 0
    fi
    echo "== packages: installing ${#missing[@]} of $#:"
    for name in "${missing[@]}"; do echo "   $name (${package_use[$name]:-})"; done
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "error: installing needs root and there is no sudo; as root, run:" >&2
            echo "  apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
            return 1
        fi
        echo "   (asks for root through sudo)"
        as_root=(sudo)
    fi
    apt_install "${missing[@]}"
}

# Is the package a virtual one, provided by an installed one (pkg-config by pkgconf)?
provided()
{
    case $1 in
    pkg-config) command -v pkg-config >/dev/null ;;
    *) return 1 ;;
    esac
}

apt_install()
{
    local log options=(-y -q --no-install-recommends -o DPkg::Lock::Timeout=120)
    log=$(mktemp)
    # The lists of a fresh container are empty or old: fetch them where the first try fails.
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" \
            >"$log" 2>&1 &&
        ! { "${as_root[@]}" apt-get update -q >>"$log" 2>&1 &&
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" \
                >>"$log" 2>&1; }; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        echo "error: apt-get could not install: $*" >&2
        return 1
    fi
    rm -f "$log"
}
