// SPDX-License-Identifier: Apache-2.0
/* JSON in three passes: limits and characters from the text alone, then cJSON, then what cJSON lets
 * through (keys that stand twice, numbers that are not finite).
 */
#include "runtime/json.h"

#include "runtime/base/alloc.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tri_json {
    cJSON *root;
};

void tri_json_destroy(tri_json **json)
{
    if (!*json) return;
    cJSON_Delete((*json)->root);
    TRI_FREE(*json);
}

/* Length of the UTF-8 sequence at `s`, of which `n` bytes are there; 0: it is none. */
static size_t json_utf8(const unsigned char *s, size_t n)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0x80) return 1;
    size_t bytes = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || bytes > n) return 0;
    uint32_t code = s[0] & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    bool is_surrogate = code >= 0xd800 && code < 0xe000;
    return code >= least[bytes] && code <= 0x10ffff && !is_surrogate ? bytes : 0;
}

/* Where the text stands while it is looked through. */
typedef struct json_scan {
    const char *origin;
    int depth;
    int64_t n_values;
    bool in_text;
} json_scan;

/* One character outside texts. */
static tri_status json_scan_mark(json_scan *scan, char c, size_t at)
{
    if (c == '"') scan->in_text = true;
    if (c == '[' || c == '{') scan->depth++;
    if (c == ']' || c == '}') scan->depth--;
    if (c == '[' || c == '{' || c == ',') scan->n_values++;
    TRI_CHECK((unsigned char)c >= ' ' || c == '\n' || c == '\t' || c == '\r', TRI_EFORMAT,
              "%s: not JSON: a control character at byte %zu", scan->origin, at);
    TRI_CHECK(scan->depth <= TRI_JSON_MAX_DEPTH, TRI_EFORMAT,
              "%s: at byte %zu lists and maps are nested deeper than %d", scan->origin, at,
              TRI_JSON_MAX_DEPTH);
    TRI_CHECK(scan->n_values <= TRI_JSON_MAX_VALUES, TRI_EFORMAT,
              "%s: more than %d values before byte %zu", scan->origin, TRI_JSON_MAX_VALUES, at);
    return TRI_OK;
}

/* One character of a text, or an escape; *bytes: its length. */
static tri_status json_scan_text(json_scan *scan, const char *text, size_t n, size_t at,
                                 size_t *bytes)
{
    *bytes = json_utf8((const unsigned char *)text, n);
    TRI_CHECK(*bytes > 0 && (unsigned char)text[0] >= ' ', TRI_EFORMAT,
              "%s: not JSON: byte 0x%02x at byte %zu is no text in UTF-8", scan->origin,
              (unsigned char)text[0], at);
    if (text[0] == '"') scan->in_text = false;
    if (text[0] != '\\' || n < 2) return TRI_OK;
    *bytes = 2;
    TRI_CHECK(n < 6 || strncmp(text, "\\u0000", 6) != 0, TRI_EFORMAT,
              "%s: the character 0 in a text at byte %zu", scan->origin, at);
    return TRI_OK;
}

static tri_status json_check_text(const char *text, size_t n_bytes, const char *origin)
{
    json_scan scan = {.origin = origin};
    size_t step = 1;
    for (size_t at = 0; at < n_bytes; at += step) {
        step = 1;
        if (scan.in_text)
            TRI_TRY(json_scan_text(&scan, text + at, n_bytes - at, at, &step));
        else
            TRI_TRY(json_scan_mark(&scan, text[at], at));
    }
    return TRI_OK;
}

/* Keys of the map that is looked at. */
typedef struct json_keys {
    const char **keys;
    int64_t capacity;
} json_keys;

static void json_keys_destroy(json_keys *keys)
{
    TRI_FREE(keys->keys);
}

static int json_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tri_status json_check_keys(const cJSON *map, const char *origin, json_keys *scratch)
{
    int64_t n = tri_json_count(map);
    if (!scratch->keys || n > scratch->capacity) {
        TRI_FREE(scratch->keys);
        scratch->capacity = 0;
        TRI_TRY(TRI_NEW_ARRAY(2 * n, &scratch->keys));
        scratch->capacity = 2 * n;
    }
    n = 0;
    for (const cJSON *child = map->child; child; child = child->next)
        scratch->keys[n++] = child->string;
    if (n) qsort((void *)scratch->keys, (size_t)n, sizeof *scratch->keys, json_compare);
    for (int64_t i = 1; i < n; i++)
        TRI_CHECK(strcmp(scratch->keys[i - 1], scratch->keys[i]) != 0, TRI_EFORMAT,
                  "%s: key '%.100s' stands twice in one map", origin, scratch->keys[i]);
    return TRI_OK;
}

