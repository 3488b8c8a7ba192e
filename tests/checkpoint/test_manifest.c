// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* The manifest by itself: what is written is read; what cannot be is refused and said. */
#include "checkpoint/disk.h"
#include "checkpoint/manifest.h"
#include "checkpoint/view.h"
#include "runtime/base/crc.h"
#include "runtime/h5.h"
#include "tests/checkpoint/fixture_io.h"

#include <fcntl.h>

static const char mine[] = "01234567-89ab-4def-8123-456789abcdef";
static const char source[] = "89abcdef-0123-4567-89ab-cdef01234567";

/* Two rows in two files: a [4, 3] in two boxes, of which one lies in a file of another checkpoint, and a
 * scalar, kept as [1]. */
static tri_status example(tri_manifest **out)
{
    tri_manifest_head head = {
        .n_rows = 2, .n_boxes = 3, .n_blocks = 3, .n_files = 3, .sequence = 7, .step = 40};
    snprintf(head.uuid, sizeof head.uuid, "%s", mine);
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    m->rows[0] = (tri_manifest_row){
        .name = "param/a", .shape = {4, 3},
             .n_dims = 2, .dtype = TRI_F32
    };
    m->rows[1] = (tri_manifest_row){
        .name = "step", .shape = {1}, .n_dims = 1, .dtype = TRI_I64, .role = TRI_ROLE_JOB};
    m->boxes[0] = (tri_manifest_box){
        .count = {1, 3},
          .offset = 1000, .block_elements = 3, .file = 0
    };
    m->boxes[1] = (tri_manifest_box){
        .start = {1 },
        .count = { 3, 3},
        .offset = 2000,
        .block_elements = 9,
        .first_block = 1,
        .file = 1,
        .number = 2
    };
    m->boxes[2] = (tri_manifest_box){
        .count = {1}, .offset = 3000, .block_elements = 1, .first_block = 2, .row = 1, .file = 1};
    static const char *const names[] = {"shard-00000.h5", "shard-00001.h5", TRI_MANIFEST_VIEW};
    for (int i = 0; i < 3; i++) {
        m->files[i] = (tri_manifest_file){.bytes = 4000, .rank = i < 2 ? i : -1, .rest_crc = 5};
        m->blocks[i] = 0xfffffff0u + (unsigned)i;
        snprintf(m->files[i].name, sizeof m->files[i].name, "%s", names[i]);
        snprintf(m->files[i].uuid, sizeof m->files[i].uuid, "%s", i == 1 ? source : mine);
    }
    TRI_TRY(tri_manifest_index(m, "here", TRI_EBUG));
    *out = TRI_MOVE(m);
    return TRI_OK;
}

TRI_TEST(what_is_written_is_read)
{
    char dir[64];
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_AUTO(tri_manifest) *back = NULL;
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(example(&m));
    TRI_TRY(tri_view_write(m, dir, &m->files[2]));
    char view[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(view, dir, TRI_MANIFEST_VIEW, TRI_DISK_TEMPORARY));
    TRI_TRY(tri_view_check(m, view));
    TRI_TRY(tri_manifest_write(m, dir));
    TRI_TRY(tri_disk_publish(dir, TRI_MANIFEST_NAME));
    TRI_TRY(tri_manifest_read(dir, &back));
    EXPECT(memcmp(&m->head, &back->head, sizeof m->head) == 0, "heads differ");
    EXPECT(memcmp(m->rows, back->rows, 2 * sizeof *m->rows) == 0, "rows differ");
    EXPECT(memcmp(m->boxes, back->boxes, 3 * sizeof *m->boxes) == 0, "boxes differ");
    EXPECT(memcmp(m->blocks, back->blocks, 3 * sizeof *m->blocks) == 0, "blocks differ");
    EXPECT(memcmp(m->files, back->files, 3 * sizeof *m->files) == 0, "files differ");
    fixture_remove(dir, 0);
    return TRI_OK;
}

TRI_TEST(what_cannot_be_is_refused)
{
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(example(&m));
    m->files[1].uuid[0] = '\0';
    EXPECT_STATUS(tri_manifest_index(m, "p", TRI_EFORMAT), TRI_EFORMAT,
                  "checkpoint p: file shard-00001.h5 has an impossible uuid");
    memset(m->files[1].uuid, 'a', sizeof m->files[1].uuid);
    EXPECT_STATUS(tri_manifest_index(m, "p", TRI_EFORMAT), TRI_EFORMAT, "an impossible uuid");
    snprintf(m->files[1].uuid, sizeof m->files[1].uuid, "../%s", "x");
    EXPECT_STATUS(tri_manifest_index(m, "p", TRI_EFORMAT), TRI_EFORMAT, "an impossible uuid");
    return TRI_OK;
}

