// SPDX-License-Identifier: Apache-2.0
/* The kernels of one rank: a choice of instruction set, the thread team, the caches of matrix
 * primitives. Kernels take pointers and sizes and know no mesh and no tensor.
 *
 * Activations are fp32 or bf16 (`dtype`); sums, norms' statistics and losses are fp32 or better
 * inside. Weights given to a kernel have the activations' type; gradients of weights are always fp32
 * and accumulate (+=); gradients of activations are overwritten (=) and have the activations' type.
 * Results of one call depend on shapes and thread count, not on timing.
 * Families: matmul.h attention.h norm.h pointwise.h embed.h loss.h quantize.h update.h.
 */
#ifndef TRI_KERNELS_KERNELS_H
#define TRI_KERNELS_KERNELS_H

#include "runtime/device.h"
#include "runtime/dtype.h"

typedef struct tri_kernels tri_kernels;

/* Open the kernels of a device. Not collective. Keeps: device.
 *
 * Chooses the widest instruction set that the processor has; `isa` NULL, or one of
 * tri_kernels_isas() to force it. Errors: TRI_EINVAL unknown or absent isa.
 */
TRI_MUST_USE tri_status tri_kernels_create(tri_device *device, const char *isa, tri_kernels **out);
void tri_kernels_destroy(tri_kernels **kernels);

/* "avx512_bf16", "avx512", "avx2", "base": the one in use, and all of this build that run here
 * (NULL-terminated). Not collective. */
const char *tri_kernels_isa(const tri_kernels *kernels);
const char *const *tri_kernels_isas(void);

/* Does this processor multiply bf16 in hardware (AMX or AVX-512 BF16)? Not collective. */
bool tri_kernels_has_bf16(void);

/* Threads of the team. Not collective. */
int tri_kernels_threads(const tri_kernels *kernels);

#endif
