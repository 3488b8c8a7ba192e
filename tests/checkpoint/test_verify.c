// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Verification: all damage is found and named, by one process and by ranks that share the work; a sound
 * checkpoint has none.
 */
#include "checkpoint/verify.h"

#include "checkpoint/disk.h"
#include "tests/checkpoint/fixture_run.h"

#include <fcntl.h>
#include <sys/stat.h>

static const fixture_layout four = {
    {1, 4, 1, 1},
    HOLD_SHARDS
};

/* A checkpoint of four ranks in a folder of its own, and its manifest as it was saved. */
typedef struct saved {
    char dir[64];
    tri_ckpt_info info;
    tri_manifest *m;
} saved;

static void saved_destroy(saved *s)
{
    tri_manifest_destroy(&s->m);
    tri_ckpt_info_fini(&s->info);
    if (s->dir[0]) fixture_remove(s->dir, 1);
}

static tri_status saved_create(int64_t scale, saved *out)
{
    TRI_TRY(fixture_folder(out->dir));
    fixture_job job = {
        .layout = four, .dir = out->dir, .step = 1, .scale = scale, .body = fixture_body_save};
    TRI_TRY(fixture_run(job));
    TRI_TRY(tri_ckpt_read_info(out->dir, &out->info));
    return tri_manifest_read(out->info.path, &out->m);
}

/* A verification by threads as ranks: what rank 0 reports, and whether all agree on the number. */
typedef struct shared {
    const char *path;
    tri_verify_report *report;
    int64_t findings[8];
} shared;

static tri_status shared_rank(tri_comm *world, void *arg)
{
    shared *job = arg;
    tri_verify_report *mine = NULL;
    TRI_TRY(TRI_NEW(&mine));
    tri_status rc = tri_verify(job->path, world, mine);
    if (rc == TRI_OK) job->findings[tri_comm_rank(world)] = mine->n_findings;
    if (rc == TRI_OK && tri_comm_rank(world) == 0) *job->report = *mine;
    TRI_FREE(mine);
    return rc;
}

/* Verify with `ranks` ranks; 0: one process without a world. */
static tri_status verify(const char *path, int ranks, tri_verify_report *out)
{
    if (ranks == 0) return tri_verify(path, NULL, out);
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    shared job = {.path = path, .report = out};
    TRI_TRY(tri_comm_run_threads(ranks, &device, shared_rank, &job));
    for (int r = 1; r < ranks; r++)
        EXPECT(job.findings[r] == out->n_findings, "rank %d of %d knows of %lld, not %lld", r,
               ranks, (long long)job.findings[r], (long long)out->n_findings);
    return TRI_OK;
}

/* Change byte `at` of a file of the checkpoint. */
static tri_status damage(const saved *s, const char *name, int64_t at)
{
    char path[TRI_DISK_PATH_BYTES];
    TRI_AUTO(tri_disk_fd) fd = -1;
    unsigned char byte = 0;
    TRI_TRY(tri_disk_path(path, s->info.path, name, ""));
    TRI_TRY(tri_disk_open(path, true, &fd, NULL));
    TRI_TRY(tri_disk_read(fd, path, &byte, 1, at));
    byte ^= 0x10;
    return tri_disk_write(fd, path, &byte, 1, at);
}

static const int rank_counts[] = {0, 1, 2, 3, 8};
enum { RANK_COUNTS = sizeof rank_counts / sizeof *rank_counts };

TRI_TEST(a_sound_one_has_no_findings)
{
    TRI_AUTO(saved) s = {0};
    TRI_TRY(saved_create(1, &s));
    int64_t bytes = 0;
    for (int64_t i = 0; i < s.m->head.n_files; i++)
        bytes += s.m->files[i].bytes;
    for (int i = 0; i < RANK_COUNTS; i++) {
        tri_verify_report report;
        TRI_TRY(verify(s.info.path, rank_counts[i], &report));
        EXPECT(report.n_findings == 0 && report.n_listed == 0, "%lld findings",
               (long long)report.n_findings);
        EXPECT(report.n_bytes == bytes && report.n_rows == FIXTURE_ROWS &&
                   report.n_files == s.m->head.n_files && report.n_boxes == s.m->head.n_boxes,
               "%d ranks: %lld of %lld bytes were read", rank_counts[i], (long long)report.n_bytes,
               (long long)bytes);
    }
    return TRI_OK;
}

