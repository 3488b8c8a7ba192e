#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A small time-to-target comparison of all optimizers: installs the packages that are missing, builds
# trireme, gets the text, and runs compare.py with the options given (--help shows them).
set -euo pipefail
cd "$(dirname "$0")/../.."
source examples/packages.sh
source examples/build.sh

case " $* " in
*" --help "* | *" -h "*) exec python3 examples/algoperf-small/compare.py --help ;;
esac
# shellcheck disable=SC2086
install_packages $packages_build bible-kjv python3
build_program
make_text
exec python3 examples/algoperf-small/compare.py --program $program --text $text "$@"
