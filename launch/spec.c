// SPDX-License-Identifier: Apache-2.0
/* Reading and writing job specs: YAML and overrides through the table of keys. What several keys say
 * together is checked in spec_check.c.
 */
#include "launch/spec.h"

#include "launch/spec_table.h"
#include "launch/yaml.h"
#include "runtime/base/alloc.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPEC_KEY_BYTES = 128, SPEC_WHERE_BYTES = 400, SPEC_LIST_ITEMS = 32 };

_Static_assert(sizeof(((tri_spec *)NULL)->data.train) <= TRI_CONFIG_TEXT_BYTES, "texts fit");

/* A spec while it is read. */
typedef struct spec_builder {
    tri_spec *spec;
    const char *origin;
    const char *folder; /* of relative paths */
    bool is_set[TRI_CONFIG_MAX_FIELDS];
} spec_builder;

/* Store the scalar or list `node` under `key`. */
static tri_status set_value(spec_builder *builder, const char *key, const tri_yaml_node *node,
                            const char *where)
{
    const char *items[SPEC_LIST_ITEMS] = {node->text};
    tri_config_value value = {items, 1, false, node->is_quoted, where, builder->folder};
    if (node->kind == TRI_YAML_LIST) {
        value.is_list = true;
        value.n_items = 0;
        for (const tri_yaml_node *item = node->first; item; item = item->next) {
            TRI_CHECK(item->kind == TRI_YAML_SCALAR, TRI_EINVAL,
                      "%s: %s: a list within a list or a mapping within a list", where, key);
            TRI_CHECK(value.n_items < SPEC_LIST_ITEMS, TRI_EINVAL,
                      "%s: %s: the list has more than %d entries", where, key, SPEC_LIST_ITEMS);
            items[value.n_items++] = item->text;
        }
    }
    return tri_config_set(tri_spec_table(), builder->spec, key, &value);
}

static tri_status read_leaf(spec_builder *builder, const char *key, const tri_yaml_node *node,
                            const char *where)
{
    const tri_config *table = tri_spec_table();
    TRI_CHECK(!tri_config_is_section(table, key), TRI_EINVAL,
              "%s: '%s' is a section: its keys stand below it, indented, or in {}", where, key);
    int index = tri_config_find(table, key);
    TRI_CHECK(index < 0 || !builder->is_set[index], TRI_EINVAL, "%s: key '%s' is given twice",
              where, key);
    TRI_TRY(set_value(builder, key, node, where));
    builder->is_set[index] = true;
    return TRI_OK;
}

/* Depth is bounded by TRI_YAML_MAX_DEPTH. */
static tri_status read_node(spec_builder *builder, const char *path, const tri_yaml_node *node)
{
    char where[SPEC_WHERE_BYTES];
    snprintf(where, sizeof where, "%s:%d", builder->origin, node->line);
    if (node->kind != TRI_YAML_MAP) {
        TRI_TRY(read_leaf(builder, path, node, where));
        return TRI_OK;
    }
    TRI_CHECK(tri_config_find(tri_spec_table(), path) < 0, TRI_EINVAL,
              "%s: '%s' is a key with a value, not a section", where, path);
    if (!node->first && path[0] && !tri_config_is_section(tri_spec_table(), path)) {
        TRI_TRY(set_value(builder, path, node, where)); /* says that the key is unknown */
    }
    for (const tri_yaml_node *child = node->first; child; child = child->next) {
        char key[SPEC_KEY_BYTES];
        int n = snprintf(key, sizeof key, "%s%s%s", path, path[0] ? "." : "", child->key);
        TRI_CHECK(n > 0 && (size_t)n < sizeof key, TRI_EINVAL, "%s:%d: unknown key '%.60s...'",
                  builder->origin, child->line, child->key);
        TRI_TRY(read_node(builder, key, child));
    }
    return TRI_OK;
}

static tri_status read_text(spec_builder *builder, const char *text, size_t n_bytes)
{
    TRI_AUTO(tri_yaml) *yaml = NULL;
    TRI_TRY(tri_yaml_parse(text, n_bytes, builder->origin, &yaml));
    const tri_yaml_node *root = tri_yaml_root(yaml);
    TRI_CHECK(root, TRI_EINVAL, "%s: the job spec is empty", builder->origin);
    TRI_CHECK(root->kind == TRI_YAML_MAP, TRI_EINVAL,
              "%s:%d: a job spec is a mapping: lines of `key: value`", builder->origin, root->line);
    TRI_TRY(read_node(builder, "", root));
    return TRI_OK;
}

