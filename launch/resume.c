// SPDX-License-Identifier: Apache-2.0
/* Down the checkpoints of a folder, newest first, until one is loaded. Every decision is made on rank 0's
 * word or on a sum over the ranks, so that all load the same.
 */
#include "launch/resume.h"

#include "checkpoint/ckpt.h"
#include "checkpoint/folder.h"
#include "launch/checkpoint.h"
#include "runtime/base/log.h"

#include <stdio.h>
#include <string.h>

typedef tri_ckpt_info resume_info;

static void resume_info_destroy(resume_info *info)
{
    tri_ckpt_info_fini(info);
}

static bool is_root(const tri_job *job)
{
    return tri_comm_rank(job->world) == 0;
}

static bool is_fresh(const tri_spec *spec)
{
    return strcmp(spec->checkpoint.optimizer, "fresh") == 0;
}

/* Load; *damaged, on all ranks, if some rank found a byte that is not what was written, or a file
 * missing: then an older checkpoint may do. Any other failure is one. */
static tri_status load_or_damaged(tri_job *job, const char *path, tri_job_part part, bool *damaged)
{
    tri_status rc = tri_job_load_part(job, path, part);
    int64_t is_damaged = rc == TRI_EFORMAT;
    TRI_TRY(tri_allreduce(job->world, tri_span_make(&is_damaged, 1, TRI_I64), TRI_MAX, NULL));
    *damaged = is_damaged != 0;
    if (!*damaged) return rc;
    if (rc == TRI_EFORMAT)
        tri_log(TRI_LOG_WARN, "checkpoint %s is damaged: %s; trying the one before it", path,
                tri_err_last()->text);
    tri_err_clear();
    return TRI_OK;
}

/* *leaves: the optimizer states of this checkpoint are not taken. `fresh` means once: states of this
 * optimizer that were saved since they began anew are the job's own. */
static tri_status leaves_optimizer(const tri_job *job, const tri_ckpt_info *info, bool *leaves)
{
    bool is_same = false;
    tri_spec saved;
    *leaves = is_fresh(&job->spec);
    if (!*leaves) return TRI_OK;
    if (tri_spec_parse(info->job_yaml, strlen(info->job_yaml), info->path, &saved) != TRI_OK) {
        tri_err_clear(); /* of a version with other keys */
        return TRI_OK;
    }
    if (!is_fresh(&saved)) return TRI_OK;
    tri_ckpt_load_args args = {.path = info->path,
                               .state = job->state,
                               .world = job->world,
                               .roles = 1u << TRI_ROLE_OPTIM};
    tri_status rc = tri_ckpt_has_rows(&args, &is_same);
    *leaves = rc == TRI_OK && !is_same;
    if (rc != TRI_OK) tri_err_clear(); /* on all ranks; the load will say it */
    return TRI_OK;
}

/* Load a checkpoint, all or weights: *part becomes what was taken. Writes: *damaged. */
static tri_status try_one(tri_job *job, const tri_ckpt_info *info, tri_job_part *part,
                          bool *damaged)
{
    bool leaves = false;
    if (*part != TRI_JOB_WEIGHTS) {
        TRI_TRY(leaves_optimizer(job, info, &leaves));
        *part = leaves ? TRI_JOB_BUT_OPTIMIZER : TRI_JOB_ALL;
    }
    TRI_TRY(load_or_damaged(job, info->path, *part, damaged));
    return TRI_OK;
}

/* The newest sound checkpoint in `dir`, not above sequence number `most`. Writes: *found, path, *part. */
static tri_status load_newest(tri_job *job, const char *dir, uint64_t most, tri_job_part *part,
                              bool *found, char path[TRI_CKPT_PATH_BYTES])
{
    TRI_AUTO(resume_info) info = {.step = -1};
    if (most == UINT64_MAX)
        TRI_TRY(tri_ckpt_find_newest(dir, job->world, found, &info));
    else
        TRI_TRY(tri_ckpt_find_older(dir, most + 1, job->world, found, &info));
    bool seen = *found;
    while (*found) {
        bool damaged = true;
        TRI_TRY(try_one(job, &info, part, &damaged));
        snprintf(path, TRI_CKPT_PATH_BYTES, "%s", info.path);
        if (!damaged) return TRI_OK;
        uint64_t sequence = info.sequence;
        tri_ckpt_info_fini(&info);
        TRI_TRY(tri_ckpt_find_older(dir, sequence, job->world, found, &info));
    }
    TRI_CHECK(!seen, TRI_EFORMAT,
              "every checkpoint in %s is damaged, see the warnings: bring a sound one back, or %s",
              dir,
              *part == TRI_JOB_WEIGHTS ? "name another one in checkpoint.init_from"
                                       : "start afresh in another run folder");
    return TRI_OK;
}

static tri_status resume_own(tri_job *job, const char *checkpoints, bool *found)
{
    char path[TRI_CKPT_PATH_BYTES];
    tri_job_part part = TRI_JOB_ALL;
    TRI_TRY(load_newest(job, checkpoints, UINT64_MAX, &part, found, path));
    if (!*found || !is_root(job)) return TRI_OK;
    tri_log(TRI_LOG_INFO, "resumed after step %lld from %s%s", (long long)job->counters.step, path,
            part == TRI_JOB_BUT_OPTIMIZER
                ? "; optimizer states begin anew (checkpoint.optimizer: fresh)"
                : "");
    bool has_tests = job->spec.batch.adaptive.test != TRI_BATCH_OFF;
    if (has_tests && !tri_batch_has_tested(job->batch))
        tri_log(TRI_LOG_INFO,
                "it has no test of the batch: that begins with batch.sequences (%lld)",
                (long long)job->spec.batch.sequences);
    return TRI_OK;
}

