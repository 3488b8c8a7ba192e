// SPDX-License-Identifier: Apache-2.0
/* Any text as a job spec: it is read or refused with a message, and what is read can be checked, and
 * dumped and read again.
 */
#include "launch/spec.h"
#include "runtime/base/alloc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    int64_t live = tri_alloc_live();
    tri_spec spec;
    if (tri_spec_parse((const char *)data, n_bytes, "fuzz", &spec) == TRI_OK) {
        char *text = NULL;
        tri_spec again;
        if (tri_spec_dump(&spec, &text) != TRI_OK) abort();
        if (tri_spec_parse(text, strlen(text), "dump", &again) != TRI_OK) abort();
        TRI_FREE(text);
        if (tri_spec_check(&spec, 2) != TRI_OK && !tri_err_last()->text[0]) abort();
    } else if (!tri_err_last()->text[0]) {
        abort(); /* a failure without a message */
    }
    tri_err_clear();
    if (tri_alloc_live() != live) abort();
    return 0;
}
