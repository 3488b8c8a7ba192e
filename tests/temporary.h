// SPDX-License-Identifier: Apache-2.0
/* A folder of a test alone, which the test removes. */
#ifndef TRI_TESTS_TEMPORARY_H
#define TRI_TESTS_TEMPORARY_H

#include "runtime/base/status.h"

#include <stdio.h>
#include <stdlib.h>

/* Make an empty folder below `top`; NULL: below $TMPDIR or /tmp. Not collective. Writes: out, its path.
 * Errors: TRI_EIO. */
TRI_MUST_USE static inline tri_status tri_temporary_folder(const char *top, size_t bytes, char *out)
{
    if (!top) top = getenv("TMPDIR");
    int n = snprintf(out, bytes, "%s/trireme-test-XXXXXX", top && *top ? top : "/tmp");
    TRI_CHECK(n > 0 && (size_t)n < bytes, TRI_EIO,
              "the folder for temporary files has a long path");
    TRI_TRY(TRI_SYS(mkdtemp(out) ? 0 : -1, "making folder %s", out));
    return TRI_OK;
}

#endif
