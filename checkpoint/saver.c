// SPDX-License-Identifier: Apache-2.0
/* The main thread's side of a save: it begins, and takes part when the ranks meet. It waits for a disk where
 * it makes the folder, and where its caller asks it to wait.
 */
#include "checkpoint/bytes.h"
#include "checkpoint/disk.h"
#include "checkpoint/folder.h"
#include "checkpoint/replicas.h"
#include "checkpoint/saver_impl.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"

#include <stdio.h>
#include <string.h>

/* What a save takes beside its files: view and manifest, by their rows and boxes. */
enum { SAVER_INDEX_BYTES = 1 << 20, SAVER_BYTES_PER_BOX = 1024 };
/* How often a rank that waits says how far it is. */
static const double saver_look_s = 1;

static bool saver_is_root(const tri_saver *saver)
{
    return tri_comm_rank(saver->args.world) == 0;
}

tri_status tri_saver_create(const tri_saver_args *args, tri_saver **out)
{
    tri_saver *saver = NULL;
    TRI_CHECK(args->keep >= 0 && args->keep_every >= 0, TRI_EINVAL,
              "keep %d and keep_every %lld: neither can be negative", args->keep,
              (long long)args->keep_every);
    TRI_TRY(TRI_NEW(&saver));
    saver->args = *args;
    saver->head.step = -1;
    saver->fd = -1;
    *out = saver;
    return TRI_OK;
}

void tri_saver_destroy(tri_saver **saver)
{
    if (!*saver) return;
    atomic_store(&(*saver)->is_abandoned, true);
    tri_worker_destroy(&(*saver)->worker);
    tri_worker_destroy(&(*saver)->builder);
    tri_handover_destroy(&(*saver)->handover);
    tri_save_plan_destroy(&(*saver)->plan);
    TRI_FREE((*saver)->job_yaml);
    TRI_FREE((*saver)->crc);
    TRI_FREE((*saver)->all);
    TRI_FREE(*saver);
}

tri_status tri_saver_declare(tri_saver *saver, tri_arena *arena)
{
    if (!saver->args.is_async) return TRI_OK;
    TRI_TRY(tri_save_plan_bytes(saver->args.state, &saver->buffer_bytes));
    if (saver->buffer_bytes == 0) return TRI_OK;
    TRI_TRY(tri_arena_add(arena, TRI_MEM_CHECKPOINT, saver->buffer_bytes, TRI_U8,
                          (void **)&saver->buffer));
    return tri_arena_add(arena, TRI_MEM_CHECKPOINT, TRI_HANDOVER_UNIT_BYTES, TRI_U8,
                         (void **)&saver->staging);
}

/* Ranks meet: has one failed? Then saver->failure says why on each. Collective: world. */
static tri_status saver_meet(tri_saver *saver, tri_status mine, bool *has_failed)
{
    int64_t any = mine != TRI_OK;
    TRI_TRY(tri_allreduce(saver->args.world, tri_span_make(&any, 1, TRI_I64), TRI_MAX, NULL));
    *has_failed = any != 0;
    if (!*has_failed) return TRI_OK;
    if (tri_agree(saver->args.world, mine) != TRI_OK) tri_err_take(&saver->failure);
    return TRI_OK;
}

/* A save is given up: rank 0 removes what it can; the next save that is committed removes the rest. */
static void saver_give_up(tri_saver *saver)
{
    saver->phase = SAVER_IDLE;
    if (!saver_is_root(saver) || !saver->path[0]) return;
    char name[TRI_FOLDER_NAME_BYTES];
    tri_folder_name(saver->head.step, saver->head.uuid, name);
    if (tri_folder_remove(saver->dir, name, NULL) != TRI_OK) tri_err_clear();
}

/* What the first save makes. Collective: world. */
static tri_status saver_plan(tri_saver *saver, const char *dir)
{
    tri_comm *world = saver->args.world;
    bool per_node = saver->args.files == TRI_SAVER_FILE_PER_NODE;
    TRI_TRY(tri_save_plan_create(saver->args.state, world, per_node, dir, &saver->plan));
    const tri_save_plan *plan = saver->plan;
    const tri_mesh *mesh = tri_state_mesh(saver->args.state);
    for (int a = 0; a < TRI_AXES; a++)
        saver->head.axis[a] = tri_mesh_size(mesh, (tri_axis)a);
    snprintf(saver->head.version, sizeof saver->head.version, "%s",
             saver->args.version ? saver->args.version : "");
    TRI_TRY(TRI_NEW_ARRAY(1 + plan->n_blocks, &saver->crc));
    if (plan->manifest)
        TRI_TRY(TRI_NEW_ARRAY(tri_comm_size(world) + plan->manifest->head.n_blocks, &saver->all));
    TRI_TRY(tri_handover_create(plan->units, plan->n_units, plan->n_still_units, &saver->handover));
    tri_handover_use(saver->handover, saver->buffer, saver->buffer_bytes, saver->staging);
    TRI_TRY(tri_worker_create("checkpoint-hdf5", &saver->builder));
    return tri_worker_create("checkpoint", &saver->worker);
}

