// SPDX-License-Identifier: Apache-2.0
/* Boxes and shapes as text. */
#include "checkpoint/text.h"

#include <stdio.h>

void tri_text_box(const tri_box *box, char out[TRI_TEXT_BYTES])
{
    int n = snprintf(out, TRI_TEXT_BYTES, "[");
    for (int d = 0; d < box->n_dims; d++)
        n += snprintf(out + n, (size_t)(TRI_TEXT_BYTES - n), "%s%lld:%lld", d ? ", " : "",
                      (long long)box->start[d], (long long)(box->start[d] + box->count[d]));
    snprintf(out + n, (size_t)(TRI_TEXT_BYTES - n), "]");
}

void tri_text_type(int dtype, int n_dims, const int64_t *shape, char out[TRI_TEXT_BYTES])
{
    int n = snprintf(out, TRI_TEXT_BYTES, "%s [", tri_dtype_name((tri_dtype)dtype));
    for (int d = 0; d < n_dims; d++)
        n += snprintf(out + n, (size_t)(TRI_TEXT_BYTES - n), "%s%lld", d ? ", " : "",
                      (long long)shape[d]);
    snprintf(out + n, (size_t)(TRI_TEXT_BYTES - n), "]");
}
