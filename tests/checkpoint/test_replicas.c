// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* One bit of one copy of a row is flipped: the save is refused and names row and rank, whatever the layout; what
 * was saved before stays. What nobody else holds has nothing to be compared with.
 */
#include "checkpoint/saver.h"
#include "tests/checkpoint/fixture_run.h"

/* A copy to damage, and what is to be said of it. */
typedef struct damage {
    fixture_layout layout;
    const char *row;
    int rank;         /* -1: none */
    const char *says; /* "": the save goes through */
} damage;

static const damage *now; /* of the world that runs */

static tri_status save_damaged(const fixture_job *job, const fixture *f, tri_comm *world)
{
    TRI_TRY(fixture_fill(f, job->step));
    if (tri_comm_rank(world) == now->rank) {
        int index = tri_state_find(f->state, now->row);
        const tri_row *row = tri_state_row(f->state, index);
        EXPECT(row->count > 0, "rank %d has nothing of %s", now->rank, now->row);
        ((unsigned char *)row->data)[(size_t)row->count * tri_dtype_bytes(row->dtype) - 1] ^= 16;
    }
    tri_ckpt_save_args args = fixture_save_args(f, world, job->dir, job->step, 1);
    tri_status rc = tri_ckpt_save(&args);
    EXPECT((rc == TRI_OK) == !now->says[0], "damage of %s on rank %d: %s", now->row, now->rank,
           tri_err_last()->text);
    if (rc == TRI_OK) return TRI_OK;
    EXPECT(rc == TRI_EDIVERGED || rc == TRI_EPEER, "%s", tri_status_name(rc));
    EXPECT(strstr(tri_err_last()->text, now->says), "message '%s' does not contain '%s'",
           tri_err_last()->text, now->says);
    tri_err_clear();
    return TRI_OK;
}

static const damage damages[] = {
  /* copies over data; the last of two, of four */
    {{{1, 2, 1, 1}, HOLD_WHOLE},
     "param/embed",                                      1,
     "'param/embed' differ: rank 1 has other bytes than rank 0."                                  },
    {{{1, 4, 1, 1}, HOLD_WHOLE},
     "param/50%b",                                       0,
     "'param/50%b' differ: rank 0 has other bytes than ranks 1, 2 and 3."                         },
    {{{1, 4, 1, 1}, HOLD_WHOLE},
     "param/layers.1.bias",                              2,
     "'param/layers.1.bias' differ: rank 2 has"                                                   },
 /* a cursor that all have */
    {{{2, 2, 1, 2}, HOLD_WHOLE},
     "data/cursor",                                      5,
     "'data/cursor' differ: rank 5 has other bytes than ranks 0, 1, 2, 3, 4, 6 and 7."            },
 /* parts of a split row, each on two ranks */
    {{{1, 2, 1, 3}, HOLD_WHOLE},  "param/embed",         5,  "rank 5 has other bytes than rank 2."},
 /* one stage's */
    {{{2, 3, 1, 1}, HOLD_WHOLE},
     "optim/adamw/m/bias",                               4,
     "rank 4 has other bytes than ranks 3 and 5."                                                 },
 /* shards that pairs of ranks have */
    {{{1, 4, 1, 1}, HOLD_PAIRS},  "optim/adamw/m/embed", 3,  "rank 3 has other bytes than rank 2."},
 /* shards that one rank has: not to be known; none */
    {{{1, 4, 1, 1}, HOLD_SHARDS}, "param/embed",         2,  ""                                   },
    {{{2, 2, 2, 2}, HOLD_WHOLE},  "",                    -1, ""                                   },
};

TRI_TEST(one_flipped_bit_is_reported)
{
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char dir[64];
        TRI_TRY(fixture_folder(dir));
        fixture_job job = {.layout = damages[i].layout, .dir = dir, .step = 1, .hooked = -1};
        job.body = fixture_body_save;
        TRI_TRY(fixture_run(job));
        now = &damages[i];
        job.body = save_damaged;
        job.step = 2;
        TRI_TRY(fixture_run(job));
        if (damages[i].says[0]) { /* the first one is still the newest */
            job.body = fixture_body_restore;
            job.step = 1;
            TRI_TRY(fixture_run(job));
        }
        fixture_remove(dir, 1);
    }
    return TRI_OK;
}

/* Several rows at once, of several ranks: one is named, the others are counted. */
static tri_status save_many(const fixture_job *job, const fixture *f, tri_comm *world)
{
    TRI_TRY(fixture_fill(f, job->step));
    if (tri_comm_rank(world) >= 3)
        for (int i = 0; i < tri_state_rows(f->state); i++)
            ((unsigned char *)tri_state_row(f->state, i)->data)[0] ^= 1;
    tri_ckpt_save_args args = fixture_save_args(f, world, job->dir, job->step, 1);
    tri_status rc = tri_ckpt_save(&args);
    EXPECT(rc == (tri_comm_rank(world) == 3 ? TRI_EDIVERGED : TRI_EPEER), "%s",
           tri_status_name(rc));
    EXPECT(strstr(tri_err_last()->text, "ranks 3 and 4 have other bytes than ranks 0, 1 and 2; so "
                                        "do those of 7 more rows."),
           "message '%s'", tri_err_last()->text);
    tri_err_clear();
    return TRI_OK;
}

TRI_TEST(one_row_stands_for_many)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {
        .layout = {{1, 5, 1, 1}, HOLD_WHOLE},
          .dir = dir, .step = 1, .body = save_many
    };
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

/* A saver that trusts them saves one of the copies. */
static tri_status save_trusting(const fixture_job *job, const fixture *f, tri_comm *world)
{
    TRI_TRY(fixture_fill(f, job->step));
    int index = tri_state_find(f->state, "param/embed");
    if (tri_comm_rank(world) == 1) *(char *)tri_state_row(f->state, index)->data ^= 1;
    tri_saver_args args = {.state = f->state, .world = world, .trusts_replicas = true};
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure;
    TRI_AUTO(tri_saver) *saver = NULL;
    TRI_TRY(tri_saver_create(&args, &saver));
    TRI_TRY(tri_saver_begin(saver, job->dir, job->step, "name: test\n"));
    TRI_TRY(tri_saver_finish(saver, &outcome, &failure));
    EXPECT(outcome == TRI_SAVER_COMMITTED, "outcome %d", (int)outcome);
    return TRI_OK;
}

TRI_TEST(they_may_be_trusted)
{
    char dir[64];
    TRI_TRY(fixture_folder(dir));
    fixture_job job = {
        .layout = {{1, 2, 1, 1}, HOLD_WHOLE},
          .dir = dir, .step = 1, .body = save_trusting
    };
    TRI_TRY(fixture_run(job));
    fixture_remove(dir, 1);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(one_flipped_bit_is_reported), TRI_TEST_ROW(one_row_stands_for_many),
              TRI_TEST_ROW(they_may_be_trusted))
