// SPDX-License-Identifier: Apache-2.0
/* YAML text to a tree with line numbers. The subset of a job spec: one document of mappings, lists
 * and scalars. Anchors, aliases, tags, directives and duplicate keys are refused, and so is what is
 * too deep or too large. The only caller of libyaml.
 */
#ifndef TRI_LAUNCH_YAML_H
#define TRI_LAUNCH_YAML_H

#include "runtime/base/status.h"

enum { TRI_YAML_MAX_BYTES = 256 * 1024, TRI_YAML_MAX_DEPTH = 8, TRI_YAML_MAX_NODES = 4096 };

typedef enum tri_yaml_kind { TRI_YAML_SCALAR, TRI_YAML_LIST, TRI_YAML_MAP } tri_yaml_kind;

/* A value, its key if it stands in a mapping, and its line (1 is the first). */
typedef struct tri_yaml_node {
    tri_yaml_kind kind;
    int line;
    bool is_quoted;
    const char *key;                   /* NULL in lists and at the root */
    const char *text;                  /* of scalars */
    const struct tri_yaml_node *first; /* child */
    const struct tri_yaml_node *next;  /* sibling */
} tri_yaml_node;

typedef struct tri_yaml tri_yaml;

/* Parse one document. Not collective.
 *
 * `origin` begins error messages: "origin:line: ...". Errors: TRI_EINVAL, TRI_ENOMEM.
 */
TRI_MUST_USE tri_status tri_yaml_parse(const char *text, size_t n_bytes, const char *origin,
                                       tri_yaml **out);

/* Free the tree; NULL is fine. Not collective. */
void tri_yaml_destroy(tri_yaml **yaml);

/* The outermost value; NULL for an empty document. Not collective. */
const tri_yaml_node *tri_yaml_root(const tri_yaml *yaml);

#endif
