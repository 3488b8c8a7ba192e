// SPDX-License-Identifier: Apache-2.0
/* The CPU as a rank's device: counted memory. Its streams are in device/stream.c.
 *
 * Every block is in a table, so that freeing knows size and kind, and the counters can be trusted:
 * they are what `trireme check` predicts.
 */
#include "runtime/device.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/log.h"
#include "runtime/device/device_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { DEVICE_ALIGN_BYTES = 64, DEVICE_HUGE_BYTES = 2 << 20 };

const char *tri_mem_name(tri_mem_kind kind)
{
    static const char *const names[TRI_MEM_KINDS] = {
#define X(id, name) [TRI_MEM_##id] = name,
        TRI_MEM_MAP(X)
#undef X
    };
    return names[kind];
}

tri_status tri_device_create(const tri_device_args *args, tri_device **out)
{
    const char *name = args->name ? args->name : "(none)";
    TRI_CHECK(strcmp(name, "cpu") == 0, TRI_EINVAL,
              "there is no device '%s' in this build; it has: cpu", name);
    TRI_CHECK(args->n_threads >= 1, TRI_EINVAL, "device cpu with %d threads: at least 1 is needed",
              args->n_threads);

    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(TRI_NEW(&device));
    device->args = *args;
    device->args.name = "cpu";
    tri_mutex_init(&device->memory_lock);
    tri_engine_init(&device->engine);
    TRI_TRY(tri_activity_create(&device->activity));

    *out = TRI_MOVE(device);
    return TRI_OK;
}

void tri_device_destroy(tri_device **device)
{
    if (!*device) return;
    if ((*device)->n_blocks > 0)
        tri_log(TRI_LOG_WARN, "device %s is closed with %lld buffers of memory in use",
                (*device)->args.name, (long long)(*device)->n_blocks);
    tri_engine_fini(&(*device)->engine);
    tri_activity_destroy(&(*device)->activity);
    tri_mutex_fini(&(*device)->memory_lock);
    TRI_FREE((*device)->blocks);
    TRI_FREE(*device);
}

int tri_device_threads(const tri_device *device)
{
    return device->args.n_threads;
}

void tri_device_set_threads(tri_device *device, int n_threads)
{
    device->args.n_threads = n_threads;
}

tri_activity *tri_device_activity(const tri_device *device)
{
    return device->activity;
}

bool tri_device_yields(const tri_device *device)
{
    return device->args.yield;
}

/* memory_lock is held */
static void device_count(tri_device *device, tri_mem_kind kind, int64_t delta_bytes)
{
    tri_memory *memory = &device->memory;
    memory->bytes[kind] += (size_t)delta_bytes;
    size_t sum = 0;
    for (int k = 0; k < TRI_MEM_KINDS; k++)
        sum += memory->bytes[k];
    if (memory->bytes[kind] > memory->kind_peak_bytes[kind])
        memory->kind_peak_bytes[kind] = memory->bytes[kind];
    if (sum > memory->peak_bytes) memory->peak_bytes = sum;
}