/* Give a manifest the header of another version, sealed as that version would. */
static tri_status renumber(const char *dir, int format)
{
    char path[128];
    char text[512] = "";
    snprintf(path, sizeof path, "%s/%s", dir, TRI_MANIFEST_NAME);
    int n = snprintf(text, sizeof text,
                     "trireme manifest %d\nuuid %s\nsequence 1\nstep 1\n"
                     "bytes 512\ncrc32c 00000000\n",
                     format, mine);
    snprintf(text + n, sizeof text - (size_t)n, "header %08x\n", tri_crc32c(text, (size_t)n));
    int fd = open(path, O_WRONLY | O_CREAT, 0666);
    EXPECT(fd >= 0 && write(fd, text, sizeof text) == (ssize_t)sizeof text, "%s", path);
    close(fd);
    return TRI_OK;
}

TRI_TEST(other_formats_are_named)
{
    char dir[64];
    tri_manifest_header header;
    TRI_TRY(fixture_folder(dir));
    TRI_TRY(renumber(dir, 1));
    EXPECT_STATUS(tri_manifest_peek(dir, &header), TRI_EUNSUP,
                  "is of format 1, which a development version before this one made");
    TRI_TRY(renumber(dir, TRI_MANIFEST_FORMAT + 1));
    EXPECT_STATUS(tri_manifest_peek(dir, &header), TRI_EUNSUP, "of a later version");
    TRI_TRY(renumber(dir, TRI_MANIFEST_FORMAT));
    TRI_TRY(tri_manifest_peek(dir, &header));
    fixture_remove(dir, 0);
    return TRI_OK;
}

/* A manifest of 3 rows of many boxes; some have more than one checksum. */
static tri_status many_boxes(tri_manifest **out)
{
    enum { BOXES = 9000 };
    tri_manifest_head head = {.n_rows = 3, .n_boxes = 3 * BOXES, .n_files = 1, .job_bytes = 4};
    head.n_blocks = head.n_boxes + BOXES;
    snprintf(head.uuid, sizeof head.uuid, "%s", mine);
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    m->files[0] = (tri_manifest_file){.name = "shard-00000.h5", .bytes = 1 << 20};
    snprintf(m->files[0].uuid, sizeof m->files[0].uuid, "%s", mine);
    int64_t block = 0;
    for (int r = 0; r < 3; r++) {
        m->rows[r] = (tri_manifest_row){
            .shape = {BOXES, 2},
              .n_dims = 2, .dtype = TRI_F32
        };
        snprintf(m->rows[r].name, sizeof m->rows[r].name, "row%d", r);
        for (int b = 0; b < BOXES; b++) {
            m->boxes[r * BOXES + b] = (tri_manifest_box){
                .start = {BOXES - 1 - b},
                .count = { 1,            2},
                .offset = 8 * b,
                .block_elements = r == 1 ? 1 : 2,
                .first_block = block,
                .row = r
            };
            block += r == 1 ? 2 : 1;
        }
    }
    for (int64_t i = 0; i < head.n_blocks; i++)
        m->blocks[i] = i;
    TRI_TRY(tri_manifest_index(m, "here", TRI_EBUG));
    *out = TRI_MOVE(m);
    return TRI_OK;
}

/* Rank r wants the boxes of row r at every r-th start, and nothing of row 0. */
static bool wants_some(void *arg, int64_t row, const tri_box *box)
{
    int rank = *(const int *)arg;
    return row > 0 && row == rank % 3 && box->start[0] % rank == 0;
}

static tri_status get_part(tri_comm *world, void *arg)
{
    const tri_manifest *all = arg;
    int rank = tri_comm_rank(world);
    const tri_manifest *whole = rank == 0 ? all : NULL;
    TRI_AUTO(tri_manifest) *part = NULL;
    TRI_TRY(tri_manifest_broadcast(world, whole, &part));
    EXPECT(part->head.n_rows == 3 && part->head.n_boxes == 0 && part->head.n_files == 1 &&
               memcmp(part->files, all->files, sizeof *all->files) == 0,
           "the part has %lld rows", (long long)part->head.n_rows);
    TRI_TRY(tri_manifest_scatter(world, whole, &(tri_manifest_filter){wants_some, &rank}, part));
    int64_t next = 0;
    for (int64_t i = 0; i < all->head.n_boxes; i++) {
        const tri_manifest_box *box = &all->boxes[i];
        tri_box where = tri_manifest_box_of(all, box);
        if (!wants_some(&rank, box->row, &where)) continue;
        const tri_manifest_box *got = &part->boxes[next++];
        EXPECT(next <= part->head.n_boxes && got->row == box->row && got->offset == box->offset &&
                   memcmp(got->start, box->start, sizeof got->start) == 0,
               "rank %d, box %lld", rank, (long long)i);
        for (int64_t k = 0; k < tri_manifest_blocks_of(all, box); k++)
            EXPECT(part->blocks[got->first_block + k] == all->blocks[box->first_block + k],
                   "rank %d, box %lld, checksum %lld", rank, (long long)i, (long long)k);
    }
    EXPECT(part->head.n_boxes == next, "rank %d has %lld boxes", rank,
           (long long)part->head.n_boxes);
    for (int r = 0; r < 3; r++)
        EXPECT(part->rows[r].n_boxes == (r == rank % 3 ? next : 0) && part->rows[r].first_box == 0,
               "rank %d, row %d: %lld boxes", rank, r, (long long)part->rows[r].n_boxes);
    return TRI_OK;
}

