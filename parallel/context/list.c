// SPDX-License-Identifier: Apache-2.0
/* The one list of modes: ID, NAME stand for TRI_CONTEXT_ID and the table tri_context_NAME. */
#include "parallel/context/context_impl.h"

#define TRI_CONTEXT_MAP(X) X(RING, ring) X(ULYSSES, ulysses) X(ALLGATHER, allgather)

const tri_context_ops *tri_context_find(tri_context_mode mode)
{
#define X(id, name) [TRI_CONTEXT_##id] = &tri_context_##name,
    static const tri_context_ops *const ops[] = {TRI_CONTEXT_MAP(X)};
#undef X
    return ops[mode];
}

const char *const *tri_context_modes(void)
{
#define X(id, name) [TRI_CONTEXT_##id] = #name,
    static const char *const names[] = {TRI_CONTEXT_MAP(X) NULL};
#undef X
    return names;
}