static void saver_unplan(tri_saver *saver)
{
    tri_worker_destroy(&saver->worker);
    tri_worker_destroy(&saver->builder);
    tri_handover_destroy(&saver->handover);
    tri_save_plan_destroy(&saver->plan);
    TRI_FREE(saver->crc);
    TRI_FREE(saver->all);
}

/* Rank 0: is there room for the save beside what is there? */
static tri_status saver_check_space(const tri_saver *saver)
{
    const tri_manifest_head *head = &saver->plan->manifest->head;
    int64_t index = SAVER_INDEX_BYTES + SAVER_BYTES_PER_BOX * (head->n_rows + head->n_boxes);
    int64_t needed = saver->plan->total_bytes + index + 8 * head->n_blocks;
    int64_t free_bytes = 0;
    TRI_TRY(tri_disk_free_bytes(saver->dir, &free_bytes));
    TRI_CHECK(free_bytes < 0 || free_bytes >= needed, TRI_EIO,
              "a checkpoint of step %lld takes up to %.1f MiB in %s, where %.1f MiB are free: "
              "delete what is not needed, or keep fewer",
              (long long)saver->head.step, (double)needed / (1 << 20), saver->dir,
              (double)free_bytes / (1 << 20));
    return TRI_OK;
}

/* Rank 0: the folder of the save. */
static tri_status saver_open_folder(tri_saver *saver)
{
    /* Once: a folder that vanishes later may be a disk that is gone; nothing is put in its place. */
    if (!saver->is_dir_made) TRI_TRY(tri_disk_make_folder(saver->dir));
    saver->is_dir_made = true;
    TRI_TRY(saver_check_space(saver));
    return tri_folder_begin(saver->dir, &saver->head, saver->path);
}

/* This rank's part of beginning that can fail. */
static tri_status saver_prepare(tri_saver *saver, const char *dir, int64_t step,
                                const char *job_yaml)
{
    saver->path[0] = '\0'; /* what is given up is not the last one, which is committed */
    TRI_CHECK(dir[0] && step >= 0, TRI_EINVAL, "a save needs a folder ('%s') and a step (%lld)",
              dir, (long long)step);
    saver->head.step = step;
    if (strcmp(saver->dir, dir) != 0) saver->is_dir_made = false;
    int n = snprintf(saver->dir, sizeof saver->dir, "%s", dir);
    TRI_CHECK(n > 0 && (size_t)n < sizeof saver->dir, TRI_EINVAL,
              "path %.64s... is longer than %zu bytes", dir, sizeof saver->dir - 1);
    TRI_FREE(saver->job_yaml);
    TRI_TRY(tri_alloc_string(job_yaml, &saver->job_yaml));
    return saver_is_root(saver) ? saver_open_folder(saver) : TRI_OK;
}

static void saver_start(tri_saver *saver)
{
    const tri_save_plan *plan = saver->plan;
    for (int64_t i = 0; i < plan->n_stills; i++)
        memcpy(plan->stills[i].to, plan->stills[i].from, (size_t)plan->stills[i].bytes);
    atomic_store(&saver->n_written, 0);
    tri_handover_begin(saver->handover);
    saver->phase = SAVER_WRITING;
    tri_worker_start(saver->worker, tri_saver_write, saver);
}

static tri_status saver_begin(tri_saver *saver, const char *dir, int64_t step, const char *job_yaml)
{
    tri_comm *world = saver->args.world;
    bool has_failed = false;
    if (!saver->plan) {
        TRI_TRY(saver_meet(saver, saver_plan(saver, dir), &has_failed));
        if (has_failed) saver_unplan(saver);
    }
    if (!has_failed)
        TRI_TRY(saver_meet(saver, saver_prepare(saver, dir, step, job_yaml), &has_failed));
    if (!has_failed && !saver->args.trusts_replicas)
        TRI_TRY(saver_meet(saver, tri_replicas_check(saver->plan->assign, saver->args.state, world),
                           &has_failed));
    if (has_failed) {
        saver_give_up(saver);
        saver->phase = SAVER_REFUSED;
        return TRI_OK;
    }
    TRI_TRY(tri_broadcast(world, tri_span_make(saver->path, sizeof saver->path, TRI_U8), 0, NULL));
    TRI_TRY(tri_broadcast(world, tri_span_make(saver->head.uuid, sizeof saver->head.uuid, TRI_U8),
                          0, NULL));
    tri_saver_at(saver, TRI_CKPT_AT_FOLDER);
    saver_start(saver);
    return TRI_OK;
}

tri_status tri_saver_begin(tri_saver *saver, const char *dir, int64_t step, const char *job_yaml)
{
    TRI_CHECK(saver->phase == SAVER_IDLE, TRI_EBUG,
              "a save of step %lld begins while that of step %lld is under way", (long long)step,
              (long long)saver->head.step);
    double start_s = tri_clock_s();
    tri_status rc = saver_begin(saver, dir, step, job_yaml);
    saver->stall_s += tri_clock_s() - start_s;
    return rc;
}

void tri_saver_guard(tri_saver *saver)
{
    if (saver->phase != SAVER_WRITING) return;
    double start_s = tri_clock_s();
    tri_handover_guard(saver->handover);
    saver->stall_s += tri_clock_s() - start_s;
}

