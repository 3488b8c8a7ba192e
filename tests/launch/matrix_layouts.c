// SPDX-License-Identifier: Apache-2.0
/* Makes the layouts: factors from the program's own tables, then a greedy covering array. */
#include "tests/launch/matrix.h"

#include "launch/spec_table.h"
#include "runtime/base/alloc.h"
#include "runtime/base/rng.h"

#include <string.h>

enum {
    ANY_DATA = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT),
    DRAWS = 2000,   /* for a goal that nothing covers yet */
    TRIES = 200,    /* of these, layouts that meet the goal, legal or not */
    GOOD_TRIES = 10 /* of these, legal ones: the one that covers most is taken */
};

/* Factors that the tables cannot tell: numbers, and on which axes a key means anything. Values that this
 * program's parser refuses are left out. */
static const struct {
    const char *key;
    unsigned axes;
    bool is_model;
    const char *values; /* separated by blanks, = the default; NULL: the choices of the key */
} hints[] = {
  /* one that needs nothing of other ranks, and those with norms; where a step is a quotient of moments, as
     * Adam's, parameters without a gradient but for rounding are not comparable */
    {"optimizer.name",            0,                               true,  "sgd lars adagrad_norm adagrad_rownorm"  },
    {"parallel.zero",             ANY_DATA,                        false, "1 0 2 3 [1,2,4] [2,2,2] [2,2,4] [2,4,8]"},
    {"parallel.schedule",         TRI_AXIS_BIT(TRI_AXIS_PIPELINE), false, NULL                                     },
    {"parallel.chunks",           TRI_AXIS_BIT(TRI_AXIS_PIPELINE), false, "1 2"                                    },
    {"parallel.tensor_sequence",  TRI_AXIS_BIT(TRI_AXIS_TENSOR),   false, NULL                                     },
    {"parallel.tensor_chunks",    TRI_AXIS_BIT(TRI_AXIS_TENSOR),   false, "1 2"                                    },
    {"parallel.context_mode",     TRI_AXIS_BIT(TRI_AXIS_CONTEXT),  false, NULL                                     },
    {"parallel.ulysses",          TRI_AXIS_BIT(TRI_AXIS_CONTEXT),  false, "1 2"                                    },
    {"parallel.recompute_layers", 0,                               false, "= 1"                                    },
    {"parallel.prefetch",         ANY_DATA,                        false, "1 0"                                    },
    {"parallel.bucket_mb",        ANY_DATA,                        false, "0.02 25"                                },
    {"batch.micro",               0,                               false, "2 1"                                    },
    {"model.tied",                0,                               true,  "true false"                             },
    {"model.dropout",             0,                               true,  "0 0.1"                                  },
    {"model.kv_heads",            0,                               true,  "= 1 2"                                  },
    {"model.parameterization",    0,                               true,  "standard mup"                           },
    {"data.separator",            0,                               true,  "= 10"                                   },
};
enum { N_HINTS = sizeof hints / sizeof hints[0] };

/* Keys whose values are not expected to agree with one rank to rounding, or that are meshes. */
static const char *const left_out[] = {"parallel.quantize_weights", "parallel.quantize_gradients"};

/* Goals that no row covers yet: [f][v][g][w], f <= g; factor n_factors is the pattern of the mesh. */
typedef struct cover {
    bool open[MATRIX_FACTORS + 1][MATRIX_VALUES][MATRIX_FACTORS + 1][MATRIX_VALUES];
    bool mesh_open[MATRIX_MESHES];
    uint64_t drawn; /* random numbers so far */
} cover;

static inline void cover_destroy(cover **c)
{
    TRI_FREE(*c);
}

void matrix_base(bool pairs, const char *text, char *out, size_t out_bytes)
{
    /* weights large enough that attention is not near uniform: every part of a gradient then weighs */
    const char *model = pairs ? "layers: 8, hidden: 64, heads: 8, context: 32, init_std: 0.1, "
                                "base_hidden: 32, attention_multiplier: 1.1, "
                                "embedding_multiplier: 1.1, output_multiplier: 0.9"
                              : "layers: 4, hidden: 32, heads: 4, context: 16, init_std: 0.15, "
                                "base_hidden: 16, attention_multiplier: 1.1, "
                                "embedding_multiplier: 1.1, output_multiplier: 0.9";
    snprintf(out, out_bytes,
             "name: matrix\nseed: 5\nmodel: {family: gpt2, %s}\n"
             "data: {train: '%s', format: text, tokenizer: bytes}\n"
             "batch: {sequences: %d, micro: 2}\n"
             "optimizer: {name: sgd, lr: 0.05, momentum: 0.9, weight_decay: 0.01, clip: 1.0, "
             "trust: 0.02, initial: 0.01}\n"
             "schedule: {warmup: 2, decay: constant}\n"
             "train: {steps: %d, threads: 1}\n",
             model, text, pairs ? 16 : 8, MATRIX_STEPS);
}