/* The finding that names this box; NULL: none. */
static const tri_verify_finding *finding_of(const tri_verify_report *report, const tri_manifest *m,
                                            const tri_manifest_box *box)
{
    tri_box want = tri_manifest_box_of(m, box);
    for (int64_t i = 0; i < report->n_listed; i++) {
        const tri_verify_finding *f = &report->finding[i];
        bool same = f->kind == TRI_VERIFY_ROW && strcmp(f->row, m->rows[box->row].name) == 0 &&
                    strcmp(f->file, m->files[box->file].name) == 0 &&
                    memcmp(f->box.start, want.start, sizeof want.start) == 0 &&
                    memcmp(f->box.count, want.count, sizeof want.count) == 0;
        if (same) return f;
    }
    return NULL;
}

TRI_TEST(every_damaged_box_is_named)
{
    TRI_AUTO(saved) s = {0};
    TRI_TRY(saved_create(1, &s));
    int64_t damaged = 0;
    for (int64_t b = 0; b < s.m->head.n_boxes; b += 2, damaged++)
        TRI_TRY(damage(&s, s.m->files[s.m->boxes[b].file].name, s.m->boxes[b].offset + 1));
    for (int i = 0; i < RANK_COUNTS; i++) {
        tri_verify_report report;
        TRI_TRY(verify(s.info.path, rank_counts[i], &report));
        EXPECT(report.n_findings == damaged && report.n_listed == damaged,
               "%d ranks: %lld findings, %lld boxes are damaged", rank_counts[i],
               (long long)report.n_findings, (long long)damaged);
        for (int64_t b = 0; b < s.m->head.n_boxes; b++) {
            const tri_manifest_box *box = &s.m->boxes[b];
            const tri_verify_finding *f = finding_of(&report, s.m, box);
            EXPECT((f != NULL) == (b % 2 == 0), "box %lld is %snamed", (long long)b,
                   f ? "" : "not ");
            tri_box whole = tri_manifest_box_of(s.m, box);
            bool right = !f || (f->begin == box->offset && f->element == 0 &&
                                f->n_elements == tri_box_elements(&whole));
            EXPECT(right, "box %lld: elements or bytes are wrong", (long long)b);
        }
    }
    return TRI_OK;
}

/* A box of several blocks: the damaged block is named, not the box. */
TRI_TEST(the_block_is_named)
{
    TRI_AUTO(saved) s = {0};
    TRI_TRY(saved_create(24000, &s));
    int64_t b = 0;
    while (b < s.m->head.n_boxes && tri_manifest_blocks_of(s.m, &s.m->boxes[b]) < 3)
        b++;
    EXPECT(b < s.m->head.n_boxes, "no box has three blocks");
    const tri_manifest_box *box = &s.m->boxes[b];
    int64_t bytes = (int64_t)tri_dtype_bytes((tri_dtype)s.m->rows[box->row].dtype);
    int64_t element = 2 * box->block_elements + 7;
    TRI_TRY(damage(&s, s.m->files[box->file].name, box->offset + element * bytes));
    for (int i = 0; i < RANK_COUNTS; i++) {
        tri_verify_report report;
        TRI_TRY(verify(s.info.path, rank_counts[i], &report));
        const tri_verify_finding *f = finding_of(&report, s.m, box);
        EXPECT(report.n_findings == 1 && f && f->element == 2 * box->block_elements &&
                   f->element + f->n_elements > element &&
                   f->begin == box->offset + f->element * bytes,
               "%d ranks: %lld findings", rank_counts[i], (long long)report.n_findings);
    }
    return TRI_OK;
}

static int64_t count_kind(const tri_verify_report *report, tri_verify_kind kind, const char *file)
{
    int64_t n = 0;
    for (int64_t i = 0; i < report->n_listed; i++)
        n += report->finding[i].kind == kind && strcmp(report->finding[i].file, file) == 0;
    return n;
}

