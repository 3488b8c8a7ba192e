// SPDX-License-Identifier: Apache-2.0
/* What a run starts from: the newest sound checkpoint of its own; else the weights of another run
 * (checkpoint.init_from); else its initialisers.
 */
#ifndef TRI_LAUNCH_RESUME_H
#define TRI_LAUNCH_RESUME_H

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

#endif
