// SPDX-License-Identifier: Apache-2.0
/* Names and sizes of element types. */
#include "runtime/dtype.h"

static const struct {
    const char *name;
    size_t bytes;
} dtypes[TRI_DTYPES] = {
#define X(id, name, bytes, is_float) [TRI_##id] = {name, bytes},
    TRI_DTYPE_MAP(X)
#undef X
};

size_t tri_dtype_bytes(tri_dtype dtype)
{
    return dtypes[dtype].bytes;
}

const char *tri_dtype_name(tri_dtype dtype)
{
    return dtypes[dtype].name;
}

tri_status tri_dtype_find(const char *name, tri_dtype *out)
{
    for (int i = 0; i < TRI_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (tri_dtype)i;
            return TRI_OK;
        }
    }
    TRI_FAIL(TRI_EINVAL,
             "'%s' is no element type; known: fp32 bf16 fp16 fp64 uint8 uint16 int32 "
             "int64 uint64",
             name);
}