tri_status matrix_put_text(tri_folder *folder)
{
    /* lines of letters, so that a separator of documents finds some */
    char text[65536];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 37 == 36 || i % 53 == 0 ? '\n' : (char)('a' + (i * i / 7 + i % 13) % 26);
    return tri_folder_put(folder, "text.txt", "w", text, sizeof text);
}

unsigned matrix_pattern(const matrix_mesh *mesh)
{
    unsigned pattern = 0;
    for (int a = 0; a < TRI_AXES; a++)
        if (mesh->size[a] > 1) pattern |= TRI_AXIS_BIT((unsigned)a);
    return pattern;
}

bool matrix_varies(const matrix *m, const matrix_mesh *mesh, int f)
{
    unsigned axes = m->factor[f].axes;
    return axes == 0 || (axes & matrix_pattern(mesh)) != 0;
}

static void append(char *out, size_t out_bytes, const char *key, const char *value)
{
    size_t used = strlen(out);
    snprintf(out + used, out_bytes - used, "%s%s=%s", used ? " " : "", key, value);
}

static void factors_text(const matrix *m, const matrix_layout *layout, bool of_model, char *out,
                         size_t out_bytes)
{
    for (int f = 0; f < m->n_factors; f++)
        if (m->factor[f].is_model == of_model && matrix_varies(m, &layout->mesh, f))
            append(out, out_bytes, m->factor[f].key, m->factor[f].value[layout->value[f]]);
}

void matrix_model_text(const matrix *m, const matrix_layout *layout, char *out, size_t out_bytes)
{
    out[0] = '\0';
    append(out, out_bytes, "model.family", m->family);
    factors_text(m, layout, true, out, out_bytes);
}

void matrix_layout_text(const matrix *m, const matrix_layout *layout, char *out, size_t out_bytes)
{
    out[0] = '\0';
    for (int a = 0; a < TRI_AXES; a++) {
        char key[MATRIX_TEXT_BYTES];
        char size[MATRIX_TEXT_BYTES];
        snprintf(key, sizeof key, "parallel.%s", tri_axis_name((tri_axis)a));
        snprintf(size, sizeof size, "%d", layout->mesh.size[a]);
        append(out, out_bytes, key, size);
    }
    factors_text(m, layout, false, out, out_bytes);
}

void matrix_layout_name(const matrix *m, const matrix_layout *layout, char *out, size_t out_bytes)
{
    matrix_model_text(m, layout, out, out_bytes);
    size_t used = strlen(out);
    used += (size_t)snprintf(out + used, out_bytes - used, ", %d ranks, ", layout->mesh.ranks);
    matrix_layout_text(m, layout, out + used, out_bytes - used);
}

void matrix_print_words(const char *key, const char *text)
{
    printf("\"%s\": [", key);
    for (const char *at = text; *at;) {
        int n = (int)strcspn(at, " ");
        printf("%s\"%.*s\"", at == text ? "" : ", ", n, at);
        at += n + (at[n] == ' ');
    }
    printf("]");
}

void matrix_print_spec(const char *yaml)
{
    printf("{\"yaml\": \"");
    for (const char *c = yaml; *c; c++)
        if (*c == '\n')
            printf("\\n");
        else
            putchar(*c);
    printf("\"}\n");
}

tri_status matrix_spec(const matrix *m, const matrix_layout *layout, bool one_rank, tri_spec *out)
{
    char text[2048];
    matrix_model_text(m, layout, text, sizeof text);
    size_t used = strlen(text);
    text[used++] = ' ';
    text[used] = '\0';
    if (!one_rank) matrix_layout_text(m, layout, text + used, sizeof text - used);
    const char *list[2 * MATRIX_FACTORS];
    int n = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        list[n++] = word;
    TRI_TRY(tri_spec_read(m->path, n, list, out));
    TRI_TRY(tri_spec_check(out, one_rank ? 1 : layout->mesh.ranks));
    return TRI_OK;
}

