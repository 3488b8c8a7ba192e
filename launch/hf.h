// SPDX-License-Identifier: Apache-2.0
/* Hugging Face's config.json and the `model:` keys of a job spec, both directions. One table per family
 * (launch/hf_table.c) says which key is which, which keys must have the one value that our kernels
 * compute, and which do not matter. A key that is in none of them is refused: it could change the
 * mathematics.
 */
#ifndef TRI_LAUNCH_HF_H
#define TRI_LAUNCH_HF_H

#include "launch/spec.h"

typedef enum tri_hf_kind {
    TRI_HF_COUNT, /* int64_t */
    TRI_HF_REAL,  /* double */
    TRI_HF_SWITCH /* int */
} tri_hf_kind;

enum {
    TRI_HF_FREE = 1,   /* of training: a spec may say another */
    TRI_HF_AT_MOST = 2 /* a spec may say less */
};

/* A key of config.json that is a key of `model:`. */
typedef struct tri_hf_key {
    const char *name; /* in config.json */
    const char *spec; /* in a job spec */
    tri_hf_kind kind;
    size_t offset;  /* in tri_model_config */
    double initial; /* where it is absent or null: Hugging Face's own; 0 of a count: automatic */
    unsigned flags;
} tri_hf_key;

/* A key whose value is not free: as JSON, the first is what export writes. */
typedef struct tri_hf_fixed {
    const char *name;
    const char *values[4];
} tri_hf_fixed;

typedef struct tri_hf_family {
    const char *name;             /* family of ours, and model_type */
    const char *architecture;     /* class of the language model */
    const char *prefix;           /* of all tensors but the head; base models lack it */
    const char *head, *embedding; /* tensors that are one where they are tied */
    const char *const *buffers;   /* ends of names of tensors that are no parameters */
    const tri_hf_key *keys;       /* ends in a row without a name, as `fixed` */
    const tri_hf_fixed *fixed;
    bool rotary;                   /* rope_theta in its several forms, head_dim */
    const char *const *idle;       /* keys without effect on the mathematics; NULL-terminated */
    const char *const *dropouts;   /* keys of those dropouts that ours is; NULL-terminated */
    const char *attention_dropout; /* key of the one that we have not */
} tri_hf_family;

/* The table of a family; NULL: none of that name. Not collective. */
const tri_hf_family *tri_hf_family_find(const char *name);

/* Is `key` one that has no effect in any family? Not collective. */
bool tri_hf_is_idle(const tri_hf_family *family, const char *key);

/* What config.json said. */
typedef struct tri_hf_config {
    const tri_hf_family *family;
    tri_model_config model; /* resolved */
} tri_hf_config;

/* Read the text of a config.json; keys among `ignored` (NULL-terminated) are not looked at. Not
 * collective. Errors: TRI_EFORMAT no JSON; TRI_EUNSUP a family, key or value that has no counterpart
 * here, by name; TRI_EINVAL numbers that do not fit. */
TRI_MUST_USE tri_status tri_hf_parse(const char *text, size_t n_bytes, const char *origin,
                                     const char *const *ignored, tri_hf_config *out);

/* The same from FOLDER/config.json. Not collective. Errors: and TRI_EIO. */
TRI_MUST_USE tri_status tri_hf_read(const char *folder, const char *const *ignored,
                                    tri_hf_config *out);

/* Compare a checked spec with a config, key by key. Not collective. `origin` names the spec. Errors:
 * TRI_EINVAL the first difference. */
TRI_MUST_USE tri_status tri_hf_compare(const tri_hf_config *config, const tri_spec *spec,
                                       const char *origin);

/* A spec for a model that has no job yet: the model, and defaults that overrides change. Not collective.
 * Writes: *out, not yet checked. Errors: tri_spec_override's. */
TRI_MUST_USE tri_status tri_hf_make_spec(const tri_hf_config *config, int n_overrides,
                                         const char *const *overrides, tri_spec *out);

/* The config.json of a checked spec, its weights stored as `dtype`; freed by TRI_FREE. Not collective.
 * Errors: TRI_EUNSUP a family that has no table. */
TRI_MUST_USE tri_status tri_hf_write(const tri_spec *spec, tri_dtype dtype, char **out);

#endif
