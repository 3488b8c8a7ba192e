// SPDX-License-Identifier: Apache-2.0
/* Field tables: values, ranges, the dump and the reference as text. */
#include "runtime/base/config.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Append to a text of fixed size; what does not fit is left out. */
static void append(char *out, size_t out_bytes, const char *format, ...) TRI_PRINTF(3, 4);

static void append(char *out, size_t out_bytes, const char *format, ...)
{
    size_t n = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + n, out_bytes - n, format, args);
    va_end(args);
}

/* The shortest decimal that reads back to the same double; whole numbers below 1e10 without exponent. */
static void format_double(double x, char *out, size_t out_bytes)
{
    if (x == rint(x) && fabs(x) < 1e10) {
        snprintf(out, out_bytes, "%.0f", x);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, out_bytes, "%.*g", digits, x);
        if (strtod(out, NULL) == x) return;
    }
}

static void format_quoted(const char *text, char *out, size_t out_bytes)
{
    size_t n = 0;
    out[n++] = '"';
    for (; *text && n + 4 < out_bytes; text++) {
        if (*text == '"' || *text == '\\') out[n++] = '\\';
        out[n++] = *text;
    }
    out[n++] = '"';
    out[n] = '\0';
}

const char *tri_config_word(const tri_field *field)
{
    if (field->flags & TRI_FIELD_AUTO) return "auto";
    return field->flags & TRI_FIELD_NONE ? "none" : NULL;
}

/* One number, or a list of two. */
static void format_doubles(const tri_field *field, const void *place, int n, char *out,
                           size_t out_bytes)
{
    double numbers[2];
    char text[2][32] = {"", ""};
    memcpy(numbers, place, (size_t)n * sizeof *numbers);
    const char *word = tri_config_word(field);
    bool is_automatic = word && numbers[0] == field->automatic;
    for (int i = 0; i < n; i++)
        format_double(numbers[i], text[i], sizeof text[i]);
    if (is_automatic)
        snprintf(out, out_bytes, "%s", word);
    else if (n == 1)
        snprintf(out, out_bytes, "%s", text[0]);
    else
        snprintf(out, out_bytes, "[%s, %s]", text[0], text[1]);
}

static void format_texts(const tri_field *field, const char *place, char *out, size_t out_bytes)
{
    size_t n = field->bytes / TRI_CONFIG_ITEM_BYTES;
    size_t at = (size_t)snprintf(out, out_bytes, "[");
    for (size_t i = 0; i < n && place[i * TRI_CONFIG_ITEM_BYTES]; i++) {
        char quoted[2 * TRI_CONFIG_ITEM_BYTES + 8];
        format_quoted(place + i * TRI_CONFIG_ITEM_BYTES, quoted, sizeof quoted);
        at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", i ? ", " : "", quoted);
    }
    snprintf(out + at, out_bytes - at, "]");
}

static void format_level(const void *place, char *out, size_t out_bytes)
{
    int level[4];
    memcpy(level, place, sizeof level);
    if (level[0] >= 0)
        snprintf(out, out_bytes, "%d", level[0]);
    else
        snprintf(out, out_bytes, "[%d, %d, %d]", level[1], level[2], level[3]);
}

static void format_int(const tri_field *field, int64_t number, char *out, size_t out_bytes)
{
    const char *word = tri_config_word(field);
    if (word && number == field->automatic)
        snprintf(out, out_bytes, "%s", word);
    else if (field->type == TRI_FIELD_BOOL)
        snprintf(out, out_bytes, "%s", number ? "true" : "false");
    else
        snprintf(out, out_bytes, "%" PRId64, number);
}

static void format_enum(const tri_field *field, int number, char *out, size_t out_bytes)
{
    const char *const *choices = field->choices();
    snprintf(out, out_bytes, "%d", number);
    for (int i = 0; choices[i]; i++)
        if (field->values[i] == number) snprintf(out, out_bytes, "%s", choices[i]);
}

void tri_config_format(const tri_field *field, const void *object, char *out, size_t out_bytes)
{
    const char *place = (const char *)object + field->offset;
    int narrow = 0;
    int64_t wide = 0;
    uint64_t natural = 0;
    switch (field->type) {
    case TRI_FIELD_INT:
    case TRI_FIELD_BOOL:
        memcpy(&narrow, place, sizeof narrow);
        format_int(field, narrow, out, out_bytes);
        break;
    case TRI_FIELD_INT64:
        memcpy(&wide, place, sizeof wide);
        format_int(field, wide, out, out_bytes);
        break;
    case TRI_FIELD_UINT64:
        memcpy(&natural, place, sizeof natural);
        snprintf(out, out_bytes, "%" PRIu64, natural);
        break;
    case TRI_FIELD_DOUBLE:
        format_doubles(field, place, 1, out, out_bytes);
        break;
    case TRI_FIELD_DOUBLE2:
        format_doubles(field, place, 2, out, out_bytes);
        break;
    case TRI_FIELD_TEXTS:
        format_texts(field, place, out, out_bytes);
        break;
    case TRI_FIELD_LEVEL3:
        format_level(place, out, out_bytes);
        break;
    case TRI_FIELD_NAME:
    case TRI_FIELD_TEXT:
    case TRI_FIELD_PATH:
        format_quoted(place, out, out_bytes);
        break;
    case TRI_FIELD_CHOICE:
        snprintf(out, out_bytes, "%s", place);
        break;
    case TRI_FIELD_ENUM:
        memcpy(&narrow, place, sizeof narrow);
        format_enum(field, narrow, out, out_bytes);
        break;
    }
}

