// SPDX-License-Identifier: Apache-2.0
/* Field tables: finding and setting keys. Printing them is config_print.c. */
#include "runtime/base/config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR_KEY_BYTES = 64 };

static const char *last_part(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

/* Levenshtein distance; texts longer than NEAR_KEY_BYTES are near to nothing. */
static int edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a);
    size_t m = strlen(b);
    if (n >= NEAR_KEY_BYTES || m >= NEAR_KEY_BYTES) return NEAR_KEY_BYTES;
    int row[NEAR_KEY_BYTES + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int shifted = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replaced < shifted ? replaced : shifted;
        }
    }
    return row[m];
}

int tri_config_find(const tri_config *config, const char *key)
{
    for (int i = 0; i < config->n_fields; i++)
        if (strcmp(config->fields[i].key, key) == 0) return i;
    return -1;
}

const char *tri_config_nearest(const tri_config *config, const char *key)
{
    const char *best = NULL;
    int best_distance = NEAR_KEY_BYTES;
    for (int i = 0; i < config->n_fields; i++) {
        const char *known = config->fields[i].key;
        int distance = edit_distance(key, known);
        /* the right key in the wrong section, or without one, is near as well */
        int last = edit_distance(last_part(key), last_part(known)) + 1;
        if (last < distance) distance = last;
        if (distance < best_distance) {
            best_distance = distance;
            best = known;
        }
    }
    int allowed = (int)strlen(last_part(key)) / 3;
    return best_distance <= (allowed > 2 ? allowed : 2) ? best : NULL;
}

bool tri_config_is_section(const tri_config *config, const char *key)
{
    size_t n = strlen(key);
    for (int i = 0; i < config->n_fields; i++)
        if (strncmp(config->fields[i].key, key, n) == 0 && config->fields[i].key[n] == '.')
            return true;
    return false;
}

static tri_status fail_takes(const tri_field *field, const tri_config_value *value,
                             const char *problem)
{
    char takes[TRI_CONFIG_TEXT_BYTES];
    tri_config_takes(field, takes, sizeof takes);
    TRI_FAIL(TRI_EINVAL, "%s: %s: %s: takes %s", value->where, field->key, problem, takes);
}

static tri_status fail_item(const tri_field *field, const tri_config_value *value, const char *item,
                            const char *problem)
{
    char text[160];
    snprintf(text, sizeof text, "'%.80s' %s", item, problem);
    return fail_takes(field, value, text);
}

static bool is_in_range(const tri_field *field, double x)
{
    bool low = field->flags & TRI_FIELD_ABOVE ? x > field->min : x >= field->min;
    bool high = field->flags & TRI_FIELD_BELOW ? x < field->max : x <= field->max;
    return low && high;
}

/* With `is_entry`: an entry of a list, whose range is another than the field's. */
static tri_status parse_whole(const tri_field *field, const tri_config_value *value,
                              const char *item, bool is_entry, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    /* strtoll alone would take leading blanks; an empty text ends where it begins */
    long long number = strtoll(item, &end, 10);
    if (!strchr("+-0123456789", item[0]) || end == item || *end)
        return fail_item(field, value, item, "is not a whole number");
    bool is_inside = is_entry ? number >= 1 && number <= TRI_CONFIG_MAX_SIZE
                              : is_in_range(field, (double)number);
    if (errno == ERANGE || !is_inside) return fail_item(field, value, item, "is out of range");
    *out = number;
    return TRI_OK;
}

static tri_status parse_integer(const tri_field *field, const tri_config_value *value,
                                const char *item, int64_t *out)
{
    TRI_TRY(parse_whole(field, value, item, false, out));
    return TRI_OK;
}

static tri_status parse_unsigned(const tri_field *field, const tri_config_value *value,
                                 const char *item, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    /* strtoull would turn -1 into 2^64 - 1 */
    unsigned long long number = strtoull(item, &end, 10);
    if (!strchr("0123456789", item[0]) || end == item || *end)
        return fail_item(field, value, item, "is not a whole number");
    if (errno == ERANGE) return fail_item(field, value, item, "is out of range");
    *out = number;
    return TRI_OK;
}