bool tri_saver_is_busy(const tri_saver *saver)
{
    return saver->phase != SAVER_IDLE;
}

/* Does the thread have something of this phase to do? */
static bool saver_has_job(const tri_saver *saver)
{
    return saver->phase == SAVER_WRITING ||
           (saver->phase == SAVER_COMMITTING && saver_is_root(saver));
}

int tri_saver_done(tri_saver *saver)
{
    return !saver_has_job(saver) || tri_worker_is_done(saver->worker);
}

/* This rank's job of the phase, done. The activity says what is waited for, and moves while it goes on. */
static tri_status saver_wait(tri_saver *saver)
{
    if (!saver_has_job(saver)) return TRI_OK;
    tri_activity *now = tri_device_activity(tri_comm_device(saver->args.world));
    if (!tri_saver_done(saver)) {
        tri_activity_begin(now, "waiting for the checkpoint of step %lld",
                           (long long)saver->head.step);
        long long shown = -1;
        while (!tri_worker_wait_for(saver->worker, saver_look_s)) {
            long long written = atomic_load(&saver->n_written);
            if (saver->phase == SAVER_WRITING && written != shown)
                tri_activity_next(now, "checkpoint of step %lld: %lld of %lld pieces written",
                                  (long long)saver->head.step, written,
                                  (long long)saver->plan->n_units);
            shown = written;
        }
        tri_activity_end(now);
    }
    return tri_worker_result(saver->worker);
}

/* The checksums of all ranks to rank 0, whose thread commits. Collective: world. */
static tri_status saver_index(tri_saver *saver)
{
    tri_comm *world = saver->args.world;
    TRI_AUTO(tri_bytes) parts = {0};
    int64_t bytes = (1 + saver->plan->n_blocks) * (int64_t)sizeof *saver->crc;
    TRI_TRY(tri_bytes_append(&parts, saver->crc, bytes));
    TRI_TRY(tri_bytes_gather(world, &parts));
    saver->phase = SAVER_COMMITTING;
    if (!saver_is_root(saver)) return TRI_OK;
    memcpy(saver->all, parts.data, (size_t)parts.n);
    tri_worker_start(saver->worker, tri_saver_commit, saver);
    return TRI_OK;
}

static tri_status saver_advance(tri_saver *saver, tri_saver_outcome *outcome, tri_err *failure)
{
    bool has_failed = saver->phase == SAVER_REFUSED;
    *outcome = TRI_SAVER_GOES_ON;
    if (!has_failed) {
        tri_status mine = saver_wait(saver);
        TRI_TRY(saver_meet(saver, mine, &has_failed));
        if (has_failed) saver_give_up(saver);
    }
    if (has_failed) {
        saver->phase = SAVER_IDLE;
        *outcome = TRI_SAVER_FAILED;
        *failure = saver->failure;
        return TRI_OK;
    }
    if (saver->phase == SAVER_WRITING) {
        tri_saver_at(saver, TRI_CKPT_AT_AGREED);
        return saver_index(saver);
    }
    saver->phase = SAVER_IDLE;
    saver->path[0] = '\0';
    *outcome = TRI_SAVER_COMMITTED;
    tri_saver_at(saver, TRI_CKPT_AT_DONE);
    return TRI_OK;
}

tri_status tri_saver_advance(tri_saver *saver, tri_saver_outcome *outcome, tri_err *failure)
{
    *outcome = TRI_SAVER_GOES_ON;
    if (saver->phase == SAVER_IDLE) return TRI_OK;
    double start_s = tri_clock_s();
    tri_status rc = saver_advance(saver, outcome, failure);
    saver->stall_s += tri_clock_s() - start_s;
    return rc;
}

tri_status tri_saver_finish(tri_saver *saver, tri_saver_outcome *outcome, tri_err *failure)
{
    *outcome = TRI_SAVER_COMMITTED;
    while (tri_saver_is_busy(saver))
        TRI_TRY(tri_saver_advance(saver, outcome, failure));
    return TRI_OK;
}

tri_status tri_saver_drop(tri_saver *saver)
{
    tri_saver_outcome outcome = TRI_SAVER_GOES_ON;
    tri_err failure = {.code = TRI_OK};
    if (saver->phase == SAVER_COMMITTING) return tri_saver_finish(saver, &outcome, &failure);
    if (saver->phase == SAVER_WRITING) {
        double start_s = tri_clock_s();
        atomic_store(&saver->is_abandoned, true);
        if (saver_wait(saver) != TRI_OK) tri_err_clear(); /* it says that it was given up */
        atomic_store(&saver->is_abandoned, false);
        TRI_TRY(tri_barrier(saver->args.world)); /* nobody writes where rank 0 removes */
        saver->stall_s += tri_clock_s() - start_s;
    }
    saver_give_up(saver);
    return TRI_OK;
}

int64_t tri_saver_step(const tri_saver *saver)
{
    return saver->head.step;
}

double tri_saver_stall_s(const tri_saver *saver)
{
    return saver->stall_s;
}