/* Length of the section of a key: 0 for a key of the top level. */
static size_t section_bytes(const char *key)
{
    const char *dot = strchr(key, '.');
    return dot ? (size_t)(dot - key) : 0;
}

static bool begins_section(const tri_config *config, int i)
{
    const char *key = config->fields[i].key;
    size_t n = section_bytes(key);
    if (i == 0) return true;
    const char *before = config->fields[i - 1].key;
    return section_bytes(before) != n || strncmp(before, key, n) != 0;
}

void tri_config_dump(const tri_config *config, const void *object, FILE *stream)
{
    for (int i = 0; i < config->n_fields; i++) {
        const tri_field *field = &config->fields[i];
        char text[TRI_CONFIG_VALUE_BYTES];
        size_t n = section_bytes(field->key);
        tri_config_format(field, object, text, sizeof text);
        if (n && begins_section(config, i)) fprintf(stream, "%.*s:\n", (int)n, field->key);
        fprintf(stream, "%s%s: %s\n", n ? "  " : "", field->key + (n ? n + 1 : 0), text);
    }
}

static void take_range(const tri_field *field, char *out, size_t out_bytes)
{
    char low[32];
    char high[32];
    format_double(field->min, low, sizeof low);
    format_double(field->max, high, sizeof high);
    if (field->min == field->max)
        append(out, out_bytes, " (this version runs %s)", low);
    else
        append(out, out_bytes, " %s %s %s %s", field->flags & TRI_FIELD_ABOVE ? "above" : "from",
               low, field->flags & TRI_FIELD_BELOW ? "to below" : "to", high);
}

static void take_choices(const tri_field *field, char *out, size_t out_bytes)
{
    const char *const *choices = field->choices();
    for (int i = 0; choices[i]; i++)
        append(out, out_bytes, "%s%s", i == 0 ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
}

void tri_config_takes(const tri_field *field, char *out, size_t out_bytes)
{
    out[0] = '\0';
    switch (field->type) {
    case TRI_FIELD_INT:
    case TRI_FIELD_INT64:
        append(out, out_bytes, "a whole number");
        take_range(field, out, out_bytes);
        break;
    case TRI_FIELD_UINT64:
        append(out, out_bytes, "a whole number from 0 to %" PRIu64, UINT64_MAX);
        break;
    case TRI_FIELD_DOUBLE:
        append(out, out_bytes, "a number");
        take_range(field, out, out_bytes);
        break;
    case TRI_FIELD_DOUBLE2:
        append(out, out_bytes, "a list of two numbers");
        take_range(field, out, out_bytes);
        break;
    case TRI_FIELD_LEVEL3:
        append(out, out_bytes, "a whole number");
        take_range(field, out, out_bytes);
        append(out, out_bytes, ", or a list of three from 1 to %d", TRI_CONFIG_MAX_SIZE);
        break;
    case TRI_FIELD_BOOL:
        append(out, out_bytes, "true or false");
        break;
    case TRI_FIELD_TEXT:
        append(out, out_bytes, "a text");
        break;
    case TRI_FIELD_TEXTS:
        append(out, out_bytes, "a list of up to %zu texts", field->bytes / TRI_CONFIG_ITEM_BYTES);
        break;
    case TRI_FIELD_NAME:
        append(out, out_bytes,
               "a name of letters, digits, '-', '_' and '.' that begins with a "
               "letter, a digit or '_'");
        break;
    case TRI_FIELD_PATH:
        append(out, out_bytes, "a path");
        break;
    case TRI_FIELD_CHOICE:
    case TRI_FIELD_ENUM:
        take_choices(field, out, out_bytes);
        break;
    }
    const char *word = tri_config_word(field);
    if (word) append(out, out_bytes, ", or %s", word);
}

static void print_row(const tri_field *field, FILE *stream)
{
    char takes[TRI_CONFIG_TEXT_BYTES];
    tri_config_takes(field, takes, sizeof takes);
    const char *initial = field->initial ? field->initial : "required";
    bool is_pair =
        field->type == TRI_FIELD_DOUBLE2 && field->initial && strchr(field->initial, ',');
    fprintf(stream, "| `%s` | %s%s%s | %s%s%s | %s | %s |\n", field->key, takes,
            field->unit ? "; " : "", field->unit ? field->unit : "", is_pair ? "[" : "",
            initial[0] ? initial : "empty", is_pair ? "]" : "",
            field->flags & TRI_FIELD_FIXED ? "fixed" : "free", field->doc);
}

void tri_config_reference(const tri_config *config, FILE *stream)
{
    for (int i = 0; i < config->n_fields; i++) {
        const char *key = config->fields[i].key;
        size_t n = section_bytes(key);
        if (begins_section(config, i)) {
            if (n)
                fprintf(stream, "\n## %.*s\n\n", (int)n, key);
            else
                fprintf(stream, "\n## Top level\n\n");
            fprintf(stream, "| key | takes | default | on resume | meaning |\n"
                            "|---|---|---|---|---|\n");
        }
        print_row(&config->fields[i], stream);
    }
}