static tri_status parse_double(const tri_field *field, const tri_config_value *value,
                               const char *item, double *out)
{
    char *end = NULL;
    /* no hexadecimal, inf, nan or blanks */
    bool plain = item[0] && strspn(item, "+-.0123456789eE") == strlen(item);
    double number = strtod(item, &end);
    if (!plain || end == item || *end) return fail_item(field, value, item, "is not a number");
    if (!isfinite(number) || !is_in_range(field, number))
        return fail_item(field, value, item, "is out of range");
    *out = number;
    return TRI_OK;
}

/* Bytes of the UTF-8 character at `s` that may stand in a text (no control characters, no line
 * separators, no byte order mark); 0 if there is none. */
static int printable_bytes(const unsigned char *s)
{
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    int n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
            : s[0] >= 0xe0 && s[0] <= 0xef ? 3
            : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                           : 0;
    if (!n) return 0;
    uint32_t c = s[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool bad = c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || c < 0xa0 ||
               c == 0x2028 || c == 0x2029 || (c & 0xfffe) == 0xfffe || c == 0xfeff;
    return bad ? 0 : n;
}

static bool is_printable(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        int n = printable_bytes(s);
        if (!n) return false;
        s += n;
    }
    return true;
}

static bool is_name(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-_.";
    return text[0] && !strchr("-.", text[0]) && strspn(text, allowed) == strlen(text);
}

static tri_status store_text(const tri_field *field, const tri_config_value *value,
                             const char *item, void *place)
{
    if (!item[0] && !(field->flags & TRI_FIELD_MAY_EMPTY))
        return fail_takes(field, value, "is empty");
    if (!is_printable(item))
        return fail_takes(field, value, "the text has control characters or is not UTF-8");
    if (field->type == TRI_FIELD_NAME && !is_name(item))
        return fail_item(field, value, item, "is not a name");
    const char *folder = "";
    if (field->type == TRI_FIELD_PATH && item[0] && item[0] != '/' && value->folder)
        folder = value->folder;
    char full[TRI_CONFIG_TEXT_BYTES];
    int n = snprintf(full, sizeof full, "%s%s%s", folder, folder[0] ? "/" : "", item);
    size_t most = field->bytes < sizeof full ? field->bytes : sizeof full;
    TRI_CHECK(n >= 0 && (size_t)n < most, TRI_EINVAL,
              "%s: %s: the text has %d bytes%s: takes at most %zu", value->where, field->key, n,
              folder[0] ? " with its folder" : "", most - 1);
    if (!is_printable(full))
        return fail_takes(field, value, "its folder has control characters or is not UTF-8");
    memset(place, 0, field->bytes);
    memcpy(place, full, (size_t)n);
    return TRI_OK;
}

static tri_status store_choice(const tri_field *field, const tri_config_value *value,
                               const char *item, void *place)
{
    const char *const *choices = field->choices();
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], item) != 0) continue;
        if (field->type == TRI_FIELD_ENUM) {
            memcpy(place, &field->values[i], sizeof(int));
            return TRI_OK;
        }
        memset(place, 0, field->bytes);
        snprintf(place, field->bytes, "%s", item);
        return TRI_OK;
    }
    return fail_item(field, value, item, "is not known");
}

/* Is it the word that the key takes in place of a number? */
static bool is_word(const tri_field *field, const char *item)
{
    const char *word = tri_config_word(field);
    return word && strcmp(item, word) == 0;
}

static tri_status store_double(const tri_field *field, const tri_config_value *value,
                               const char *item, void *place)
{
    double real = field->automatic;
    if (!is_word(field, item)) TRI_TRY(parse_double(field, value, item, &real));
    memcpy(place, &real, sizeof real);
    return TRI_OK;
}

