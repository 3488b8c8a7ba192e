// SPDX-License-Identifier: Apache-2.0
/* A job spec for a config, the comparison of both, and a config for a job spec. */
#include "launch/hf.h"
#include "runtime/base/alloc.h"
#include "runtime/json.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HF_VALUE_BYTES = 48, HF_BYTE_TOKENS = 256, HF_SHORT_TOKENS = 65536 };

/* With as few digits as read back to the same number, and always as a real. */
static void show_real(double real, char out[HF_VALUE_BYTES])
{
    int digits = DBL_DIG;
    do
        snprintf(out, HF_VALUE_BYTES - 2, "%.*g", digits, real);
    while (strtod(out, NULL) != real && ++digits <= DBL_DECIMAL_DIG);
    if (!strpbrk(out, ".e")) memcpy(out + strlen(out), ".0", sizeof ".0");
}

/* A key's value as it is written, in JSON and in a spec. */
static void show(const tri_hf_key *key, const tri_model_config *model, char out[HF_VALUE_BYTES])
{
    const void *place = (const char *)model + key->offset;
    if (key->kind == TRI_HF_COUNT) {
        snprintf(out, HF_VALUE_BYTES, "%lld", (long long)*(const int64_t *)place);
    } else if (key->kind == TRI_HF_SWITCH) {
        snprintf(out, HF_VALUE_BYTES, "%s", *(const int *)place ? "true" : "false");
    } else {
        show_real(*(const double *)place, out);
    }
}

static bool agrees(const tri_hf_key *key, const tri_model_config *spec,
                   const tri_model_config *config)
{
    char a[HF_VALUE_BYTES];
    char b[HF_VALUE_BYTES];
    if (key->flags & TRI_HF_FREE) return true;
    show(key, spec, a);
    show(key, config, b);
    if (strcmp(a, b) == 0) return true;
    return (key->flags & TRI_HF_AT_MOST) &&
           *(const int64_t *)(const void *)((const char *)spec + key->offset) <
               *(const int64_t *)(const void *)((const char *)config + key->offset);
}

tri_status tri_hf_compare(const tri_hf_config *config, const tri_spec *spec, const char *origin)
{
    TRI_CHECK(strcmp(spec->model.family, config->model.family) == 0, TRI_EINVAL,
              "%s: model.family is %s, config.json is of model_type %s", origin, spec->model.family,
              config->model.family);
    tri_model_multipliers multipliers = tri_model_multipliers_of(&spec->model);
    TRI_CHECK(!tri_model_is_scaled(&spec->model) && spec->model.attention_multiplier == 1 &&
                  multipliers.embedding == 1 && multipliers.logits == 1,
              TRI_EINVAL,
              "%s: model.parameterization %s with multipliers %g of the embedding, %g of attention "
              "and %g of the logits; weights of Hugging Face's models are those of standard with 1",
              origin, spec->model.parameterization, multipliers.embedding,
              spec->model.attention_multiplier, multipliers.logits);
    for (const tri_hf_key *key = config->family->keys; key->name; key++) {
        char a[HF_VALUE_BYTES];
        char b[HF_VALUE_BYTES];
        if (agrees(key, &spec->model, &config->model)) continue;
        show(key, &spec->model, a);
        show(key, &config->model, b);
        TRI_FAIL(TRI_EINVAL, "%s: %s is %s, %s of config.json is %s; %s: %s%s would agree", origin,
                 key->spec, a, key->name, b, key->spec, b,
                 key->flags & TRI_HF_AT_MOST ? " or less" : "");
    }
    return TRI_OK;
}

/* What the loader can read as ids of such a vocabulary. */
static const char *format_of(int64_t vocab)
{
    if (vocab == HF_BYTE_TOKENS) return "text";
    return vocab <= HF_SHORT_TOKENS ? "uint16" : "megatron";
}

tri_status tri_hf_make_spec(const tri_hf_config *config, int n_overrides,
                            const char *const *overrides, tri_spec *out)
{
    static const char base[] = "name: imported\n"
                               "model: {family: gpt2, layers: 1, hidden: 1, heads: 1, context: 1}\n"
                               "data: {train: no-training-data-was-given}\n"
                               "batch: {sequences: 1, micro: 1}\n"
                               "optimizer: {lr: 1.0e-4}\n"
                               "train: {steps: 1}\n";
    tri_spec spec;
    TRI_TRY(tri_spec_parse(base, strlen(base), "the base of an imported job", &spec));
    spec.model = config->model;
    snprintf(spec.data.format, sizeof spec.data.format, "%s", format_of(config->model.vocab));
    TRI_TRY(tri_spec_override(&spec, n_overrides, overrides));
    *out = spec;
    return TRI_OK;
}

static void write_config(const tri_hf_family *family, const tri_spec *spec, tri_dtype dtype,
                         FILE *stream)
{
    const char *types[TRI_DTYPES] = {
        [TRI_F32] = "float32", [TRI_BF16] = "bfloat16", [TRI_F16] = "float16"};
    char end[HF_VALUE_BYTES] = "null";
    if (spec->data.separator >= 0) snprintf(end, sizeof end, "%d", spec->data.separator);
    fprintf(stream, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\"",
            family->architecture, family->name);
    for (const tri_hf_key *key = family->keys; key->name; key++) {
        char value[HF_VALUE_BYTES];
        show(key, &spec->model, value);
        fprintf(stream, ",\n  \"%s\": %s", key->name, value);
    }
    if (family->rotary)
        fprintf(stream, ",\n  \"head_dim\": %lld,\n  \"rope_scaling\": null",
                (long long)(spec->model.hidden / spec->model.heads));
    for (const tri_hf_fixed *fixed = family->fixed; fixed->name; fixed++)
        if (fixed->values[0]) fprintf(stream, ",\n  \"%s\": %s", fixed->name, fixed->values[0]);
    char dropout[HF_VALUE_BYTES];
    show_real(spec->model.dropout, dropout);
    for (const char *const *name = family->dropouts; *name; name++)
        fprintf(stream, ",\n  \"%s\": %s", *name, dropout);
    fprintf(stream, ",\n  \"%s\": 0.0", family->attention_dropout);
    fprintf(stream, ",\n  \"bos_token_id\": %s,\n  \"eos_token_id\": %s", end, end);
    fprintf(stream, ",\n  \"torch_dtype\": \"%s\",\n  \"use_cache\": true\n}\n", types[dtype]);
}

tri_status tri_hf_write(const tri_spec *spec, tri_dtype dtype, char **out)
{
    const tri_hf_family *family = tri_hf_family_find(spec->model.family);
    TRI_CHECK(family, TRI_EUNSUP, "family %s has no counterpart in Hugging Face's models here",
              spec->model.family);
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&text, &n_bytes);
    TRI_CHECK(stream, TRI_ENOMEM, "writing config.json");
    write_config(family, spec, dtype, stream);
    int closed = fclose(stream);
    tri_status rc = closed == 0 ? tri_alloc_string(text, out) : TRI_ENOMEM;
    free(text);
    TRI_CHECK(closed == 0, TRI_ENOMEM, "writing config.json");
    TRI_TRY(rc);
    return TRI_OK;
}