TRI_TEST(all_kinds_of_damage_at_once)
{
    TRI_AUTO(saved) s = {0};
    TRI_TRY(saved_create(1, &s));
    char path[TRI_DISK_PATH_BYTES];
    const tri_manifest_file *files = s.m->files;
    TRI_TRY(tri_disk_path(path, s.info.path, files[0].name, ""));
    EXPECT(unlink(path) == 0, "%s", path);
    TRI_TRY(tri_disk_path(path, s.info.path, files[1].name, ""));
    int64_t last = 0; /* where the last box of file 1 begins */
    for (int64_t b = 0; b < s.m->head.n_boxes; b++)
        if (s.m->boxes[b].file == 1 && s.m->boxes[b].offset > last) last = s.m->boxes[b].offset;
    EXPECT(truncate(path, last + 1) == 0, "%s", path);
    TRI_TRY(damage(&s, files[2].name, 9)); /* the superblock */
    TRI_TRY(damage(&s, TRI_MANIFEST_VIEW, files[s.m->head.n_files - 1].bytes / 2));
    for (int i = 0; i < RANK_COUNTS; i++) {
        tri_verify_report report;
        TRI_TRY(verify(s.info.path, rank_counts[i], &report));
        EXPECT(report.n_findings == 5, "%d ranks: %lld findings", rank_counts[i],
               (long long)report.n_findings);
        EXPECT(count_kind(&report, TRI_VERIFY_MISSING, files[0].name) == 1 &&
                   count_kind(&report, TRI_VERIFY_SIZE, files[1].name) == 1 &&
                   count_kind(&report, TRI_VERIFY_ROW, files[1].name) == 1 &&
                   count_kind(&report, TRI_VERIFY_OUTSIDE, files[2].name) == 1 &&
                   count_kind(&report, TRI_VERIFY_OUTSIDE, TRI_MANIFEST_VIEW) == 1,
               "%d ranks: other findings", rank_counts[i]);
    }
    EXPECT_STATUS(tri_ckpt_verify(s.info.path), TRI_EFORMAT, files[0].name);
    return TRI_OK;
}

TRI_TEST(a_damaged_manifest_is_a_finding)
{
    TRI_AUTO(saved) s = {0};
    TRI_TRY(saved_create(1, &s));
    TRI_TRY(damage(&s, TRI_MANIFEST_NAME, 2000));
    for (int i = 0; i < RANK_COUNTS; i++) {
        tri_verify_report report;
        TRI_TRY(verify(s.info.path, rank_counts[i], &report));
        EXPECT(report.n_findings == 1 &&
                   count_kind(&report, TRI_VERIFY_MANIFEST, TRI_MANIFEST_NAME) == 1,
               "%lld findings", (long long)report.n_findings);
    }
    tri_verify_report report;
    EXPECT_STATUS(verify(s.dir, 0, &report), TRI_EIO, TRI_MANIFEST_NAME);
    EXPECT_STATUS(verify(s.dir, 3, &report), TRI_EIO, TRI_MANIFEST_NAME);
    return TRI_OK;
}

/* A view that is not of this manifest, though its bytes are those that the manifest tells. */
TRI_TEST(a_view_of_another_structure_is_named)
{
    TRI_AUTO(saved) s = {0};
    TRI_TRY(saved_create(1, &s));
    snprintf(s.m->rows[0].name, sizeof s.m->rows[0].name, "data/another");
    TRI_TRY(tri_manifest_write(s.m, s.info.path));
    TRI_TRY(tri_disk_publish(s.info.path, TRI_MANIFEST_NAME));
    tri_verify_report report;
    TRI_TRY(verify(s.info.path, 2, &report));
    EXPECT(report.n_findings == 1 && count_kind(&report, TRI_VERIFY_VIEW, TRI_MANIFEST_VIEW) == 1,
           "%lld findings", (long long)report.n_findings);
    EXPECT(strstr(report.finding[0].why, "data/another"), "'%s'", report.finding[0].why);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(a_sound_one_has_no_findings), TRI_TEST_ROW(every_damaged_box_is_named),
              TRI_TEST_ROW(the_block_is_named), TRI_TEST_ROW(all_kinds_of_damage_at_once),
              TRI_TEST_ROW(a_damaged_manifest_is_a_finding),
              TRI_TEST_ROW(a_view_of_another_structure_is_named))
