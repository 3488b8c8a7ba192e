// SPDX-License-Identifier: Apache-2.0
/* Checkpoints as safetensors files and back (the format of Hugging Face's models, version 0.x as its
 * reference implementation defines it): 8 bytes with the length of a JSON header, the header, the bytes
 * of all tensors without gaps. Parameters only: optimizer states, data cursor and counters have no place
 * there. Which tensor is put together from which rows is what the rows' external names say; what kind
 * of model it is, is not known here.
 *
 * Both directions stream: memory is some tens of MiB whatever the model. Nothing appears under its name
 * before it is whole and on the disk.
 */
#ifndef TRI_CHECKPOINT_SAFETENSORS_H
#define TRI_CHECKPOINT_SAFETENSORS_H

#include "checkpoint/ckpt.h"

typedef struct tri_safetensors_export_args {
    const char *path;    /* of one checkpoint: tri_ckpt_info.path */
    const char *dir;     /* made; not there before, or an empty folder */
    tri_dtype dtype;     /* of all tensors: fp32, bf16 or fp16 */
    int64_t shard_bytes; /* begin another file beyond so many bytes of tensors; 0: never */
    const char *config;  /* text of config.json */
    /* by what a parameter's values are multiplied on the way; NULL: by nothing */
    double (*factor)(const void *arg, const char *row_name);
    const void *factor_arg;
} tri_safetensors_export_args;

typedef struct tri_safetensors_totals {
    int64_t n_tensors, n_files, n_bytes; /* bytes of tensors */
} tri_safetensors_totals;

/* Write the parameters of a checkpoint to DIR/model.safetensors, or model-00001-of-0000N.safetensors ...
 * and model.safetensors.index.json, with config.json. Not collective.
 *
 * All blocks that are read are verified. They are written below DIR.tmp, which is renamed at the end.
 * Errors: TRI_EINVAL DIR is not empty, a value beyond the range of `dtype`; TRI_EFORMAT a damaged
 * checkpoint; TRI_EIO. After a failure DIR is as it was.
 */
TRI_MUST_USE tri_status tri_safetensors_export(const tri_safetensors_export_args *args,
                                               tri_safetensors_totals *out);

typedef struct tri_safetensors_import_args {
    const char *source;     /* folder with model.safetensors or model.safetensors.index.json */
    const char *dir;        /* folder of checkpoints, which has none yet; made */
    const tri_state *state; /* parameters: names, shapes, external names; no memory */
    const char *job_yaml;
    const char *version;
    const char *prefix; /* external names may lack it in the files; "": none */
    const char *const
        *buffers; /* ends of names of tensors that are no parameters; NULL-terminated */
    const char *const *ignored; /* names of tensors to be left out; NULL-terminated */
    const char *copy, *copy_of; /* a tensor that may be there if it equals another; NULL: none */
} tri_safetensors_import_args;

/* Make DIR/step-000000.UUID of the files' tensors: one shard with all parameters in fp32. Not collective.
 *
 * Tensors may be fp32, bf16 or fp16: all have their exact values. Errors: TRI_EFORMAT files that break
 * the format; TRI_EINVAL tensors missing, of another shape or type, left over; TRI_EIO.
 */
TRI_MUST_USE tri_status tri_safetensors_import(const tri_safetensors_import_args *args,
                                               tri_ckpt_info *out, tri_safetensors_totals *totals);

#endif
