// SPDX-License-Identifier: Apache-2.0
/* libyaml's events to a tree; a stack of fixed depth, no recursion. */
#include "launch/yaml.h"

#include "runtime/base/alloc.h"

#include <limits.h>
#include <string.h>
#include <yaml.h>

/* A node and what destroy needs. */
typedef struct yaml_cell {
    tri_yaml_node node; /* first: a node's address is its cell's */
    struct yaml_cell *last_child;
    struct yaml_cell *older;
    char *key;
    char *text;
} yaml_cell;

struct tri_yaml {
    yaml_cell *newest;
    yaml_cell *root;
    int n_nodes;
};

typedef struct yaml_reader {
    tri_yaml *yaml;
    const char *origin;
    yaml_cell *open[TRI_YAML_MAX_DEPTH];
    int depth;
    char *key; /* read, its value not yet */
    int key_line;
    int n_documents;
} yaml_reader;

static int line_of(yaml_mark_t mark)
{
    return mark.line < INT_MAX ? (int)mark.line + 1 : INT_MAX;
}

static yaml_cell *top(const yaml_reader *reader)
{
    return reader->depth ? reader->open[reader->depth - 1] : NULL;
}

static bool wants_key(const yaml_reader *reader)
{
    const yaml_cell *map = top(reader);
    return map && map->node.kind == TRI_YAML_MAP && !reader->key;
}

/* Hang a new node below the open one. */
static tri_status add_node(yaml_reader *reader, tri_yaml_kind kind, int line, yaml_cell **out)
{
    tri_yaml *yaml = reader->yaml;
    TRI_CHECK(yaml->n_nodes < TRI_YAML_MAX_NODES, TRI_EINVAL,
              "%s:%d: more than %d values in one document", reader->origin, line,
              TRI_YAML_MAX_NODES);
    yaml_cell *cell = NULL;
    TRI_TRY(TRI_NEW(&cell));
    cell->older = yaml->newest;
    yaml->newest = cell;
    yaml->n_nodes++;
    cell->node.kind = kind;
    cell->node.line = reader->key ? reader->key_line : line;
    cell->key = TRI_MOVE(reader->key);
    cell->node.key = cell->key;

    yaml_cell *parent = top(reader);
    if (!parent)
        yaml->root = cell;
    else if (!parent->last_child)
        parent->node.first = &cell->node;
    else
        parent->last_child->node.next = &cell->node;
    if (parent) parent->last_child = cell;
    *out = cell;
    return TRI_OK;
}

static tri_status refuse_marks(const yaml_reader *reader, int line, const void *anchor,
                               const void *tag)
{
    TRI_CHECK(!anchor, TRI_EINVAL, "%s:%d: anchors (&name) are not part of a job spec",
              reader->origin, line);
    TRI_CHECK(!tag, TRI_EINVAL, "%s:%d: tags (!name) are not part of a job spec", reader->origin,
              line);
    return TRI_OK;
}

static tri_status open_node(yaml_reader *reader, tri_yaml_kind kind, int line)
{
    TRI_CHECK(!wants_key(reader), TRI_EINVAL, "%s:%d: a key must be a plain word, not a %s",
              reader->origin, line, kind == TRI_YAML_MAP ? "mapping" : "list");
    TRI_CHECK(reader->depth < TRI_YAML_MAX_DEPTH, TRI_EINVAL,
              "%s:%d: nested more than %d levels deep", reader->origin, line, TRI_YAML_MAX_DEPTH);
    yaml_cell *cell = NULL;
    TRI_TRY(add_node(reader, kind, line, &cell));
    reader->open[reader->depth++] = cell;
    return TRI_OK;
}

static tri_status read_key(yaml_reader *reader, const char *text, int line)
{
    const tri_yaml_node *same = top(reader)->node.first;
    while (same && strcmp(same->key, text) != 0)
        same = same->next;
    TRI_CHECK(!same, TRI_EINVAL, "%s:%d: key '%.80s' is given twice, first on line %d",
              reader->origin, line, text, same ? same->line : 0);
    reader->key_line = line;
    TRI_TRY(tri_alloc_string(text, &reader->key));
    return TRI_OK;
}

static tri_status read_scalar(yaml_reader *reader, const yaml_event_t *event)
{
    int line = line_of(event->start_mark);
    TRI_TRY(refuse_marks(reader, line, event->data.scalar.anchor, event->data.scalar.tag));
    const char *text = (const char *)event->data.scalar.value;
    TRI_CHECK(strlen(text) == event->data.scalar.length, TRI_EINVAL, "%s:%d: a zero byte in a text",
              reader->origin, line);
    if (wants_key(reader)) {
        TRI_TRY(read_key(reader, text, line));
        return TRI_OK;
    }
    yaml_cell *cell = NULL;
    TRI_TRY(add_node(reader, TRI_YAML_SCALAR, line, &cell));
    TRI_TRY(tri_alloc_string(text, &cell->text));
    cell->node.text = cell->text;
    cell->node.is_quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return TRI_OK;
}