/* Set one key in a spec that has been read: many layouts are tried before one is taken. */
static tri_status set_key(tri_spec *spec, const char *key, const char *text)
{
    char copy[MATRIX_TEXT_BYTES];
    const char *items[8];
    tri_config_value value = {.items = items, .is_list = text[0] == '[', .where = "a layout"};
    snprintf(copy, sizeof copy, "%s", text);
    char *rest = NULL;
    for (char *item = strtok_r(copy, "[,]", &rest); item && value.n_items < 8;
         item = strtok_r(NULL, "[,]", &rest))
        items[value.n_items++] = item;
    return tri_config_set(tri_spec_table(), spec, key, &value);
}

static tri_status check_layout(const matrix *m, const matrix_layout *layout)
{
    tri_spec spec = m->base;
    for (int a = 0; a < TRI_AXES; a++) {
        char key[MATRIX_TEXT_BYTES];
        char size[MATRIX_TEXT_BYTES];
        snprintf(key, sizeof key, "parallel.%s", tri_axis_name((tri_axis)a));
        snprintf(size, sizeof size, "%d", layout->mesh.size[a]);
        TRI_TRY(set_key(&spec, key, size));
    }
    for (int f = 0; f < m->n_factors; f++)
        if (matrix_varies(m, &layout->mesh, f))
            TRI_TRY(set_key(&spec, m->factor[f].key, m->factor[f].value[layout->value[f]]));
    TRI_TRY(tri_spec_check(&spec, layout->mesh.ranks));
    return TRI_OK;
}

static bool is_legal(const matrix *m, const matrix_layout *layout)
{
    bool legal = check_layout(m, layout) == TRI_OK;
    tri_err_clear();
    return legal;
}

/* Does the parser take this value, and where the model depends on it, this family? What it means
 * together with others is tri_spec_check's matter. */
static bool is_known(const matrix *m, const matrix_factor *factor, const char *value)
{
    tri_spec spec = m->base;
    bool known = set_key(&spec, factor->key, value) == TRI_OK &&
                 (!factor->is_model || tri_spec_check(&spec, 1) == TRI_OK);
    tri_err_clear();
    return known;
}

bool matrix_has_axis(const matrix *m, tri_axis axis)
{
    tri_spec spec = m->base;
    char key[MATRIX_TEXT_BYTES];
    snprintf(key, sizeof key, "parallel.%s", tri_axis_name(axis));
    bool known = set_key(&spec, key, "2") == TRI_OK;
    tri_err_clear();
    return known;
}

static void factor_add_value(const matrix *m, matrix_factor *factor, const char *value)
{
    if (factor->n_values == MATRIX_VALUES || !is_known(m, factor, value)) return;
    snprintf(factor->value[factor->n_values++], MATRIX_TEXT_BYTES, "%s", value);
}

static void factor_add_words(const matrix *m, matrix_factor *factor, const tri_field *field,
                             const char *words)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", words);
    char *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        factor_add_value(m, factor, strcmp(word, "=") == 0 ? field->initial : word);
}

static void factor_add_choices(const matrix *m, matrix_factor *factor, const tri_field *field)
{
    if (field->type == TRI_FIELD_BOOL) factor_add_words(m, factor, field, "true false");
    if (!field->choices) return;
    for (const char *const *name = field->choices(); *name; name++)
        factor_add_value(m, factor, *name);
}

static int find_hint(const char *key)
{
    for (int h = 0; h < N_HINTS; h++)
        if (strcmp(hints[h].key, key) == 0) return h;
    return -1;
}

static bool is_left_out(const char *key)
{
    for (size_t i = 0; i < sizeof left_out / sizeof left_out[0]; i++)
        if (strcmp(left_out[i], key) == 0) return true;
    return false;
}

/* A factor of a key: hinted at, or a choice or switch below `parallel.`; no values: not varied. */
static matrix_factor make_factor(const matrix *m, const tri_field *field)
{
    matrix_factor factor = {0};
    snprintf(factor.key, sizeof factor.key, "%s", field->key);
    int hint = find_hint(field->key);
    bool of_parallel = strncmp(field->key, "parallel.", 9) == 0 && !is_left_out(field->key);
    if (hint >= 0) {
        factor.axes = hints[hint].axes;
        factor.is_model = hints[hint].is_model;
        if (hints[hint].values) factor_add_words(m, &factor, field, hints[hint].values);
    }
    if (hint < 0 ? of_parallel : !hints[hint].values) factor_add_choices(m, &factor, field);
    return factor;
}

