// SPDX-License-Identifier: Apache-2.0
/* Layouts to be tried against one rank: made, not typed. A factor is a key of the job spec with the
 * values worth trying; the meshes, the choices of every `parallel.` key and the families come from the
 * tables that the program itself reads, so that an axis, a schedule or a family that is added there
 * is tried here. Layouts cover every pair of values (a covering array, built greedily as in Cohen et al.,
 * AETG, IEEE TSE 23(7), 1997) or every value; what tri_spec_check refuses is no layout.
 */
#ifndef TRI_TESTS_LAUNCH_MATRIX_H
#define TRI_TESTS_LAUNCH_MATRIX_H

#include "launch/spec.h"
#include "runtime/mesh.h"
#include "tests/folder.h"

#include <stdio.h>

enum {
    MATRIX_FACTORS = 24,
    MATRIX_VALUES = 16, /* of one factor */
    MATRIX_MESHES = 64,
    MATRIX_LAYOUTS = 600,
    MATRIX_TEXT_BYTES = 48,
    MATRIX_PATTERNS = 1 << TRI_AXES, /* sets of axes that are longer than 1 */
    MATRIX_STEPS = 5
};

/* A key that layouts vary. */
typedef struct matrix_factor {
    char key[MATRIX_TEXT_BYTES];
    unsigned axes; /* varied only where one of these axes is longer than 1; 0: always */
    bool is_model; /* part of what is computed, not of the layout: one rank has it too */
    int n_values;
    char value[MATRIX_VALUES]
              [MATRIX_TEXT_BYTES]; /* as in the spec; [0] is taken where not varied */
} matrix_factor;

typedef struct matrix_mesh {
    int size[TRI_AXES];
    int ranks;
} matrix_mesh;

typedef struct matrix_layout {
    matrix_mesh mesh;
    int value[MATRIX_FACTORS];
} matrix_layout;

typedef struct matrix {
    char path[512];  /* of the spec that layouts are overrides of */
    char family[16]; /* of the model */
    tri_spec base;   /* the spec at `path` */
    bool pairs; /* every pair of values on 8 ranks, 16 for four axes; else every value on few */
    int n_factors, n_meshes, n_layouts;
    matrix_factor factor[MATRIX_FACTORS];
    matrix_mesh mesh[MATRIX_MESHES];
    matrix_layout layout[MATRIX_LAYOUTS];
} matrix;

/* The spec that layouts are overrides of, without `model.family`; texts are found at `text`. Not
 * collective. Writes: out. */
void matrix_base(bool pairs, const char *text, char *out, size_t out_bytes);

/* Write text.txt, the training text. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status matrix_put_text(tri_folder *folder);

/* Make the layouts of a family: `path` has what matrix_base writes. Not collective. The same list each
 * time. Errors: tri_spec_read's, TRI_EBUG too many layouts. */
TRI_MUST_USE tri_status matrix_create(const char *path, const char *family, bool pairs,
                                      matrix **out);
void matrix_destroy(matrix **m);

/* Parts of a list of JSON lines, which Python reads: "key": [words of text]; a line with the spec that
 * overrides are of. Not collective. */
void matrix_print_words(const char *key, const char *text);
void matrix_print_spec(const char *yaml);

/* The checked spec of a layout; `one_rank`: of the same model on one rank. Not collective.
 * Errors: those of tri_spec_read and tri_spec_check. */
TRI_MUST_USE tri_status matrix_spec(const matrix *m, const matrix_layout *layout, bool one_rank,
                                    tri_spec *out);

/* Overrides of a layout as "key=value key=value ...": what the model is, how it is laid out. Not
 * collective. */
void matrix_model_text(const matrix *m, const matrix_layout *layout, char *out, size_t out_bytes);
void matrix_layout_text(const matrix *m, const matrix_layout *layout, char *out, size_t out_bytes);

/* Both, with the number of ranks: how messages call a layout. Not collective. */
void matrix_layout_name(const matrix *m, const matrix_layout *layout, char *out, size_t out_bytes);

/* Can this axis be longer than 1? Not collective. */
bool matrix_has_axis(const matrix *m, tri_axis axis);

/* Axes longer than 1. Not collective. */
unsigned matrix_pattern(const matrix_mesh *mesh);

/* Is factor f varied on this mesh? Not collective. */
bool matrix_varies(const matrix *m, const matrix_mesh *mesh, int f);

#endif
