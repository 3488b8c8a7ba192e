// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* What the arena declares is what the device counts. */
#include "runtime/arena.h"
#include "tests/test.h"

TRI_TEST(declared_bytes_are_counted_bytes)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1}, &device));
    tri_comm *comm = NULL;
    TRI_TRY(tri_comm_open_self(device, &comm));
    tri_arena *arena = NULL;
    TRI_TRY(tri_arena_create(&arena));
    void *where[100];
    size_t bytes = 0;
    for (int i = 0; i < 99; i++) {
        int64_t n = 1 + 37 * (int64_t)i * i;
        TRI_TRY(tri_arena_add(arena, TRI_MEM_WEIGHTS, n, TRI_BF16, &where[i]));
        bytes += 2 * (size_t)n;
    }
    TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_GRADIENTS, 1000, TRI_F32, &where[99]));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_DATA, 5, TRI_U16, NULL));
    EXPECT(tri_arena_bytes(arena, TRI_MEM_WEIGHTS) == bytes, "%zu, not %zu",
           tri_arena_bytes(arena, TRI_MEM_WEIGHTS), bytes);
    EXPECT(tri_arena_bytes(arena, TRI_MEM_OPTIMIZER) == 0, "nothing was declared");
    EXPECT(tri_device_memory(device).peak_bytes == 0, "declaring allocates nothing");

    TRI_TRY(tri_arena_commit(arena, device, comm));
    tri_memory memory = tri_device_memory(device);
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        EXPECT(memory.bytes[kind] == tri_arena_bytes(arena, (tri_mem_kind)kind), "%s: %zu, not %zu",
               tri_mem_name((tri_mem_kind)kind), memory.bytes[kind],
               tri_arena_bytes(arena, (tri_mem_kind)kind));
    for (int i = 0; i < 100; i++)
        EXPECT((uintptr_t)where[i] % 64 == 0, "buffer %d at %p", i, where[i]);
    EXPECT_STATUS(tri_arena_add(arena, TRI_MEM_DATA, 5, TRI_U16, NULL), TRI_EBUG, "committed");
    EXPECT_STATUS(tri_arena_commit(arena, device, comm), TRI_EBUG, "twice");
    tri_arena_destroy(&arena);
    tri_arena_destroy(&arena);
    EXPECT(tri_device_memory(device).bytes[TRI_MEM_WEIGHTS] == 0, "all is given back");
    tri_comm_close(&comm);
    return TRI_OK;
}

TRI_TEST(wrong_declarations_are_answered)
{
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&(tri_device_args){.name = "cpu", .n_threads = 1}, &device));
    tri_arena *arena = NULL;
    TRI_TRY(tri_arena_create(&arena));
    EXPECT_STATUS(tri_arena_add(arena, TRI_MEM_WEIGHTS, INT64_MAX, TRI_F32, NULL), TRI_EINVAL,
                  "weights buffer of 9223372036854775807 elements of fp32");
    EXPECT_STATUS(tri_arena_add(arena, TRI_MEM_WEIGHTS, -1, TRI_F32, NULL), TRI_EINVAL, "-1");
    TRI_TRY(tri_arena_add_shared(arena, TRI_MEM_WEIGHTS, 3, TRI_F32, NULL));
    EXPECT_STATUS(tri_arena_commit(arena, device, NULL), TRI_EBUG, "no communicator");
    tri_arena_destroy(&arena);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(declared_bytes_are_counted_bytes),
              TRI_TEST_ROW(wrong_declarations_are_answered))
