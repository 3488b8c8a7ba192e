// SPDX-License-Identifier: Apache-2.0
/* Configuration by field tables: one row per key says type, default, range, unit, text and place in
 * a struct. From the rows come parsing, range errors, the nearest known key, the dump that reads back
 * to the same struct, and the reference page. Knows neither files nor YAML: values come as text.
 */
#ifndef TRI_RUNTIME_BASE_CONFIG_H
#define TRI_RUNTIME_BASE_CONFIG_H

#include "runtime/base/status.h"

#include <stdio.h>

/* Longest text of a key, and of a value as it is written (quoted, escaped). */
enum { TRI_CONFIG_MAX_FIELDS = 192, TRI_CONFIG_TEXT_BYTES = 512, TRI_CONFIG_VALUE_BYTES = 4352 };

/* Of one text of a TRI_FIELD_TEXTS. */
enum { TRI_CONFIG_ITEM_BYTES = 128 };

/* Largest entry of the list of a TRI_FIELD_LEVEL3. */
enum { TRI_CONFIG_MAX_SIZE = 1000000 };

/* What a key takes and what lies at its offset. */
typedef enum tri_field_type {
    TRI_FIELD_INT,     /* int */
    TRI_FIELD_INT64,   /* int64_t */
    TRI_FIELD_UINT64,  /* uint64_t; no range but the type's */
    TRI_FIELD_DOUBLE,  /* double */
    TRI_FIELD_DOUBLE2, /* double[2]: a list of two numbers */
    TRI_FIELD_LEVEL3,  /* int[4]: a level, then three zeros; or -1, then a list of three sizes */
    TRI_FIELD_BOOL,    /* int: true 1, false 0 */
    TRI_FIELD_TEXT,    /* char[bytes] */
    TRI_FIELD_TEXTS,   /* char[n][TRI_CONFIG_ITEM_BYTES]: a list of up to n texts; "" ends it */
    TRI_FIELD_NAME,    /* char[bytes]: letters, digits and -_. : safe as a part of a path */
    TRI_FIELD_PATH,    /* char[bytes]: relative ones get the folder of where they were written */
    TRI_FIELD_CHOICE,  /* char[bytes]: one of choices() */
    TRI_FIELD_ENUM     /* int: values[i] for choices()[i] */
} tri_field_type;

/* Flags of a row. */
enum {
    TRI_FIELD_ABOVE = 1,     /* min itself is not allowed */
    TRI_FIELD_BELOW = 2,     /* max itself is not allowed */
    TRI_FIELD_FIXED = 4,     /* may not change when a run is resumed */
    TRI_FIELD_MAY_EMPTY = 8, /* texts and paths: "" is a value */
    TRI_FIELD_AUTO = 16,     /* the word `auto` is a value: automatic */
    TRI_FIELD_NONE = 32      /* the word `none` is a value: automatic */
};

/* One key. */
typedef struct tri_field {
    const char *key; /* dotted: "model.layers" */
    tri_field_type type;
    size_t offset;
    size_t bytes;        /* of texts */
    const char *initial; /* default as it would be written; NULL: the key is required */
    double min, max;     /* of numbers and levels, inclusive unless flags say otherwise */
    unsigned flags;
    int automatic; /* what `auto` or `none` stores */
    const char *unit;
    const char *doc;
    const char *const *(*choices)(void); /* NULL-terminated names */
    const int *values;
} tri_field;

/* A table; rows of one section (the part before the first dot) are neighbours. */
typedef struct tri_config {
    const tri_field *fields;
    int n_fields;
} tri_config;

/* A value as it was written. */
typedef struct tri_config_value {
    const char *const *items;
    int n_items;
    bool is_list;
    bool is_quoted;     /* one quoted scalar: "" is a text, not a missing value */
    const char *where;  /* start of error messages: "job.yaml:12" */
    const char *folder; /* for relative paths; NULL or "": leave them */
} tri_config_value;

/* Set every key that has a default. Not collective. Errors: TRI_EBUG a default that its own row
 * refuses. */
TRI_MUST_USE tri_status tri_config_defaults(const tri_config *config, void *object);

/* Index of a key, -1 if there is none. Not collective. */
int tri_config_find(const tri_config *config, const char *key);

/* The known key nearest to `key` by edit distance; NULL if none is near. Not collective. */
const char *tri_config_nearest(const tri_config *config, const char *key);

/* Is `key` a section: the beginning of known keys? Not collective. */
bool tri_config_is_section(const tri_config *config, const char *key);

/* Parse a value and store it. Not collective.
 *
 * Errors: TRI_EINVAL "WHERE: unknown key 'k'; did you mean 'l'?", wrong type, out of range: each
 * says what the key takes. The object is written on success only.
 */
TRI_MUST_USE tri_status tri_config_set(const tri_config *config, void *object, const char *key,
                                       const tri_config_value *value);

/* Check that every required key is among `is_set` [n_fields]. Not collective.
 * Errors: TRI_EINVAL "WHERE: missing key ..." */
TRI_MUST_USE tri_status tri_config_require(const tri_config *config, const bool *is_set,
                                           const char *where);

/* First field for which two objects differ among those with all of `flags`; -1 if none. Not
 * collective. */
int tri_config_differs(const tri_config *config, const void *a, const void *b, unsigned flags);

/* The value of one field as it would be written. Not collective. Writes: out, NUL-terminated. */
void tri_config_format(const tri_field *field, const void *object, char *out, size_t out_bytes);

/* All keys as YAML; reading it gives the same object. Not collective. */
void tri_config_dump(const tri_config *config, const void *object, FILE *stream);

/* The word that the key takes in place of a number: "auto", "none"; NULL: neither. Not collective. */
const char *tri_config_word(const tri_field *field);

/* What the key takes, in words: "a whole number from 1 to 4096, or auto". Not collective. */
void tri_config_takes(const tri_field *field, char *out, size_t out_bytes);

/* The keys as Markdown tables, one per section. Not collective. */
void tri_config_reference(const tri_config *config, FILE *stream);

#endif