TRI_TEST(each_rank_gets_the_boxes_it_wants)
{
    TRI_AUTO(tri_manifest) *m = NULL;
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    TRI_TRY(many_boxes(&m));
    for (int ranks = 1; ranks <= 5; ranks += 2)
        TRI_TRY(tri_comm_run_threads(ranks, &device, get_part, m));
    return TRI_OK;
}

static uint64_t draw(uint64_t *state, uint64_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

/* Cut a box of the row at random, over and over: boxes of any arrangement that tile it. */
static tri_status random_tiles(uint64_t *random, int n_dims, int n_boxes, tri_manifest **out)
{
    tri_manifest_head head = {.n_rows = 1, .n_boxes = n_boxes, .n_blocks = 1, .n_files = 1};
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_create(&head, &m));
    m->files[0] = (tri_manifest_file){.name = "shard-00000.h5", .bytes = 1 << 20};
    snprintf(m->files[0].uuid, sizeof m->files[0].uuid, "%s", mine);
    m->rows[0] = (tri_manifest_row){.name = "row", .n_dims = n_dims, .dtype = TRI_U8};
    m->boxes[0] = (tri_manifest_box){.block_elements = 1 << 20};
    for (int d = 0; d < n_dims; d++)
        m->boxes[0].count[d] = m->rows[0].shape[d] = 1 + (int64_t)draw(random, 9);
    m->head.n_boxes = 1;
    for (int tries = 0; m->head.n_boxes < n_boxes && tries < 200; tries++) {
        tri_manifest_box *box = &m->boxes[draw(random, (uint64_t)m->head.n_boxes)];
        int d = (int)draw(random, (uint64_t)n_dims);
        if (box->count[d] < 2) continue;
        int64_t left = 1 + (int64_t)draw(random, (uint64_t)box->count[d] - 1);
        tri_manifest_box *other = &m->boxes[m->head.n_boxes++];
        *other = *box;
        other->start[d] += left;
        other->count[d] -= left;
        box->count[d] = left;
    }
    *out = TRI_MOVE(m);
    return TRI_OK;
}

/* Count each element: what the index says is checked against this. */
static bool is_tiled(const tri_manifest *m)
{
    char seen[9][9][9][9] = {{{{0}}}};
    int64_t shape[4] = {1, 1, 1, 1};
    for (int d = 0; d < m->rows[0].n_dims; d++)
        shape[d] = m->rows[0].shape[d];
    for (int64_t i = 0; i < m->head.n_boxes; i++) {
        const tri_manifest_box *box = &m->boxes[i];
        tri_box whole = tri_manifest_box_of(m, box);
        for (int64_t e = 0; e < tri_box_elements(&whole); e++) {
            int64_t at[4] = {0};
            int64_t rest = e;
            for (int d = whole.n_dims - 1; d >= 0; d--) {
                at[d] = box->start[d] + rest % box->count[d];
                rest /= box->count[d];
            }
            seen[at[0]][at[1]][at[2]][at[3]]++;
        }
    }
    for (int64_t e = 0; e < shape[0] * shape[1] * shape[2] * shape[3]; e++)
        if (seen[e / shape[3] / shape[2] / shape[1]][e / shape[3] / shape[2] % shape[1]]
                [e / shape[3] % shape[2]][e % shape[3]] != 1)
            return false;
    return true;
}

/* Rows of 1 to 4 dimensions, down to a single element, tiled or with one box moved or resized. */
TRI_TEST(boxes_must_tile_their_row)
{
    uint64_t random = 3;
    int n_tiled = 0;
    for (int trial = 0; trial < 3000; trial++) {
        TRI_AUTO(tri_manifest) *m = NULL;
        int n_dims = 1 + trial % 4;
        TRI_TRY(random_tiles(&random, n_dims, 1 + (int)draw(&random, 12), &m));
        if (trial % 3) { /* within the shape, or another check refuses it */
            tri_manifest_box *box = &m->boxes[draw(&random, (uint64_t)m->head.n_boxes)];
            int d = (int)draw(&random, (uint64_t)n_dims);
            int64_t shape = m->rows[0].shape[d];
            box->start[d] = (int64_t)draw(&random, (uint64_t)shape);
            box->count[d] = 1 + (int64_t)draw(&random, (uint64_t)(shape - box->start[d]));
        }
        bool want = is_tiled(m);
        tri_status rc = tri_manifest_index(m, "here", TRI_EFORMAT);
        n_tiled += want;
        EXPECT((rc == TRI_OK) == want, "trial %d: %s %s", trial, tri_status_name(rc),
               tri_err_last()->text);
        tri_err_clear();
    }
    EXPECT(n_tiled > 1000 && n_tiled < 2500, "%d were tiled", n_tiled);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(what_is_written_is_read), TRI_TEST_ROW(what_cannot_be_is_refused),
              TRI_TEST_ROW(other_formats_are_named), TRI_TEST_ROW(boxes_must_tile_their_row),
              TRI_TEST_ROW(each_rank_gets_the_boxes_it_wants))