static tri_status make_factors(matrix *m)
{
    const tri_config *table = tri_spec_table();
    for (int i = 0; i < table->n_fields; i++) {
        matrix_factor factor = make_factor(m, &table->fields[i]);
        if (factor.n_values < 2) continue;
        TRI_CHECK(m->n_factors < MATRIX_FACTORS, TRI_EBUG, "more than %d factors", MATRIX_FACTORS);
        m->factor[m->n_factors++] = factor;
    }
    return TRI_OK;
}

static int axes_used(const matrix_mesh *mesh)
{
    return __builtin_popcount(matrix_pattern(mesh));
}

/* All ways of writing the number of ranks as a product over the axes. Pairs: 8 ranks, or as many as
 * the axes need when each has two; else two for each axis that is used, and three axes at most. */
static tri_status make_meshes(matrix *m)
{
    enum { SIZES = 4 }; /* 1 2 4 8 */
    int all = 1;
    for (int a = 0; a < TRI_AXES; a++)
        all *= SIZES;
    for (int i = 0; i < all; i++) {
        matrix_mesh mesh = {.ranks = 1};
        for (int a = 0, rest = i; a < TRI_AXES; a++, rest /= SIZES) {
            mesh.size[a] = 1 << rest % SIZES;
            mesh.ranks *= mesh.size[a];
        }
        int least = 1 << axes_used(&mesh);
        if (m->pairs ? mesh.ranks != (least > 8 ? least : 8) : mesh.ranks != least || least > 8)
            continue;
        if (mesh.ranks == 1) continue;
        TRI_CHECK(m->n_meshes < MATRIX_MESHES, TRI_EBUG, "more than %d meshes", MATRIX_MESHES);
        m->mesh[m->n_meshes++] = mesh;
    }
    return TRI_OK;
}

static int draw(cover *c, int below)
{
    tri_rng rng = {.seed = 1, .purpose = TRI_RNG_TEST};
    return (int)(tri_rng_word(rng, c->drawn++) % (uint32_t)below);
}

static int n_values(const matrix *m, int f)
{
    return f == m->n_factors ? MATRIX_PATTERNS : m->factor[f].n_values;
}

/* Value of factor f in a layout, -1 where it is not varied. */
static int value_of(const matrix *m, const matrix_layout *layout, int f)
{
    if (f == m->n_factors) return (int)matrix_pattern(&layout->mesh);
    return matrix_varies(m, &layout->mesh, f) ? layout->value[f] : -1;
}

/* Count the open goals that a layout covers; `close` them too. */
static int gain(const matrix *m, cover *c, const matrix_layout *layout, bool close)
{
    int n = 0;
    for (int f = 0; f <= m->n_factors; f++)
        for (int g = f; g <= m->n_factors; g++) {
            int v = value_of(m, layout, f);
            int w = value_of(m, layout, g);
            if (v < 0 || w < 0 || !c->open[f][v][g][w]) continue;
            n++;
            if (close) c->open[f][v][g][w] = false;
        }
    return n;
}

/* A mesh, of the pattern if there is one to be met (>= 0). */
static matrix_mesh draw_mesh(const matrix *m, cover *c, int pattern)
{
    int fitting[MATRIX_MESHES];
    int n = 0;
    for (int i = 0; i < m->n_meshes; i++)
        if (pattern < 0 || (int)matrix_pattern(&m->mesh[i]) == pattern) fitting[n++] = i;
    return n > 0 ? m->mesh[fitting[draw(c, n)]] : m->mesh[0];
}

static matrix_layout draw_layout(const matrix *m, cover *c, int pattern)
{
    matrix_layout layout = {.mesh = draw_mesh(m, c, pattern)};
    for (int f = 0; f < m->n_factors; f++)
        layout.value[f] = draw(c, m->factor[f].n_values);
    return layout;
}

static matrix_layout settled(const matrix *m, matrix_layout layout)
{
    for (int f = 0; f < m->n_factors; f++)
        if (!matrix_varies(m, &layout.mesh, f)) layout.value[f] = 0;
    return layout;
}

