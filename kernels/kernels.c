// SPDX-License-Identifier: Apache-2.0
/* The kernels of one rank: which instruction set, how many threads. */
#include "kernels/kernels.h"

#include "kernels/cpu/simd.h"
#include "kernels/kernels_impl.h"
#include "runtime/base/alloc.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Widest first, so that a tail of the list is the answer for a narrower processor. */
static const char *const isa_names[TRI_ISAS + 1] = {"avx512_bf16", "avx512", "avx2", "base", NULL};

tri_isa tri_isa_detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return TRI_ISA_BASE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return TRI_ISA_AVX2;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool has_leaf = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0;
    return has_leaf && (eax & 1u << 5) ? TRI_ISA_AVX512_BF16 : TRI_ISA_AVX512;
#else
    return TRI_ISA_BASE;
#endif
}

const char *const *tri_kernels_isas(void)
{
    return isa_names + (TRI_ISAS - 1 - tri_isa_detect());
}

const char *tri_kernels_isa(const tri_kernels *kernels)
{
    return isa_names[TRI_ISAS - 1 - kernels->isa];
}

bool tri_kernels_has_bf16(void)
{
    return tri_isa_detect() == TRI_ISA_AVX512_BF16; /* every processor with AMX has it too */
}

int tri_kernels_threads(const tri_kernels *kernels)
{
    return kernels->threads;
}

static tri_status isa_find(const char *name, tri_isa *out)
{
    const char *const *names = tri_kernels_isas();
    char known[96] = "";
    size_t used = 0;
    for (int i = 0; names[i]; i++) {
        if (!name || !strcmp(names[i], name)) {
            *out = (tri_isa)(tri_isa_detect() - (tri_isa)i);
            return TRI_OK;
        }
        used += (size_t)snprintf(known + used, sizeof known - used, " %s", names[i]);
    }
    TRI_FAIL(TRI_EINVAL, "instruction set '%s' is not one that this build and processor have:%s",
             name, known);
}

tri_status tri_kernels_create(tri_device *device, const char *isa, tri_kernels **out)
{
    TRI_AUTO(tri_kernels) *kernels = NULL;
    TRI_TRY(TRI_NEW(&kernels));
    TRI_TRY(isa_find(isa, &kernels->isa));
    kernels->simd = tri_simd_find(kernels->isa);
    kernels->device = device;
    kernels->threads = tri_device_threads(device);
    TRI_TRY(tri_matmul_cache_create(kernels, &kernels->matmul));
    *out = TRI_MOVE(kernels);
    return TRI_OK;
}

void tri_kernels_destroy(tri_kernels **kernels)
{
    if (!*kernels) return;
    tri_matmul_cache_destroy(&(*kernels)->matmul);
    TRI_FREE((*kernels)->wide);
    TRI_FREE(*kernels);
}