static tri_status read_document_start(yaml_reader *reader, const yaml_event_t *event)
{
    int line = line_of(event->start_mark);
    TRI_CHECK(reader->n_documents++ == 0, TRI_EINVAL, "%s:%d: a second document (---) begins here",
              reader->origin, line);
    TRI_CHECK(event->data.document_start.tag_directives.start ==
                  event->data.document_start.tag_directives.end,
              TRI_EINVAL, "%s:%d: %%TAG is not part of a job spec", reader->origin, line);
    return TRI_OK;
}

static tri_status read_event(yaml_reader *reader, const yaml_event_t *event)
{
    int line = line_of(event->start_mark);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return read_document_start(reader, event);
    case YAML_ALIAS_EVENT:
        TRI_FAIL(TRI_EINVAL, "%s:%d: aliases (*name) are not part of a job spec", reader->origin,
                 line);
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, event);
    case YAML_SEQUENCE_START_EVENT:
        TRI_TRY(refuse_marks(reader, line, event->data.sequence_start.anchor,
                             event->data.sequence_start.tag));
        return open_node(reader, TRI_YAML_LIST, line);
    case YAML_MAPPING_START_EVENT:
        TRI_TRY(refuse_marks(reader, line, event->data.mapping_start.anchor,
                             event->data.mapping_start.tag));
        return open_node(reader, TRI_YAML_MAP, line);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        reader->depth--;
        return TRI_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return TRI_OK;
    }
    return TRI_OK;
}

static tri_status fail_syntax(const yaml_parser_t *parser, const char *origin)
{
    TRI_CHECK(parser->error != YAML_MEMORY_ERROR, TRI_ENOMEM, "%s: reading YAML", origin);
    const char *problem = parser->problem ? parser->problem : "unreadable";
    if (parser->error == YAML_READER_ERROR)
        TRI_FAIL(TRI_EINVAL, "%s: not YAML text: %s at byte %zu", origin, problem,
                 parser->problem_offset);
    int line = line_of(parser->problem_mark);
    TRI_CHECK(parser->context, TRI_EINVAL, "%s:%d: not valid YAML: %s", origin, line, problem);
    TRI_FAIL(TRI_EINVAL, "%s:%d: not valid YAML: %s %s (line %d)", origin, line, problem,
             parser->context, line_of(parser->context_mark));
}

static tri_status read_events(yaml_reader *reader, yaml_parser_t *parser)
{
    for (bool ended = false; !ended;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) return fail_syntax(parser, reader->origin);
        ended = event.type == YAML_STREAM_END_EVENT;
        tri_status rc = read_event(reader, &event);
        yaml_event_delete(&event);
        TRI_TRY(rc);
    }
    return TRI_OK;
}

tri_status tri_yaml_parse(const char *text, size_t n_bytes, const char *origin, tri_yaml **out)
{
    TRI_CHECK(n_bytes <= TRI_YAML_MAX_BYTES, TRI_EINVAL, "%s: %zu bytes: a job spec has at most %d",
              origin, n_bytes, TRI_YAML_MAX_BYTES);
    TRI_AUTO(tri_yaml) *yaml = NULL;
    TRI_TRY(TRI_NEW(&yaml));
    yaml_parser_t parser;
    TRI_CHECK(yaml_parser_initialize(&parser), TRI_ENOMEM, "%s: reading YAML", origin);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_bytes);
    yaml_reader reader = {.yaml = yaml, .origin = origin};
    tri_status rc = read_events(&reader, &parser);
    yaml_parser_delete(&parser);
    TRI_FREE(reader.key);
    TRI_TRY(rc);
    *out = TRI_MOVE(yaml);
    return TRI_OK;
}

void tri_yaml_destroy(tri_yaml **yaml)
{
    if (!*yaml) return;
    for (yaml_cell *cell = (*yaml)->newest; cell;) {
        yaml_cell *older = cell->older;
        TRI_FREE(cell->key);
        TRI_FREE(cell->text);
        TRI_FREE(cell);
        cell = older;
    }
    TRI_FREE(*yaml);
}

const tri_yaml_node *tri_yaml_root(const tri_yaml *yaml)
{
    return yaml->root ? &yaml->root->node : NULL;
}