/* One `key=value`; a value that begins with [ is a list. */
static tri_status read_override(spec_builder *builder, const char *text)
{
    const char *where = "command line";
    const char *equals = strchr(text, '=');
    char key[SPEC_KEY_BYTES];
    TRI_CHECK(equals && equals > text && (size_t)(equals - text) < sizeof key, TRI_EINVAL,
              "%s: '%.80s' is not an override of the form key=value", where, text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
    TRI_CHECK(!tri_config_is_section(tri_spec_table(), key), TRI_EINVAL,
              "%s: '%s' is a section: override its keys, as in %s.KEY=VALUE", where, key, key);

    const tri_yaml_node plain = {.kind = TRI_YAML_SCALAR, .text = equals + 1};
    const tri_yaml_node *node = &plain;
    TRI_AUTO(tri_yaml) *yaml = NULL;
    if (equals[1] == '[') {
        TRI_TRY(tri_yaml_parse(equals + 1, strlen(equals + 1), where, &yaml));
        node = tri_yaml_root(yaml);
    }
    TRI_TRY(set_value(builder, key, node, where));
    builder->is_set[tri_config_find(tri_spec_table(), key)] = true;
    return TRI_OK;
}

static tri_status begin(spec_builder *builder)
{
    memset(builder->spec, 0, sizeof *builder->spec);
    TRI_TRY(tri_config_defaults(tri_spec_table(), builder->spec));
    return TRI_OK;
}

tri_status tri_spec_parse(const char *text, size_t n_bytes, const char *origin, tri_spec *out)
{
    tri_spec spec;
    spec_builder builder = {.spec = &spec, .origin = origin};
    TRI_TRY(begin(&builder));
    TRI_TRY(read_text(&builder, text, n_bytes));
    TRI_TRY(tri_config_require(tri_spec_table(), builder.is_set, origin));
    *out = spec;
    return TRI_OK;
}

/* The whole file, which has at most TRI_YAML_MAX_BYTES. */
static tri_status read_file(const char *path, char **text, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    TRI_TRY(TRI_SYS(file ? 0 : -1, "opening the job spec %s", path));
    char *bytes = NULL;
    tri_status rc = TRI_NEW_ARRAY(TRI_YAML_MAX_BYTES + 1, &bytes);
    size_t n = rc == TRI_OK ? fread(bytes, 1, TRI_YAML_MAX_BYTES + 1, file) : 0;
    if (rc == TRI_OK) rc = TRI_SYS(ferror(file) ? -1 : 0, "reading the job spec %s", path);
    fclose(file);
    if (rc != TRI_OK) TRI_FREE(bytes);
    TRI_TRY(rc);
    *text = bytes;
    *n_bytes = n;
    return TRI_OK;
}

/* Absolute folder of the file `path`. */
static tri_status folder_of(const char *path, char out[PATH_MAX])
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) + 1 : 0;
    TRI_CHECK(n < PATH_MAX, TRI_EINVAL, "the path %.60s... is too long", path);
    snprintf(folder, sizeof folder, "%.*s", n, path);
    TRI_TRY(TRI_SYS(realpath(n ? folder : ".", out) ? 0 : -1, "resolving the folder of %s", path));
    if (strcmp(out, "/") == 0) out[0] = '\0';
    return TRI_OK;
}

tri_status tri_spec_read(const char *path, int n_overrides, const char *const *overrides,
                         tri_spec *out)
{
    tri_spec spec;
    char folder[PATH_MAX];
    char *text = NULL;
    size_t n_bytes = 0;
    spec_builder builder = {.spec = &spec, .origin = path, .folder = folder};
    TRI_TRY(begin(&builder));
    TRI_TRY(folder_of(path, folder));
    TRI_TRY(read_file(path, &text, &n_bytes));
    tri_status rc = read_text(&builder, text, n_bytes);
    TRI_FREE(text);
    TRI_TRY(rc);

    TRI_TRY(folder_of(".", folder));
    for (int i = 0; i < n_overrides; i++)
        TRI_TRY(read_override(&builder, overrides[i]));
    TRI_TRY(tri_config_require(tri_spec_table(), builder.is_set, path));
    *out = spec;
    return TRI_OK;
}

tri_status tri_spec_override(tri_spec *spec, int n_overrides, const char *const *overrides)
{
    tri_spec changed = *spec;
    char folder[PATH_MAX];
    spec_builder builder = {.spec = &changed, .origin = "command line", .folder = folder};
    TRI_TRY(folder_of(".", folder));
    for (int i = 0; i < n_overrides; i++)
        TRI_TRY(read_override(&builder, overrides[i]));
    *spec = changed;
    return TRI_OK;
}

tri_status tri_spec_dump(const tri_spec *spec, char **out)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&text, &n_bytes);
    TRI_CHECK(stream, TRI_ENOMEM, "writing the job spec '%s' as text", spec->name);
    tri_config_dump(tri_spec_table(), spec, stream);
    int closed = fclose(stream);
    tri_status rc = closed == 0 ? tri_alloc_string(text, out) : TRI_ENOMEM;
    free(text);
    TRI_CHECK(closed == 0, TRI_ENOMEM, "writing the job spec '%s' as text", spec->name);
    TRI_TRY(rc);
    return TRI_OK;
}

void tri_spec_reference(void *stdio_stream)
{
    FILE *stream = stdio_stream;
    fprintf(
        stream,
        "# The job spec\n\n"
        "A job spec is a YAML file: sections of keys, scalars and short lists. Anchors, tags and\n"
        "duplicate keys are refused, and so is a key that is not in this list. Every key can be\n"
        "overridden on the command line as `section.key=value`. Relative paths in the file start\n"
        "at the file's folder, in overrides at the current folder. `trireme check` prints what a\n"
        "job will use. This page is printed by `trireme help spec`.\n\n"
        "A run that is resumed may change the keys that are *free* on resume; *fixed* ones stay "
        "what\n"
        "they were when it began (docs/checkpoints.md).\n");
    tri_config_reference(tri_spec_table(), stream);
}
