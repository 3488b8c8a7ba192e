// SPDX-License-Identifier: Apache-2.0
/* Small host objects: counted, zeroed memory. Tensors and buffers come from runtime/device.h, which
 * counts them by kind and rank; the two counters here are of the whole process (a diagnostic for
 * leak and no-allocation tests, never read by the program's logic).
 */
#ifndef TRI_RUNTIME_BASE_ALLOC_H
#define TRI_RUNTIME_BASE_ALLOC_H

#include "runtime/base/status.h"

/* TRI_TRY(TRI_NEW(&object)): one zeroed object of the pointer's type. */
#define TRI_NEW(out)          tri_alloc((void **)(out), 1, sizeof **(out))
/* TRI_TRY(TRI_NEW_ARRAY(n, &array)): n zeroed elements (n may be 0: a unique pointer). */
#define TRI_NEW_ARRAY(n, out) tri_alloc((void **)(out), (n), sizeof **(out))
/* Free and set to NULL; NULL is fine. */
#define TRI_FREE(p)           (tri_free((void *)(p)), (void)((p) = NULL))

/* Allocate `count` zeroed elements of `element_bytes`. Not collective.
 *
 * Writes: *out, on success only. Errors: TRI_ENOMEM, also where the product overflows or count < 0.
 */
TRI_MUST_USE tri_status tri_alloc(void **out, int64_t count, size_t element_bytes);

/* Grow an array made here to `count` elements, new ones zeroed. Not collective.
 *
 * Writes: *array, on success only (it may move). Errors: TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_alloc_grow(void **array, int64_t old_count, int64_t count,
                                       size_t element_bytes);

/* A counted copy of a string; freed by TRI_FREE. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_alloc_string(const char *text, char **out);

/* Give memory of this file back; NULL is fine. Not collective. */
void tri_free(void *p);

/* Objects alive now, and allocations made since the process began. Not collective. */
int64_t tri_alloc_live(void);
int64_t tri_alloc_count(void);

/* Count an allocation made elsewhere (device memory): delta is +1 or -1. Not collective. */
void tri_alloc_note(int delta);

#endif
