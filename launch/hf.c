// SPDX-License-Identifier: Apache-2.0
/* Reading config.json: every key of it is looked at once, and has to be known. */
#include "launch/hf.h"

#include "runtime/base/alloc.h"
#include "runtime/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HF_VALUE_BYTES = 96, HF_PATH_BYTES = 1024, HF_FILE_BYTES = 1 << 20 };

/* A config while it is read. */
typedef struct hf_reader {
    const char *origin;
    const tri_json_value *root;
    const char *const *ignored;
    const tri_hf_family *family;
    tri_model_config *model;
} hf_reader;

static const tri_json_value *find_value(const hf_reader *reader, const char *name)
{
    const tri_json_value *value = tri_json_find(reader->root, name);
    return value && tri_json_kind_of(value) != TRI_JSON_NULL ? value : NULL;
}

static tri_status refuse(const hf_reader *reader, const char *name, const tri_json_value *value,
                         const char *takes)
{
    char text[HF_VALUE_BYTES];
    tri_json_show(value, text, sizeof text);
    TRI_FAIL(TRI_EUNSUP, "%s: %s is %s; family %s has only %s here", reader->origin, name, text,
             reader->family->name, takes);
}

static tri_status read_count(const hf_reader *reader, const tri_hf_key *key,
                             const tri_json_value *value, int64_t *out)
{
    int64_t count = (int64_t)key->initial;
    if (value && (!tri_json_integer(value, &count) || count < 1))
        return refuse(reader, key->name, value, "whole numbers from 1 on");
    *out = count;
    return TRI_OK;
}

static tri_status read_real(const hf_reader *reader, const tri_hf_key *key,
                            const tri_json_value *value, double *out)
{
    double real = key->initial;
    if (value) {
        if (tri_json_kind_of(value) != TRI_JSON_NUMBER || !(tri_json_number(value) > 0))
            return refuse(reader, key->name, value, "numbers above 0");
        real = tri_json_number(value);
    }
    *out = real;
    return TRI_OK;
}

static tri_status read_key(const hf_reader *reader, const tri_hf_key *key)
{
    const tri_json_value *value = find_value(reader, key->name);
    char *place = (char *)reader->model + key->offset;
    if (key->kind == TRI_HF_COUNT) return read_count(reader, key, value, (int64_t *)(void *)place);
    if (key->kind == TRI_HF_REAL) return read_real(reader, key, value, (double *)(void *)place);
    if (value && tri_json_kind_of(value) != TRI_JSON_BOOL)
        return refuse(reader, key->name, value, "true and false");
    *(int *)(void *)place = value ? tri_json_is_true(value) : key->initial != 0;
    return TRI_OK;
}

/* The value must be one of the key's. */
static tri_status check_fixed(const hf_reader *reader, const tri_hf_fixed *fixed,
                              const tri_json_value *value)
{
    enum { VALUES = sizeof fixed->values / sizeof *fixed->values };
    char text[HF_VALUE_BYTES];
    const char *takes = NULL;
    tri_json_show(value, text, sizeof text);
    for (int i = 0; i < VALUES; i++) {
        const char *legal = fixed->values[i];
        if (legal && strcmp(text, legal) == 0) return TRI_OK;
        if (!takes) takes = legal;
    }
    return refuse(reader, fixed->name, value, takes);
}

/* rope_scaling, and rope_parameters of transformers 5: the plain rotary embedding, with or without its
 * base. */
static tri_status read_rope(const hf_reader *reader, const tri_json_value *map)
{
    const char *name = tri_json_key(map);
    if (tri_json_kind_of(map) == TRI_JSON_NULL) return TRI_OK;
    if (tri_json_kind_of(map) != TRI_JSON_MAP) return refuse(reader, name, map, "maps and null");
    for (const tri_json_value *v = tri_json_first(map); v; v = tri_json_next(v)) {
        const char *key = tri_json_key(v);
        char text[HF_VALUE_BYTES];
        tri_json_show(v, text, sizeof text);
        bool is_kind = strcmp(key, "rope_type") == 0 || strcmp(key, "type") == 0;
        bool is_share = strcmp(key, "partial_rotary_factor") == 0;
        bool is_theta = strcmp(key, "rope_theta") == 0;
        if (is_theta && tri_json_kind_of(v) == TRI_JSON_NUMBER && tri_json_number(v) > 0) {
            TRI_CHECK(!find_value(reader, key) || reader->model->rope_theta == tri_json_number(v),
                      TRI_EINVAL, "%s: rope_theta is %.17g, and %s in %s", reader->origin,
                      reader->model->rope_theta, text, name);
            reader->model->rope_theta = tri_json_number(v);
            continue;
        }
        bool ok =
            (is_kind && strcmp(text, "\"default\"") == 0) || (is_share && strcmp(text, "1") == 0);
        TRI_CHECK(ok, TRI_EUNSUP,
                  "%s: %s has %s %s; family %s has only the plain rotary embedding here (null, or "
                  "rope_type \"default\")",
                  reader->origin, name, key, text, reader->family->name);
    }
    return TRI_OK;
}

