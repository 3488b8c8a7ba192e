// SPDX-License-Identifier: Apache-2.0
/* What a run starts from: the newest sound checkpoint of its own; else the weights of another run
 * (checkpoint.init_from); else its initialisers.
 */
#ifndef TRI_LAUNCH_RESUME_H
#define TRI_LAUNCH_RESUME_H

#include "checkpoint/ckpt.h"
#include "launch/job.h"

/* Set weights, and all else that the start says. `checkpoints` is the run's own folder of them.
 *
 * Collective: job->world. Rank 0 logs what was taken. A damaged checkpoint, one with a file missing, or one
 * that vanishes meanwhile is named in the log, and the one before it is taken. With checkpoint.optimizer
 * `fresh`, optimizer states begin anew, once: a checkpoint that a job with this setting and this
 * optimizer saved is restored whole.
 * Errors: TRI_EFORMAT all checkpoints are damaged: a run does not begin anew by itself; TRI_EINVAL
 * another model, optimizer or other data; TRI_EIO, also where checkpoint.init_from has no checkpoint.
 */
TRI_MUST_USE tri_status tri_resume(tri_job *job, const char *checkpoints);

/* Back to the newest sound checkpoint, while a step that is not good is under way (its number is
 * job->counters.step + 1), but on with the samples behind it. A checkpoint of the step before the bad one
 * is passed over, if there is an older one: that no good step followed it may be its own fault. No save may be
 * under way.
 *
 * Collective: job->world. Loads as tri_resume does. What the job's stability counts goes on; samples from the
 * checkpoint's cursor up to that of now are left out. Checkpoints newer than that are removed, but for links.
 * Writes: path, of what was loaded. Errors: TRI_EFORMAT all that may be taken are damaged; TRI_EIO.
 */
TRI_MUST_USE tri_status tri_resume_back(tri_job *job, const char *checkpoints,
                                        char path[TRI_CKPT_PATH_BYTES]);

/* Is there a checkpoint in the folder? Collective: job->world. Writes: *found. Errors: as tri_resume. */
TRI_MUST_USE tri_status tri_resume_has(tri_job *job, const char *checkpoints, bool *found);

#endif
