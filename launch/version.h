// SPDX-License-Identifier: Apache-2.0
/* What this build is and has. */
#ifndef TRI_LAUNCH_VERSION_H
#define TRI_LAUNCH_VERSION_H

#include <stdio.h>

/* Version, compiler, libraries, collectives, instruction sets, formats. Not collective. */
void tri_version_print(FILE *stream);

#endif
