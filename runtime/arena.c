// SPDX-License-Identifier: Apache-2.0
/* A list of declared buffers, then one allocation for each: buffers stay distinct for sanitizers,
 * and the bytes counted are the bytes declared.
 */
#include "runtime/arena.h"

#include "runtime/base/alloc.h"

typedef struct arena_entry {
    tri_mem_kind kind;
    bool shared;
    size_t bytes;
    void **where;
    void *memory;
} arena_entry;

struct tri_arena {
    arena_entry *entries;
    int64_t n_entries, max_entries;
    tri_device *device;
    tri_comm *comm;
};

tri_status tri_arena_create(tri_arena **out)
{
    TRI_TRY(TRI_NEW(out));
    return TRI_OK;
}

static void arena_release(tri_arena *arena)
{
    for (int64_t i = arena->n_entries - 1; i >= 0; i--) {
        arena_entry *entry = &arena->entries[i];
        if (!entry->memory) continue;
        if (entry->shared)
            tri_comm_free(arena->comm, entry->memory);
        else
            tri_device_free(arena->device, entry->memory);
        entry->memory = NULL;
    }
}

void tri_arena_destroy(tri_arena **arena)
{
    if (!*arena) return;
    arena_release(*arena);
    TRI_FREE((*arena)->entries);
    TRI_FREE(*arena);
}

static tri_status arena_declare(tri_arena *arena, arena_entry entry, int64_t count, tri_dtype dtype)
{
    TRI_CHECK(!arena->device, TRI_EBUG, "a buffer is declared after the arena was committed");
    TRI_CHECK(count >= 0 &&
                  !__builtin_mul_overflow((size_t)count, tri_dtype_bytes(dtype), &entry.bytes),
              TRI_EINVAL, "a %s buffer of %lld elements of %s", tri_mem_name(entry.kind),
              (long long)count, tri_dtype_name(dtype));
    if (arena->n_entries == arena->max_entries) {
        int64_t grown = arena->max_entries ? 2 * arena->max_entries : 32;
        TRI_TRY(tri_alloc_grow((void **)&arena->entries, arena->n_entries, grown, sizeof entry));
        arena->max_entries = grown;
    }
    arena->entries[arena->n_entries++] = entry;
    return TRI_OK;
}

tri_status tri_arena_add(tri_arena *arena, tri_mem_kind kind, int64_t count, tri_dtype dtype,
                         void **where)
{
    TRI_TRY(arena_declare(arena, (arena_entry){.kind = kind, .where = where}, count, dtype));
    return TRI_OK;
}

tri_status tri_arena_add_shared(tri_arena *arena, tri_mem_kind kind, int64_t count, tri_dtype dtype,
                                void **where)
{
    arena_entry entry = {.kind = kind, .shared = true, .where = where};
    TRI_TRY(arena_declare(arena, entry, count, dtype));
    return TRI_OK;
}

size_t tri_arena_bytes(const tri_arena *arena, tri_mem_kind kind)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < arena->n_entries; i++)
        if (arena->entries[i].kind == kind) bytes += arena->entries[i].bytes;
    return bytes;
}

tri_status tri_arena_commit(tri_arena *arena, tri_device *device, tri_comm *shared)
{
    TRI_CHECK(!arena->device, TRI_EBUG, "the arena is committed twice");
    for (int64_t i = 0; i < arena->n_entries; i++)
        TRI_CHECK(!arena->entries[i].shared || shared, TRI_EBUG,
                  "the arena has shared buffers but no communicator to share them over");
    arena->device = device;
    arena->comm = shared;
    for (int64_t i = 0; i < arena->n_entries; i++) {
        arena_entry *entry = &arena->entries[i];
        if (entry->shared)
            TRI_TRY(tri_comm_alloc(shared, entry->kind, entry->bytes, &entry->memory));
        else
            TRI_TRY(tri_device_alloc(device, entry->kind, entry->bytes, &entry->memory));
        if (entry->where) *entry->where = entry->memory;
    }
    return TRI_OK;
}
