// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=60
/* The context axis on paper: which splits are refused and with what words, who holds which tokens, how
 * even the work is, what is declared.
 */
#include "kernels/kernels.h"
#include "parallel/context.h"
#include "tests/test.h"

typedef struct paper {
    tri_mesh *mesh;
    tri_context *context;
} paper;

static void paper_destroy(paper *p)
{
    tri_context_destroy(&p->context);
    tri_mesh_close(&p->mesh);
}

/* Rank `rank` of `size` context ranks. */
static tri_status paper_create(tri_context_args args, int size, int rank, paper *p)
{
    tri_mesh_args mesh = {
        .n_ranks = size, .rank = rank, .size = {1, 1, size, 1}
    };
    TRI_TRY(tri_mesh_create(&mesh, &p->mesh));
    args.mesh = p->mesh;
    return tri_context_create(&args, &p->context);
}

#define REFUSED(mode, size, u, T, H, Hk, part)                                                    \
    EXPECT_STATUS(tri_context_check(TRI_CONTEXT_##mode, (size), (u), (T), (H), (Hk)), TRI_EINVAL, \
                  part)

TRI_TEST(illegal_splits_name_the_nearest)
{
    REFUSED(RING, 8, 3, 1024, 12, 12,
            "parallel.ulysses 3 does not divide parallel.context 8; nearest: 2 or 4");
    REFUSED(RING, 8, 8, 1024, 12, 12,
            "parallel.ulysses 8 does not divide the 12 heads of a tensor rank (model.heads), which "
            "ulysses shares out; nearest: 4");
    REFUSED(RING, 8, 0, 1024, 12, 12, "parallel.ulysses 0 is less than 1");
    REFUSED(RING, 4, 2, 1024, 6, 3, "parallel.ulysses 2 neither divides the 3 key/value heads");
    REFUSED(ULYSSES, 8, 1, 1024, 12, 12, "parallel.context 8 does not divide the 12 heads");
    REFUSED(ULYSSES, 8, 1, 1024, 12, 12, "nearest: 6 or 12; parallel.context_mode ring");
    REFUSED(ULYSSES, 8, 2, 1024, 12, 12,
            "all of parallel.context 8 is ulysses; leave it at 1 or set 8");
    REFUSED(
        RING, 4, 1, 1020, 12, 12,
        "model.context 1020 is not a multiple of 8, as parallel.context 4 needs (4 places of two "
        "chunks each); nearest: 1016 or 1024");
    REFUSED(RING, 4, 2, 1022, 12, 12,
            "two chunks each, shared out by parallel.ulysses); nearest: 1020 or 1024");
    REFUSED(ALLGATHER, 64, 1, 100, 12, 12, "nearest: 128");
    REFUSED(ULYSSES, 4, 4, 1023, 12, 12, "(4 places of equal length); nearest: 1020 or 1024");
    return TRI_OK;
}

/* What check says is legal is a partition, and nothing it refuses for its length would be. */
static void legal_check(tri_context_mode mode, int size, int u, int64_t T)
{
    int ring = size / u;
    bool cuts = ring == 1 ? T % u == 0 : T % (2 * ring) == 0 && 2 * (T / (2 * ring)) % u == 0;
    tri_status rc = tri_context_check(mode, size, u, T, 12, 4);
    EXPECT((rc == TRI_OK) == cuts, "mode %d size %d ulysses %d T %lld: %s", (int)mode, size, u,
           (long long)T, tri_err_last()->text);
    tri_err_clear();
}

TRI_TEST(legal_lengths_are_those_that_cut)
{
    for (int size = 1; size <= 12; size++)
        for (int u = 1; u <= size; u++)
            for (int64_t T = 1; T <= 100 && size % u == 0 && 12 % u == 0; T++) {
                if (4 % u != 0 && u % 4 != 0) continue;
                legal_check(TRI_CONTEXT_RING, size, u, T);
                legal_check(TRI_CONTEXT_ALLGATHER, size, u, T);
                if (u == size) legal_check(TRI_CONTEXT_ULYSSES, size, u, T);
            }
    return TRI_OK;
}

/* Each token on one rank; the tokens of a rank as the head of context.h says, by brute force. */
static tri_status places_check(tri_context_mode mode, int size, int u, int64_t T)
{
    tri_context_args args = {.mode = mode,
                             .n_ulysses = u,
                             .sequences = 1,
                             .length = T,
                             .heads = 12,
                             .kv_heads = 4,
                             .head_size = 8};
    int ring = size / u;
    int64_t chunk = T / (2 * ring);
    int64_t owned[512] = {0};
    for (int rank = 0; rank < size; rank++) {
        __attribute__((cleanup(paper_destroy))) paper p = {0};
        TRI_TRY(paper_create(args, size, rank, &p));
        for (int64_t j = 0; j < T / size; j++) {
            int64_t at = rank % u * (T / size) + j;
            int64_t want =
                at < chunk ? rank / u * chunk + at : (2 * ring - 1 - rank / u) * chunk + at - chunk;
            int64_t got = tri_context_index(p.context, j);
            if (ring == 1) want = at;
            EXPECT(got == want, "size %d ulysses %d rank %d token %lld is at %lld, not %lld", size,
                   u, rank, (long long)j, (long long)got, (long long)want);
            owned[got]++;
        }
    }
    for (int64_t t = 0; t < T; t++)
        EXPECT(owned[t] == 1, "place %lld has %lld owners", (long long)t, (long long)owned[t]);
    return TRI_OK;
}

TRI_TEST(tokens_are_shared_out)
{
    TRI_TRY(places_check(TRI_CONTEXT_RING, 1, 1, 7));
    TRI_TRY(places_check(TRI_CONTEXT_RING, 4, 1, 64));
    TRI_TRY(places_check(TRI_CONTEXT_RING, 3, 1, 66));
    TRI_TRY(places_check(TRI_CONTEXT_RING, 8, 2, 64));
    TRI_TRY(places_check(TRI_CONTEXT_RING, 12, 4, 120));
    TRI_TRY(places_check(TRI_CONTEXT_ALLGATHER, 4, 1, 32));
    return places_check(TRI_CONTEXT_ULYSSES, 4, 4, 36);
}

/* Pairs of a query and a key it sees, for the queries of one ring place and the keys of another. */
static int64_t pairs_of(int64_t n, const int64_t *queries, const int64_t *keys)
{
    int64_t pairs = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            pairs += keys[j] <= queries[i];
    return pairs;
}

TRI_TEST(rings_share_the_work)
{
    enum { RING = 4, T = 128, N = T / RING };
    static int64_t place[RING][N];
    tri_context_args args = {.mode = TRI_CONTEXT_RING,
                             .n_ulysses = 1,
                             .sequences = 1,
                             .length = T,
                             .heads = 1,
                             .kv_heads = 1,
                             .head_size = 8};
    for (int rank = 0; rank < RING; rank++) {
        __attribute__((cleanup(paper_destroy))) paper p = {0};
        TRI_TRY(paper_create(args, RING, rank, &p));
        for (int64_t j = 0; j < N; j++)
            place[rank][j] = tri_context_index(p.context, j);
    }
    for (int step = 0; step < RING; step++)
        for (int rank = 0; rank < RING; rank++) {
            int from = (rank - step + RING) % RING;
            int64_t pairs = pairs_of(N, place[rank], place[from]);
            int64_t want = step ? N * N / 2 : pairs_of(N, place[0], place[0]);
            EXPECT(pairs == want, "rank %d has %lld pairs at step %d, not %lld", rank,
                   (long long)pairs, step, (long long)want);
        }
    return TRI_OK;
}

/* --- what is declared and sent, by hand for one layout each */

enum { B = 2, T = 64, H = 8, HK = 2, DH = 16, C = H * DH, CK = HK * DH };

static tri_status declared(tri_context_mode mode, int size, int u, bool training,
                           size_t bytes[TRI_MEM_KINDS], int64_t *store_bytes)
{
    tri_context_args args = {.mode = mode,
                             .n_ulysses = u,
                             .sequences = B,
                             .length = T,
                             .heads = H,
                             .kv_heads = HK,
                             .head_size = DH,
                             .dtype = TRI_BF16,
                             .training = training};
    __attribute__((cleanup(paper_destroy))) paper p = {0};
    TRI_AUTO(tri_arena) *arena = NULL;
    TRI_TRY(paper_create(args, size, size - 1, &p));
    TRI_TRY(tri_arena_create(&arena));
    TRI_TRY(tri_context_declare(p.context, arena));
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        bytes[kind] = tri_arena_bytes(arena, (tri_mem_kind)kind);
    *store_bytes = tri_context_store_bytes(p.context);
    return TRI_OK;
}

static tri_status declared_check(tri_context_mode mode, int u, bool training, const int64_t want[3])
{
    size_t bytes[TRI_MEM_KINDS];
    int64_t store_bytes = 0;
    TRI_TRY(declared(mode, 4, u, training, bytes, &store_bytes));
    EXPECT((int64_t)bytes[TRI_MEM_COMM] == want[0] &&
               (int64_t)bytes[TRI_MEM_WORKSPACE] == want[1] && store_bytes == want[2],
           "mode %d ulysses %d training %d: %zu of communication, not %lld; %zu of workspace, not "
           "%lld; %lld stored, not %lld",
           (int)mode, u, training, bytes[TRI_MEM_COMM], (long long)want[0],
           bytes[TRI_MEM_WORKSPACE], (long long)want[1], (long long)store_bytes,
           (long long)want[2]);
    return TRI_OK;
}

TRI_TEST(buffers_are_declared)
{
    int64_t rows = B * T / 4; /* of a rank */
    /* keys and values twice in bf16, their gradients three times in fp32; sums, and q beside them */
    int64_t keys = rows * 2 * CK;
    TRI_TRY(declared_check(TRI_CONTEXT_RING, 1, true,
                           (int64_t[]){2 * keys * 2 + 3 * keys * 4, rows * C * (4 + 2), 0}));
    TRI_TRY(declared_check(TRI_CONTEXT_RING, 1, false, (int64_t[]){2 * keys * 2, rows * C * 4, 0}));
    /* of all ranks, but half the heads, twice each */
    TRI_TRY(declared_check(TRI_CONTEXT_ALLGATHER, 1, true,
                           (int64_t[]){4 * keys * 2 + 4 * keys * 4, rows * C * (4 + 2), 0}));
    /* q, k, v twice (heads of keys on two ranks each) and out */
    int64_t wide = rows * (C + 2 * 4 * DH) * 2;
    TRI_TRY(declared_check(TRI_CONTEXT_ULYSSES, 1, true,
                           (int64_t[]){2 * wide + rows * C * 2, 0, wide + rows * C * 2}));
    TRI_TRY(
        declared_check(TRI_CONTEXT_ULYSSES, 4, false, (int64_t[]){2 * wide + rows * C * 2, 0, 0}));
    /* both: the ring of half the heads and twice the tokens */
    wide = rows * (C + 2 * CK) * 2;
    return declared_check(TRI_CONTEXT_RING, 2, true,
                          (int64_t[]){2 * wide + rows * C * 2 + 2 * keys * 2 + 3 * keys * 4,
                                      rows * C * (4 + 2), wide + rows * C * 2});
}

static tri_status traffic_of(tri_context_mode mode, int u, tri_traffic_list *list)
{
    tri_context_args args = {.mode = mode,
                             .n_ulysses = u,
                             .sequences = B,
                             .length = T,
                             .heads = H,
                             .kv_heads = HK,
                             .head_size = DH,
                             .dtype = TRI_BF16,
                             .training = true};
    __attribute__((cleanup(paper_destroy))) paper p = {0};
    TRI_TRY(paper_create(args, 4, 0, &p));
    *list = (tri_traffic_list){0};
    tri_context_traffic(p.context, B, 2, 1, list);
    return TRI_OK;
}

static double sent_bytes(const tri_traffic_list *list)
{
    double sent = 0;
    for (int i = 0; i < list->n; i++)
        sent += tri_traffic_sent_bytes(&list->entry[i]);
    return sent;
}

/* The volumes of the papers for two forward passes and one backward, bf16. */
TRI_TEST(volumes_are_the_papers)
{
    tri_traffic_list list;
    int64_t rows = B * T / 4;
    int64_t block = rows * 2 * CK;
    TRI_TRY(traffic_of(TRI_CONTEXT_RING, 1, &list));
    double want = (double)((2 + 1) * 3 * block * 2 + 4 * block * 4);
    EXPECT(sent_bytes(&list) == want, "ring: %g, not %g", sent_bytes(&list), want);
    TRI_TRY(traffic_of(TRI_CONTEXT_ALLGATHER, 1, &list));
    want = (double)((2 + 1) * 3 * block * 2 + 3 * block * 4);
    EXPECT(sent_bytes(&list) == want, "allgather: %g, not %g", sent_bytes(&list), want);
    TRI_TRY(traffic_of(TRI_CONTEXT_ULYSSES, 4, &list));
    want = 3 * 0.75 * (double)(rows * (2 * C + 2 * 4 * DH) * 2);
    EXPECT(sent_bytes(&list) == want, "ulysses: %g, not %g", sent_bytes(&list), want);
    TRI_TRY(traffic_of(TRI_CONTEXT_RING, 2, &list));
    want =
        3 * 0.5 * (double)(rows * (2 * C + 2 * CK) * 2) + (double)(3 * block * 2 + 2 * block * 4);
    EXPECT(sent_bytes(&list) == want, "both: %g, not %g", sent_bytes(&list), want);
    return TRI_OK;
}

TRI_TEST(names_are_in_order)
{
    const char *const *names = tri_context_modes();
    EXPECT(strcmp(names[TRI_CONTEXT_RING], "ring") == 0, "%s", names[TRI_CONTEXT_RING]);
    EXPECT(strcmp(names[TRI_CONTEXT_ULYSSES], "ulysses") == 0, "%s", names[TRI_CONTEXT_ULYSSES]);
    EXPECT(strcmp(names[TRI_CONTEXT_ALLGATHER], "allgather") == 0, "%s",
           names[TRI_CONTEXT_ALLGATHER]);
    EXPECT(!names[3], "more names than modes");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(illegal_splits_name_the_nearest),
              TRI_TEST_ROW(legal_lengths_are_those_that_cut), TRI_TEST_ROW(tokens_are_shared_out),
              TRI_TEST_ROW(rings_share_the_work), TRI_TEST_ROW(buffers_are_declared),
              TRI_TEST_ROW(volumes_are_the_papers), TRI_TEST_ROW(names_are_in_order))