/* Pages of their own, aligned to huge pages. The kernel zeroes them when they are touched. */
static tri_status block_map(tri_block *block)
{
    size_t bytes = (size_t)tri_round_up((int64_t)block->bytes, DEVICE_HUGE_BYTES);
    char *base = mmap(NULL, bytes + DEVICE_HUGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRI_CHECK(base != MAP_FAILED, TRI_ENOMEM, "allocating %zu bytes of %s memory", block->bytes,
              tri_mem_name(block->kind));
    size_t skip = (DEVICE_HUGE_BYTES - (uintptr_t)base % DEVICE_HUGE_BYTES) % DEVICE_HUGE_BYTES;
    if (skip) munmap(base, skip);
    munmap(base + skip + bytes, DEVICE_HUGE_BYTES - skip);
    /* Only hints: without huge pages the memory is merely slower. A child that reads a file for us
     * (runtime/h5) needs no tensors: what it shares would be copied, page by page, when we write next. */
    (void)madvise(base + skip, bytes, MADV_HUGEPAGE);
    (void)madvise(base + skip, bytes, MADV_DONTFORK);
    block->start = base + skip;
    block->mapped_bytes = bytes;
    return TRI_OK;
}

static tri_status block_obtain(tri_block *block)
{
    if (block->bytes >= 2 * (size_t)DEVICE_HUGE_BYTES) return block_map(block);
    size_t bytes = (size_t)tri_round_up((int64_t)block->bytes, DEVICE_ALIGN_BYTES);
    if (bytes == 0) bytes = DEVICE_ALIGN_BYTES;
    block->start = aligned_alloc(DEVICE_ALIGN_BYTES, bytes);
    TRI_CHECK(block->start, TRI_ENOMEM, "allocating %zu bytes of %s memory", block->bytes,
              tri_mem_name(block->kind));
    memset(block->start, 0, bytes);
    return TRI_OK;
}

static void block_release(const tri_block *block)
{
    if (block->mapped_bytes)
        munmap(block->start, block->mapped_bytes);
    else
        free(block->start);
}

/* memory_lock is held */
static tri_status device_keep(tri_device *device, const tri_block *block)
{
    if (device->n_blocks == device->max_blocks) {
        int64_t grown = device->max_blocks ? 2 * device->max_blocks : 64;
        TRI_TRY(tri_alloc_grow((void **)&device->blocks, device->n_blocks, grown, sizeof *block));
        device->max_blocks = grown;
    }
    device->blocks[device->n_blocks++] = *block;
    device_count(device, block->kind, (int64_t)block->bytes);
    return TRI_OK;
}

tri_status tri_device_alloc(tri_device *device, tri_mem_kind kind, size_t bytes, void **out)
{
    TRI_CHECK(bytes <= INT64_MAX - 2 * (int64_t)DEVICE_HUGE_BYTES, TRI_ENOMEM,
              "allocating %zu bytes of %s memory: more than the address space", bytes,
              tri_mem_name(kind));
    tri_block block = {.bytes = bytes, .kind = kind};
    TRI_TRY(block_obtain(&block));
    tri_mutex_lock(&device->memory_lock);
    tri_status rc = device_keep(device, &block);
    tri_mutex_unlock(&device->memory_lock);
    if (rc != TRI_OK) block_release(&block);
    TRI_TRY(rc);
    tri_alloc_note(1);
    *out = block.start;
    return TRI_OK;
}

void tri_device_free(tri_device *device, void *memory)
{
    if (!memory) return;
    tri_mutex_lock(&device->memory_lock);
    int64_t i = 0;
    while (i < device->n_blocks && device->blocks[i].start != memory)
        i++;
    assert(i < device->n_blocks && "memory of another device, or freed before");
    tri_block block = device->blocks[i];
    device->blocks[i] = device->blocks[--device->n_blocks];
    device_count(device, block.kind, -(int64_t)block.bytes);
    tri_mutex_unlock(&device->memory_lock);
    block_release(&block);
    tri_alloc_note(-1);
}

void tri_device_note(tri_device *device, tri_mem_kind kind, int64_t delta_bytes)
{
    tri_mutex_lock(&device->memory_lock);
    device_count(device, kind, delta_bytes);
    device->memory.noted_bytes += (size_t)delta_bytes;
    tri_mutex_unlock(&device->memory_lock);
}

tri_memory tri_device_memory(const tri_device *device)
{
    /* Reading the counters does not change the device as callers see it; the lock does. */
    tri_mutex *lock = (tri_mutex *)(uintptr_t)&device->memory_lock;
    tri_mutex_lock(lock);
    tri_memory memory = device->memory;
    tri_mutex_unlock(lock);
    return memory;
}

double tri_device_exposed_s(const tri_device *device)
{
    return (double)atomic_load_explicit(&device->engine.exposed_ns, memory_order_relaxed) * 1e-9;
}