static tri_status store_integer(const tri_field *field, const tri_config_value *value,
                                const char *item, void *place)
{
    int64_t number = 0;
    if (is_word(field, item))
        number = field->automatic;
    else
        TRI_TRY(parse_integer(field, value, item, &number));
    if (field->type == TRI_FIELD_INT64) {
        memcpy(place, &number, sizeof number);
        return TRI_OK;
    }
    int narrow = (int)number; /* the ranges of int rows fit int */
    memcpy(place, &narrow, sizeof narrow);
    return TRI_OK;
}

static tri_status store_bool(const tri_field *field, const tri_config_value *value,
                             const char *item, void *place)
{
    int number = strcmp(item, "true") == 0;
    if (is_word(field, item))
        number = field->automatic;
    else if (!number && strcmp(item, "false") != 0)
        return fail_item(field, value, item, "is neither true nor false");
    memcpy(place, &number, sizeof number);
    return TRI_OK;
}

/* A level: what its list will be is for the owner of the key to say. */
static tri_status store_level(const tri_field *field, const tri_config_value *value,
                              const char *item, void *place)
{
    int64_t level = 0;
    TRI_TRY(parse_integer(field, value, item, &level));
    int stored[4] = {(int)level};
    memcpy(place, stored, sizeof stored);
    return TRI_OK;
}

static tri_status store_one(const tri_field *field, const tri_config_value *value, void *place)
{
    const char *item = value->items[0];
    uint64_t natural = 0;
    switch (field->type) {
    case TRI_FIELD_INT:
    case TRI_FIELD_INT64:
        return store_integer(field, value, item, place);
    case TRI_FIELD_UINT64:
        TRI_TRY(parse_unsigned(field, value, item, &natural));
        memcpy(place, &natural, sizeof natural);
        return TRI_OK;
    case TRI_FIELD_LEVEL3:
        return store_level(field, value, item, place);
    case TRI_FIELD_DOUBLE:
        TRI_TRY(store_double(field, value, item, place));
        return TRI_OK;
    case TRI_FIELD_BOOL:
        return store_bool(field, value, item, place);
    case TRI_FIELD_TEXT:
    case TRI_FIELD_NAME:
    case TRI_FIELD_PATH:
        return store_text(field, value, item, place);
    case TRI_FIELD_CHOICE:
    case TRI_FIELD_ENUM:
        return store_choice(field, value, item, place);
    case TRI_FIELD_DOUBLE2: {
        double *pair = place;
        if (!is_word(field, item)) break;
        pair[0] = pair[1] = field->automatic;
        return TRI_OK;
    }
    case TRI_FIELD_TEXTS:
        break;
    }
    return fail_takes(field, value, "is one value");
}

static tri_status store_texts(const tri_field *field, const tri_config_value *value, void *place)
{
    char texts[TRI_CONFIG_VALUE_BYTES] = "";
    int most = (int)(field->bytes / TRI_CONFIG_ITEM_BYTES);
    if (value->n_items > most) return fail_takes(field, value, "the list is longer");
    for (int i = 0; i < value->n_items; i++) {
        const char *item = value->items[i];
        if (!item[0] || strlen(item) >= TRI_CONFIG_ITEM_BYTES || !is_printable(item))
            return fail_item(field, value, item, "is empty, too long or not printable");
        snprintf(texts + (size_t)i * TRI_CONFIG_ITEM_BYTES, TRI_CONFIG_ITEM_BYTES, "%s", item);
    }
    memcpy(place, texts, field->bytes);
    return TRI_OK;
}