static bool has_value(const matrix *m, const matrix_layout *layout, int f, int v)
{
    return value_of(m, layout, f) == v;
}

/* What a layout must have: two factors' values, or one mesh. */
typedef struct goal {
    int f, v, g, w;
    int mesh; /* -1: any */
} goal;

/* A random layout forced to meet the goal; false where this draw cannot. */
static bool draw_for(const matrix *m, cover *c, const goal *want, matrix_layout *out)
{
    bool any_mesh = want->mesh >= 0 || want->g < m->n_factors;
    matrix_layout layout = draw_layout(m, c, any_mesh ? -1 : want->w);
    if (want->mesh >= 0) layout.mesh = m->mesh[want->mesh];
    if (want->mesh < 0 && want->f < m->n_factors) layout.value[want->f] = want->v;
    if (want->mesh < 0 && want->g < m->n_factors) layout.value[want->g] = want->w;
    *out = settled(m, layout);
    return want->mesh >= 0 ||
           (has_value(m, out, want->f, want->v) && has_value(m, out, want->g, want->w));
}

/* Take the best of some legal layouts that meet the goal. None: the goal cannot be met. */
static tri_status reach(matrix *m, cover *c, const goal *want)
{
    int best_gain = -1;
    matrix_layout best = {0};
    for (int d = 0, tries = 0, good = 0; d < DRAWS && tries < TRIES && good < GOOD_TRIES; d++) {
        matrix_layout layout;
        if (!draw_for(m, c, want, &layout)) continue;
        tries++;
        if (!is_legal(m, &layout)) continue;
        good++;
        int got = gain(m, c, &layout, false);
        if (got > best_gain) {
            best_gain = got;
            best = layout;
        }
    }
    if (best_gain < 0) return TRI_OK;
    gain(m, c, &best, true);
    TRI_CHECK(m->n_layouts < MATRIX_LAYOUTS, TRI_EBUG, "more than %d layouts", MATRIX_LAYOUTS);
    m->layout[m->n_layouts++] = best;
    for (int i = 0; i < m->n_meshes; i++)
        if (memcmp(&m->mesh[i], &best.mesh, sizeof best.mesh) == 0) c->mesh_open[i] = false;
    return TRI_OK;
}

static tri_status reach_all(matrix *m, cover *c)
{
    for (int i = 0; i < m->n_meshes; i++)
        if (c->mesh_open[i]) TRI_TRY(reach(m, c, &(goal){.mesh = i}));
    for (int f = 0; f <= m->n_factors; f++)
        for (int v = 0; v < n_values(m, f); v++)
            for (int g = f; g <= m->n_factors; g++)
                for (int w = 0; w < n_values(m, g); w++)
                    if (c->open[f][v][g][w]) TRI_TRY(reach(m, c, &(goal){f, v, g, w, -1}));
    return TRI_OK;
}

/* Every value alone, and with pairs every two values of different factors. */
static void open_goals(const matrix *m, cover *c)
{
    for (int i = 0; i < m->n_meshes; i++)
        c->mesh_open[i] = true;
    for (int f = 0; f <= m->n_factors; f++)
        for (int v = 0; v < n_values(m, f); v++) {
            c->open[f][v][f][v] = true;
            for (int g = f + 1; m->pairs && g <= m->n_factors; g++)
                for (int w = 0; w < n_values(m, g); w++)
                    c->open[f][v][g][w] = true;
        }
}

void matrix_destroy(matrix **m)
{
    TRI_FREE(*m);
}

tri_status matrix_create(const char *path, const char *family, bool pairs, matrix **out)
{
    TRI_AUTO(matrix) *m = NULL;
    TRI_AUTO(cover) *c = NULL;
    TRI_TRY(TRI_NEW(&m));
    TRI_TRY(TRI_NEW(&c));
    m->pairs = pairs;
    snprintf(m->path, sizeof m->path, "%s", path);
    snprintf(m->family, sizeof m->family, "%s", family);
    char name[32];
    snprintf(name, sizeof name, "model.family=%s", family);
    TRI_TRY(tri_spec_read(path, 1, (const char *const[]){name}, &m->base));
    TRI_TRY(make_factors(m));
    TRI_TRY(make_meshes(m));
    open_goals(m, c);
    TRI_TRY(reach_all(m, c));
    *out = TRI_MOVE(m);
    return TRI_OK;
}