static tri_status check_head_dim(const hf_reader *reader, const tri_json_value *value)
{
    int64_t size = 0;
    if (tri_json_kind_of(value) == TRI_JSON_NULL) return TRI_OK;
    bool ok =
        tri_json_integer(value, &size) && size == reader->model->hidden / reader->model->heads;
    if (!ok) return refuse(reader, "head_dim", value, "hidden_size / num_attention_heads");
    return TRI_OK;
}

static bool is_ignored(const hf_reader *reader, const char *name)
{
    for (const char *const *ignored = reader->ignored; ignored && *ignored; ignored++)
        if (strcmp(*ignored, name) == 0) return true;
    return false;
}

/* A key that is none of those the model is made of. */
static tri_status check_other(const hf_reader *reader, const tri_json_value *value)
{
    const char *name = tri_json_key(value);
    for (const tri_hf_key *key = reader->family->keys; key->name; key++)
        if (strcmp(key->name, name) == 0) return TRI_OK;
    if (is_ignored(reader, name)) return TRI_OK;
    for (const tri_hf_fixed *fixed = reader->family->fixed; fixed->name; fixed++)
        if (strcmp(fixed->name, name) == 0) return check_fixed(reader, fixed, value);
    bool rotary = reader->family->rotary;
    if (rotary && (strcmp(name, "rope_scaling") == 0 || strcmp(name, "rope_parameters") == 0))
        return read_rope(reader, value);
    if (rotary && strcmp(name, "head_dim") == 0) return check_head_dim(reader, value);
    char text[HF_VALUE_BYTES];
    tri_json_show(value, text, sizeof text);
    TRI_CHECK(tri_hf_is_idle(reader->family, name), TRI_EUNSUP,
              "%s: key '%.60s' (%s) is not known for family %s and could change what it computes; "
              "if it does not, --ignore %.60s",
              reader->origin, name, text, reader->family->name, name);
    return TRI_OK;
}

static tri_status read_family(hf_reader *reader)
{
    TRI_CHECK(tri_json_kind_of(reader->root) == TRI_JSON_MAP, TRI_EFORMAT, "%s is no map of keys",
              reader->origin);
    const tri_json_value *type = find_value(reader, "model_type");
    TRI_CHECK(type && tri_json_kind_of(type) == TRI_JSON_TEXT, TRI_EUNSUP,
              "%s has no model_type: it must be gpt2 or llama", reader->origin);
    reader->family = tri_hf_family_find(tri_json_text(type));
    TRI_CHECK(reader->family, TRI_EUNSUP,
              "%s: model_type is '%.40s'; the families here are gpt2 and llama", reader->origin,
              tri_json_text(type));
    return TRI_OK;
}

static tri_status read_config(hf_reader *reader)
{
    TRI_TRY(read_family(reader));
    snprintf(reader->model->family, sizeof reader->model->family, "%s", reader->family->name);
    for (const tri_hf_key *key = reader->family->keys; key->name; key++)
        TRI_TRY(read_key(reader, key));
    for (const tri_json_value *v = tri_json_first(reader->root); v; v = tri_json_next(v))
        TRI_TRY(check_other(reader, v));
    if (tri_model_config_resolve(reader->model) == TRI_OK) return TRI_OK;
    tri_err err;
    tri_err_take(&err);
    TRI_FAIL(TRI_EINVAL, "%s: as keys of a job spec: %.500s", reader->origin, err.text);
}

tri_status tri_hf_parse(const char *text, size_t n_bytes, const char *origin,
                        const char *const *ignored, tri_hf_config *out)
{
    TRI_AUTO(tri_json) *json = NULL;
    tri_hf_config config = {.family = NULL};
    TRI_TRY(tri_json_parse(text, n_bytes, origin, &json));
    hf_reader reader = {
        .origin = origin, .root = tri_json_root(json), .ignored = ignored, .model = &config.model};
    TRI_TRY(read_config(&reader));
    config.family = reader.family;
    *out = config;
    return TRI_OK;
}

typedef char *hf_text;

static void hf_text_destroy(hf_text *text)
{
    TRI_FREE(*text);
}

tri_status tri_hf_read(const char *folder, const char *const *ignored, tri_hf_config *out)
{
    char path[HF_PATH_BYTES];
    TRI_AUTO(hf_text) text = NULL;
    int n = snprintf(path, sizeof path, "%s/config.json", folder);
    TRI_CHECK(n > 0 && n < (int)sizeof path, TRI_EINVAL, "the path %.60s... is too long", folder);
    TRI_TRY(TRI_NEW_ARRAY(HF_FILE_BYTES, &text));
    FILE *file = fopen(path, "rb");
    TRI_TRY(TRI_SYS(file ? 0 : -1, "opening %s", path));
    size_t n_bytes = fread(text, 1, HF_FILE_BYTES, file);
    bool failed = ferror(file);
    fclose(file);
    TRI_CHECK(!failed, TRI_EIO, "reading %s", path);
    TRI_CHECK(n_bytes < HF_FILE_BYTES, TRI_EFORMAT, "%s is larger than %d bytes", path,
              HF_FILE_BYTES - 1);
    TRI_TRY(tri_hf_parse(text, n_bytes, path, ignored, out));
    return TRI_OK;
}
