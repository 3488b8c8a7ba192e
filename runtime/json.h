// SPDX-License-Identifier: Apache-2.0
/* The one door to cJSON: text that may come from anywhere to a tree of values, and quoting.
 *
 * Stricter than cJSON: depth and number of values are limited before anything is allocated, a key may
 * stand once in a map, text must be UTF-8 without zeros, numbers must be finite. What is allocated is
 * at most a fixed multiple of the text, and of TRI_JSON_MAX_VALUES.
 */
#ifndef TRI_RUNTIME_JSON_H
#define TRI_RUNTIME_JSON_H

#include "runtime/base/status.h"

#include <stdio.h>

enum { TRI_JSON_MAX_DEPTH = 32, TRI_JSON_MAX_VALUES = 1 << 20 };

typedef enum tri_json_kind {
    TRI_JSON_NULL,
    TRI_JSON_BOOL,
    TRI_JSON_NUMBER,
    TRI_JSON_TEXT,
    TRI_JSON_LIST,
    TRI_JSON_MAP
} tri_json_kind;

/* A parsed text, and a value in it: borrowed, gone with the text. */
typedef struct tri_json tri_json;
typedef struct cJSON tri_json_value;

/* Parse `n_bytes` of text (no terminating zero needed). Not collective.
 *
 * `origin` begins error messages. Errors: TRI_EFORMAT with the byte; TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_json_parse(const char *text, size_t n_bytes, const char *origin,
                                       tri_json **out);

/* Free; NULL is fine. Not collective. */
void tri_json_destroy(tri_json **json);

/* The outermost value. Not collective. */
const tri_json_value *tri_json_root(const tri_json *json);

/* What a value is; its key in a map (NULL: it is in none); the first of its values, and the value after
 * it (NULL: none); how many it has. Not collective. Cost of count and find: linear. */
tri_json_kind tri_json_kind_of(const tri_json_value *value);
const char *tri_json_key(const tri_json_value *value);
const tri_json_value *tri_json_first(const tri_json_value *value);
const tri_json_value *tri_json_next(const tri_json_value *value);
int64_t tri_json_count(const tri_json_value *value);

/* The value under `key` of a map; NULL: none. Not collective. */
const tri_json_value *tri_json_find(const tri_json_value *map, const char *key);

/* What a value of the right kind holds: a text, a number, true. Not collective. */
const char *tri_json_text(const tri_json_value *value);
double tri_json_number(const tri_json_value *value);
bool tri_json_is_true(const tri_json_value *value);

/* Is it a whole number of less than 2^53, which a double holds exactly? Not collective. Writes: *out. */
bool tri_json_integer(const tri_json_value *value, int64_t *out);

/* Write text in quotes, escaped. Not collective. */
void tri_json_quote(FILE *stream, const char *text);

/* A value as it would be written, in short: lists and maps that are not empty as [...] and
 * {...}. Not collective.
 * Writes: out, NUL-terminated, cut where it is longer. */
void tri_json_show(const tri_json_value *value, char *out, size_t out_bytes);

#endif
