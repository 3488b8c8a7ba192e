// SPDX-License-Identifier: Apache-2.0
/* Save a fixture as one job, load it as another that may differ in mesh, types and vocabulary, and say what
 * every element must be then.
 */
#ifndef TRI_TESTS_CHECKPOINT_LOAD_RUN_H
#define TRI_TESTS_CHECKPOINT_LOAD_RUN_H

#include "tests/checkpoint/fixture_io.h"

/* One world and what its ranks do; the checkpoint is the newest in `dir`. */
typedef struct load_job {
    fixture_layout layout;
    const char *dir;
    int64_t scale, ids; /* of this job's fixture; scale 0: 1 */
    tri_dtype as;
    bool casts;              /* this job's rows are of type `as` */
    int64_t saved_ids;       /* of the checkpoint's; 0: as the table of rows says */
    int64_t real_ids;        /* of the checkpoint, those above are zero; 0: all are real */
    tri_ckpt_load_args args; /* options; path, state and world are filled in */
    tri_status (*body)(const struct load_job *job, const fixture *f, tri_comm *world);
    tri_status code; /* what the body expects, on the rank that finds it; "": fine */
    const char *part;
} load_job;

enum { LOAD_STEP = 7 };

static inline tri_status load_rank(tri_comm *world, void *arg)
{
    const load_job *job = arg;
    TRI_AUTO(fixture)
    f = {.scale = job->scale ? job->scale : 1, .ids = job->ids, .as = job->as, .casts = job->casts};
    TRI_TRY(fixture_create_as(world, &job->layout, &f));
    return job->body(job, &f, world);
}

static inline tri_status load_run(load_job job)
{
    int ranks = 1;
    for (int a = 0; a < TRI_AXES; a++)
        ranks *= job.layout.size[a];
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    return tri_comm_run_threads(ranks, &device, load_rank, &job);
}

static inline const fixture_row *load_table_row(const tri_row *row)
{
    for (int i = 0; i < FIXTURE_ROWS; i++)
        if (strcmp(fixture_rows[i].name, row->name) == 0) return &fixture_rows[i];
    return NULL;
}

/* Global index of element i of a box of a row. */
static inline int64_t load_index(const tri_row *row, const tri_box *box, int64_t i)
{
    int64_t index = 0;
    int64_t stride = 1;
    for (int d = row->n_dims - 1; d >= 0; d--) {
        index += (box->start[d] + i % box->count[d]) * stride;
        stride *= row->shape[d];
        i /= box->count[d];
    }
    return index;
}

/* The bits that an element must have after the load. */
static inline uint64_t load_wanted(const load_job *job, const tri_row *row, int64_t index)
{
    tri_dtype stored = load_table_row(row)->dtype;
    int64_t line = tri_row_elements(row) / row->shape[0];
    int64_t ids = job->real_ids ? job->real_ids : job->saved_ids;
    if (!ids) ids = 37 * (job->scale ? job->scale : 1);
    if (row->vocabulary && index / line >= ids) return 0;
    uint64_t bits = fixture_bits(stored, fixture_value(row->name, index, LOAD_STEP));
    uint64_t out = 0;
    if (stored == row->dtype || !tri_dtype_is_float(stored)) return bits;
    tri_dtype_cast(stored, &bits, row->dtype, &out, 1);
    return out;
}

static inline tri_status load_expect(const load_job *job, const fixture *f)
{
    for (int r = 0; r < tri_state_rows(f->state); r++) {
        const tri_row *row = tri_state_row(f->state, r);
        size_t bytes = tri_dtype_bytes(row->dtype);
        tri_piece_box pieces[TRI_MAX_BOXES];
        int n = 0;
        int64_t wrong = 0;
        TRI_TRY(tri_row_boxes(row, f->mesh, pieces, &n));
        for (int p = 0; p < n; p++)
            for (int64_t i = 0; i < tri_box_elements(&pieces[p].box); i++) {
                uint64_t want = load_wanted(job, row, load_index(row, &pieces[p].box, i));
                const char *got = (char *)row->data + (size_t)(pieces[p].offset + i) * bytes;
                wrong += memcmp(got, &want, bytes) != 0;
            }
        EXPECT(wrong == 0, "row %s: %lld elements are wrong", row->name, (long long)wrong);
    }
    return TRI_OK;
}

/* Zero the ids from job->real_ids on: a padded vocabulary. */
static inline tri_status load_pad(const load_job *job, const fixture *f)
{
    for (int r = 0; job->real_ids && r < tri_state_rows(f->state); r++) {
        const tri_row *row = tri_state_row(f->state, r);
        tri_piece_box pieces[TRI_MAX_BOXES];
        int n = 0;
        TRI_TRY(tri_row_boxes(row, f->mesh, pieces, &n));
        int64_t line = tri_row_elements(row) / row->shape[0];
        for (int p = 0; row->vocabulary && p < n; p++)
            for (int64_t i = 0; i < tri_box_elements(&pieces[p].box); i++)
                if (load_index(row, &pieces[p].box, i) / line >= job->real_ids)
                    memset((float *)row->data + pieces[p].offset + i, 0, sizeof(float));
    }
    return TRI_OK;
}

/* Bodies: save; load and compare, or be refused. */
static inline tri_status load_body_save(const load_job *job, const fixture *f, tri_comm *world)
{
    TRI_TRY(fixture_fill(f, LOAD_STEP));
    TRI_TRY(load_pad(job, f));
    tri_ckpt_save_args args = fixture_save_args(f, world, job->dir, LOAD_STEP, 0);
    return tri_ckpt_save(&args);
}

static inline tri_status load_newest(const load_job *job, const fixture *f, tri_comm *world,
                                     tri_ckpt_load_stats *stats)
{
    bool found = false;
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_find_newest(job->dir, world, &found, &info));
    tri_ckpt_load_args args = job->args;
    args.path = info.path;
    args.state = f->state;
    args.world = world;
    args.stats = stats;
    fixture_spoil(f);
    tri_status rc = tri_ckpt_load(&args);
    tri_ckpt_info_fini(&info);
    return rc;
}

static inline tri_status load_body(const load_job *job, const fixture *f, tri_comm *world)
{
    if (job->code == TRI_OK) {
        TRI_TRY(load_newest(job, f, world, NULL));
        return load_expect(job, f);
    }
    tri_status rc = load_newest(job, f, world, NULL);
    EXPECT(rc == job->code || (rc == TRI_EPEER && tri_comm_size(world) > 1), "load gave %s",
           tri_status_name(rc));
    EXPECT(strstr(tri_err_last()->text, job->part), "message '%s' lacks '%s'", tri_err_last()->text,
           job->part);
    tri_err_clear();
    return TRI_OK;
}

#endif