static tri_status store_list(const tri_field *field, const tri_config_value *value, void *place)
{
    if (field->type == TRI_FIELD_TEXTS) return store_texts(field, value, place);
    double pair[2];
    int level[4] = {-1};
    int n = field->type == TRI_FIELD_LEVEL3 ? 3 : 2;
    if (n != value->n_items) return fail_takes(field, value, "the list has another length");
    for (int i = 0; i < n && field->type == TRI_FIELD_DOUBLE2; i++)
        TRI_TRY(parse_double(field, value, value->items[i], &pair[i]));
    for (int i = 0; i < n && field->type == TRI_FIELD_LEVEL3; i++) {
        int64_t number = 0;
        TRI_TRY(parse_whole(field, value, value->items[i], true, &number));
        level[i + 1] = (int)number;
    }
    if (field->type == TRI_FIELD_LEVEL3)
        memcpy(place, level, sizeof level);
    else
        memcpy(place, pair, sizeof pair);
    return TRI_OK;
}

tri_status tri_config_set(const tri_config *config, void *object, const char *key,
                          const tri_config_value *value)
{
    int index = tri_config_find(config, key);
    if (index < 0) {
        const char *near = tri_config_nearest(config, key);
        TRI_CHECK(near, TRI_EINVAL, "%s: unknown key '%.80s'; `trireme help spec` lists all keys",
                  value->where, key);
        TRI_FAIL(TRI_EINVAL, "%s: unknown key '%.80s'; did you mean '%s'?", value->where, key,
                 near);
    }
    const tri_field *field = &config->fields[index];
    void *place = (char *)object + field->offset;
    bool takes_list = field->type == TRI_FIELD_DOUBLE2 || field->type == TRI_FIELD_LEVEL3 ||
                      field->type == TRI_FIELD_TEXTS;
    if (takes_list && value->is_list) return store_list(field, value, place);
    if (value->is_list) return fail_takes(field, value, "is a list");
    const char *item = value->items[0];
    if (!value->is_quoted && (!item[0] || strcmp(item, "~") == 0 || strcmp(item, "null") == 0))
        return fail_takes(field, value, "has no value");
    return store_one(field, value, place);
}

tri_status tri_config_defaults(const tri_config *config, void *object)
{
    for (int i = 0; i < config->n_fields; i++) {
        const tri_field *field = &config->fields[i];
        if (!field->initial) continue;
        const char *items[2] = {field->initial, NULL};
        char first[32];
        tri_config_value value = {items, 1, false, true, "default", NULL};
        const char *comma = strchr(field->initial, ',');
        if (field->type == TRI_FIELD_TEXTS) { /* empty */
            value.n_items = 0;
            value.is_list = true;
        }
        if (field->type == TRI_FIELD_DOUBLE2 && comma) { /* "[0.9, 0.95]" without brackets */
            snprintf(first, sizeof first, "%.*s", (int)(comma - field->initial), field->initial);
            items[0] = first;
            items[1] = comma + 1 + strspn(comma + 1, " ");
            value.n_items = 2;
            value.is_list = true;
        }
        tri_status rc = tri_config_set(config, object, field->key, &value);
        TRI_CHECK(rc == TRI_OK, TRI_EBUG, "the table's own default of '%s' is wrong", field->key);
    }
    return TRI_OK;
}

tri_status tri_config_require(const tri_config *config, const bool *is_set, const char *where)
{
    for (int i = 0; i < config->n_fields; i++) {
        const tri_field *field = &config->fields[i];
        TRI_CHECK(field->initial || is_set[i], TRI_EINVAL, "%s: missing key '%s': %s", where,
                  field->key, field->doc);
    }
    return TRI_OK;
}

int tri_config_differs(const tri_config *config, const void *a, const void *b, unsigned flags)
{
    for (int i = 0; i < config->n_fields; i++) {
        char left[TRI_CONFIG_VALUE_BYTES];
        char right[TRI_CONFIG_VALUE_BYTES];
        if ((config->fields[i].flags & flags) != flags) continue;
        tri_config_format(&config->fields[i], a, left, sizeof left);
        tri_config_format(&config->fields[i], b, right, sizeof right);
        if (strcmp(left, right) != 0) return i;
    }
    return -1;
}
