// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a job spec: an error or a spec whose dump reads back to itself, and nothing leaked.
 * Built with libFuzzer by clang; by gcc, or with -DTRI_REPLAY, main() runs the files named on the
 * command line.
 */
#include "launch/spec.h"
#include "runtime/base/alloc.h"
#include "tests/fuzz/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, tri_err_last()->text);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    tri_spec spec;
    if (tri_spec_parse((const char *)data, n_bytes, "fuzz", &spec) == TRI_OK) {
        char *first = NULL;
        char *second = NULL;
        tri_spec again;
        must(tri_spec_dump(&spec, &first) == TRI_OK, "dumping");
        must(tri_spec_parse(first, strlen(first), "dump", &again) == TRI_OK, "reading the dump");
        must(tri_spec_dump(&again, &second) == TRI_OK, "dumping again");
        must(strcmp(first, second) == 0, "the dump changes when it is read");
        TRI_FREE(first);
        TRI_FREE(second);
    }
    tri_err_clear();
    must(tri_alloc_live() == 0, "objects are left");
    return 0;
}