/* Is `path` a checkpoint itself? Else *dir is the folder of checkpoints it stands for. Rank 0 looks. */
static tri_status look_at(tri_job *job, const char *path, bool *is_one,
                          char dir[TRI_CKPT_PATH_BYTES])
{
    int64_t one = is_root(job) && tri_checkpoint_is_one(path);
    dir[0] = '\0';
    tri_status rc = is_root(job) && !one ? tri_checkpoint_dir(path, dir) : TRI_OK;
    TRI_TRY(tri_agree(job->world, rc));
    TRI_TRY(tri_broadcast(job->world, tri_span_make(&one, 1, TRI_I64), 0, NULL));
    TRI_TRY(tri_broadcast(job->world, tri_span_make(dir, TRI_CKPT_PATH_BYTES, TRI_U8), 0, NULL));
    *is_one = one != 0;
    return TRI_OK;
}

/* Weights alone, of another run. */
static tri_status begin_from(tri_job *job, const char *from)
{
    char dir[TRI_CKPT_PATH_BYTES] = "";
    char path[TRI_CKPT_PATH_BYTES];
    bool is_one = false;
    bool found = true;
    tri_job_part part = TRI_JOB_WEIGHTS;
    TRI_TRY(look_at(job, from, &is_one, dir));
    snprintf(path, sizeof path, "%s", from);
    if (is_one)
        TRI_TRY(tri_job_load_part(job, path, part));
    else
        TRI_TRY(load_newest(job, dir, UINT64_MAX, &part, &found, path));
    TRI_CHECK(
        found, TRI_EIO,
        "checkpoint.init_from: there is no checkpoint at %s: neither manifest.h5 in it, nor a "
        "folder step-NUMBER.UUID with one",
        from);
    if (is_root(job))
        tri_log(TRI_LOG_INFO, "began with the weights of %s (checkpoint.init_from), all else anew",
                path);
    return TRI_OK;
}

/* *sequence: of the newest checkpoint whose step is at most `most`; of the newest of all, where every one is
 * of a later step; 0: there is none. */
static tri_status find_proven(const tri_job *job, const char *dir, int64_t most, uint64_t *sequence)
{
    TRI_AUTO(resume_info) info = {.step = -1};
    bool found = false;
    TRI_TRY(tri_ckpt_find_newest(dir, job->world, &found, &info));
    *sequence = found ? info.sequence : 0;
    while (found && info.step > most) {
        uint64_t above = info.sequence;
        tri_ckpt_info_fini(&info);
        TRI_TRY(tri_ckpt_find_older(dir, above, job->world, &found, &info));
    }
    if (found) *sequence = info.sequence;
    return TRI_OK;
}

/* What the job has given up is not to be resumed from. A link's folder belongs to others. */
static tri_status remove_newer(const char *dir, uint64_t sequence)
{
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(dir, &folder));
    for (int64_t i = 0; i < folder.n; i++) {
        const tri_folder_entry *entry = &folder.entries[i];
        bool is_newer =
            entry->state == TRI_FOLDER_COMMITTED && (uint64_t)entry->header.sequence > sequence;
        if (is_newer && !entry->is_link) TRI_TRY(tri_folder_remove(dir, entry->name, NULL));
    }
    return TRI_OK;
}

tri_status tri_resume_back(tri_job *job, const char *checkpoints, char path[TRI_CKPT_PATH_BYTES])
{
    int64_t end = tri_loader_consumed(job->loader);
    int64_t failed = job->counters.step + 1;
    tri_stability before = job->stability;
    tri_job_part part = TRI_JOB_ALL;
    uint64_t sequence = 0;
    bool found = false;
    TRI_TRY(find_proven(job, checkpoints, failed - 2, &sequence));
    TRI_TRY(load_newest(job, checkpoints, sequence, &part, &found, path));
    TRI_CHECK(found, TRI_EIO,
              "stability.policy rollback: there is no checkpoint left in %s to go back to",
              checkpoints);
    tri_status removed = is_root(job) ? remove_newer(checkpoints, sequence) : TRI_OK;
    TRI_TRY(tri_agree(job->world, removed));
    int64_t begin = tri_loader_consumed(job->loader);
    TRI_TRY(tri_agree(job->world, tri_loader_seek(job->loader, end)));
    tri_stability_go_on(&job->stability, &before, begin, end);
    return TRI_OK;
}

tri_status tri_resume_has(tri_job *job, const char *checkpoints, bool *found)
{
    TRI_AUTO(resume_info) info = {.step = -1};
    TRI_TRY(tri_ckpt_find_newest(checkpoints, job->world, found, &info));
    return TRI_OK;
}

tri_status tri_resume(tri_job *job, const char *checkpoints)
{
    bool found = false;
    TRI_TRY(resume_own(job, checkpoints, &found));
    if (found) return TRI_OK;
    if (job->spec.checkpoint.init_from[0])
        TRI_TRY(begin_from(job, job->spec.checkpoint.init_from));
    else
        TRI_TRY(tri_job_initialise(job));
    return TRI_OK;
}
