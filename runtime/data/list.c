// SPDX-License-Identifier: Apache-2.0
/* The formats of token files. */
#include "runtime/data/token_file.h"

#include <stdio.h>
#include <string.h>

static const tri_format_ops *const formats[] = {
    &tri_format_text, &tri_format_uint16, &tri_format_llmc, &tri_format_megatron, &tri_format_hdf5,
};

tri_status tri_format_find(const char *name, const tri_format_ops **out)
{
    char known[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (name && strcmp(name, formats[i]->name) == 0) {
            *out = formats[i];
            return TRI_OK;
        }
        int n =
            snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", formats[i]->name);
        if (n > 0) used += (size_t)n;
    }
    TRI_FAIL(TRI_EINVAL, "data.format '%s' is not known; it is one of: %s", name ? name : "",
             known);
}