/* The depth is bounded by the first pass. */
static tri_status json_check_tree(const cJSON *value, const char *origin, json_keys *scratch)
{
    TRI_CHECK(!cJSON_IsNumber(value) || isfinite(value->valuedouble), TRI_EFORMAT,
              "%s: a number of '%.100s' is too large", origin,
              value->string ? value->string : "a list");
    if (cJSON_IsObject(value)) TRI_TRY(json_check_keys(value, origin, scratch));
    for (const cJSON *child = value->child; child; child = child->next)
        TRI_TRY(json_check_tree(child, origin, scratch));
    return TRI_OK;
}

tri_status tri_json_parse(const char *text, size_t n_bytes, const char *origin, tri_json **out)
{
    TRI_TRY(json_check_text(text, n_bytes, origin));
    TRI_AUTO(tri_json) *json = NULL;
    TRI_TRY(TRI_NEW(&json));
    const char *end = text;
    json->root = cJSON_ParseWithLengthOpts(text, n_bytes, &end, 0);
    size_t at = end && end >= text ? (size_t)(end - text) : 0;
    TRI_CHECK(json->root, TRI_EFORMAT, "%s: not JSON, at or before byte %zu of %zu", origin, at,
              n_bytes);
    while (at < n_bytes && strchr(" \t\r\n", text[at]) && text[at])
        at++;
    TRI_CHECK(at == n_bytes, TRI_EFORMAT, "%s: something follows the JSON at byte %zu", origin, at);
    TRI_AUTO(json_keys) scratch = {0};
    TRI_TRY(json_check_tree(json->root, origin, &scratch));
    *out = TRI_MOVE(json);
    return TRI_OK;
}

const tri_json_value *tri_json_root(const tri_json *json)
{
    return json->root;
}

tri_json_kind tri_json_kind_of(const tri_json_value *value)
{
    if (cJSON_IsBool(value)) return TRI_JSON_BOOL;
    if (cJSON_IsNumber(value)) return TRI_JSON_NUMBER;
    if (cJSON_IsString(value)) return TRI_JSON_TEXT;
    if (cJSON_IsArray(value)) return TRI_JSON_LIST;
    return cJSON_IsObject(value) ? TRI_JSON_MAP : TRI_JSON_NULL;
}

const char *tri_json_key(const tri_json_value *value)
{
    return value->string;
}

const tri_json_value *tri_json_first(const tri_json_value *value)
{
    return value->child;
}

const tri_json_value *tri_json_next(const tri_json_value *value)
{
    return value->next;
}

int64_t tri_json_count(const tri_json_value *value)
{
    int64_t n = 0;
    for (const cJSON *child = value->child; child; child = child->next)
        n++;
    return n;
}

const tri_json_value *tri_json_find(const tri_json_value *map, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(map, key);
}

const char *tri_json_text(const tri_json_value *value)
{
    return value->valuestring;
}

double tri_json_number(const tri_json_value *value)
{
    return value->valuedouble;
}

bool tri_json_is_true(const tri_json_value *value)
{
    return cJSON_IsTrue(value);
}

bool tri_json_integer(const tri_json_value *value, int64_t *out)
{
    static const double limit = 9007199254740992.0; /* 2^53 */
    double x = value->valuedouble;
    if (!cJSON_IsNumber(value) || !(x > -limit && x < limit) || x != floor(x)) return false;
    *out = (int64_t)x;
    return true;
}

void tri_json_quote(FILE *stream, const char *text)
{
    fputc('"', stream);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(stream, "\\%c", *c);
        else if (*c < ' ')
            fprintf(stream, "\\u%04x", *c);
        else
            fputc(*c, stream);
    }
    fputc('"', stream);
}

void tri_json_show(const tri_json_value *value, char *out, size_t out_bytes)
{
    switch (tri_json_kind_of(value)) {
    case TRI_JSON_TEXT:
        snprintf(out, out_bytes, "\"%s\"", value->valuestring);
        break;
    case TRI_JSON_NUMBER:
        snprintf(out, out_bytes, "%.17g", value->valuedouble);
        break;
    case TRI_JSON_BOOL:
        snprintf(out, out_bytes, "%s", cJSON_IsTrue(value) ? "true" : "false");
        break;
    case TRI_JSON_LIST:
        snprintf(out, out_bytes, value->child ? "[...]" : "[]");
        break;
    case TRI_JSON_MAP:
        snprintf(out, out_bytes, value->child ? "{...}" : "{}");
        break;
    default:
        snprintf(out, out_bytes, "null");
    }
}
