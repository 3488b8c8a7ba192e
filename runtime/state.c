// SPDX-License-Identifier: Apache-2.0
/* The state table: rows in blocks (a pointer to a row stays valid while rows are added) and an open
 * addressing index of their names, at most half full.
 */
#include "runtime/state.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <assert.h>
#include <string.h>

enum { STATE_BLOCK_ROWS = 128, STATE_FIRST_SLOTS = 256 };

struct tri_state {
    const tri_mesh *mesh;
    tri_row **blocks;
    int n_blocks;
    int n_rows;
    int32_t *slots; /* row index + 1; 0: free */
    int64_t n_slots;
};

tri_status tri_state_create(const tri_mesh *mesh, tri_state **out)
{
    TRI_AUTO(tri_state) *state = NULL;
    TRI_TRY(TRI_NEW(&state));
    state->mesh = mesh;
    state->n_slots = STATE_FIRST_SLOTS;
    TRI_TRY(TRI_NEW_ARRAY(state->n_slots, &state->slots));
    *out = TRI_MOVE(state);
    return TRI_OK;
}

void tri_state_destroy(tri_state **state)
{
    if (!*state) return;
    for (int b = 0; b < (*state)->n_blocks; b++)
        TRI_FREE((*state)->blocks[b]);
    TRI_FREE((*state)->blocks);
    TRI_FREE((*state)->slots);
    TRI_FREE(*state);
}

static tri_row *state_row(const tri_state *state, int index)
{
    assert(index >= 0 && index < state->n_rows);
    return &state->blocks[index / STATE_BLOCK_ROWS][index % STATE_BLOCK_ROWS];
}

/* Slot where `name` is, or where it would go. */
static int64_t state_slot(const tri_state *state, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    int64_t slot = (int64_t)(hash % (uint64_t)state->n_slots);
    while (state->slots[slot] && strcmp(state_row(state, state->slots[slot] - 1)->name, name) != 0)
        slot = (slot + 1) % state->n_slots;
    return slot;
}

/* Make room for one more row and its name. */
static tri_status state_grow(tri_state *state)
{
    if (state->n_rows == state->n_blocks * STATE_BLOCK_ROWS) {
        TRI_TRY(tri_alloc_grow((void **)&state->blocks, state->n_blocks, state->n_blocks + 1,
                               sizeof *state->blocks));
        TRI_TRY(TRI_NEW_ARRAY(STATE_BLOCK_ROWS, &state->blocks[state->n_blocks]));
        state->n_blocks++;
    }
    if ((int64_t)2 * (state->n_rows + 1) <= state->n_slots) return TRI_OK;
    int32_t *slots = NULL;
    TRI_TRY(TRI_NEW_ARRAY(2 * state->n_slots, &slots));
    TRI_FREE(state->slots);
    state->slots = slots;
    state->n_slots *= 2;
    for (int i = 0; i < state->n_rows; i++)
        state->slots[state_slot(state, state_row(state, i)->name)] = i + 1;
    return TRI_OK;
}

/* Names become paths in checkpoints: parts between slashes, none empty, "." or "..". */
static bool state_name_is_path(const char *name)
{
    if (!name[0]) return false;
    for (const char *part = name;;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && strncmp(part, "..", 2) == 0))
            return false;
        if (!part[n]) return true;
        part += n + 1;
    }
}

static tri_status state_check(const tri_state *state, const tri_row *row)
{
    TRI_CHECK(memchr(row->name, 0, sizeof row->name) && memchr(row->external, 0, TRI_NAME_BYTES),
              TRI_EINVAL, "the name of state row %d is longer than %d bytes", state->n_rows,
              TRI_NAME_BYTES - 1);
    TRI_CHECK(state_name_is_path(row->name), TRI_EINVAL,
              "state row '%s': a name is a path of non-empty parts, such as param/head.weight",
              row->name);
    TRI_CHECK(state->n_rows < TRI_STATE_MAX_ROWS, TRI_EINVAL,
              "state row '%s': the table holds at most %d rows", row->name, TRI_STATE_MAX_ROWS);
    TRI_CHECK(tri_state_find(state, row->name) < 0, TRI_EINVAL, "state row '%s': the name is taken",
              row->name);
    TRI_CHECK((int)row->dtype >= 0 && row->dtype < TRI_DTYPES, TRI_EINVAL,
              "state row '%s': element type %d is unknown", row->name, (int)row->dtype);
    TRI_CHECK(row->n_dims >= 1 && row->n_dims <= TRI_MAX_DIMS, TRI_EINVAL,
              "state row '%s': %d dimensions, must be 1 to %d", row->name, row->n_dims,
              TRI_MAX_DIMS);
    for (int d = 0; d < row->n_dims; d++)
        TRI_CHECK(row->shape[d] >= 1, TRI_EINVAL,
                  "state row '%s': dimension %d is %lld, must be 1 or more", row->name, d,
                  (long long)row->shape[d]);
    for (int a = 0; a < TRI_AXES; a++)
        TRI_CHECK(row->place.axis[a].kind != TRI_PARTIAL, TRI_EINVAL,
                  "state row '%s': a partial sum over axis %s is no state", row->name,
                  tri_axis_name((tri_axis)a));
    return TRI_OK;
}

tri_status tri_state_add(tri_state *state, const tri_row *row, int *index)
{
    TRI_TRY(state_check(state, row));
    int64_t elements = 0;
    TRI_TRY(tri_product(row->n_dims, row->shape, &elements));
    tri_box box;
    TRI_TRY(tri_place_box(&row->place, state->mesh, tri_mesh_rank(state->mesh), row->n_dims,
                          row->shape, &box));
    TRI_TRY(state_grow(state));

    int i = state->n_rows++;
    tri_row *mine = state_row(state, i);
    *mine = *row;
    mine->begin = 0;
    mine->count = tri_box_elements(&box);
    state->slots[state_slot(state, row->name)] = i + 1;
    if (index) *index = i;
    return TRI_OK;
}

void tri_state_hold(tri_state *state, int index, int64_t begin, int64_t count, void *data)
{
    assert(begin >= 0 && count >= 0);
    tri_row *row = state_row(state, index);
    row->begin = begin;
    row->count = count;
    row->data = data;
}

int tri_state_rows(const tri_state *state)
{
    return state->n_rows;
}

const tri_row *tri_state_row(const tri_state *state, int index)
{
    return state_row(state, index);
}

const tri_mesh *tri_state_mesh(const tri_state *state)
{
    return state->mesh;
}

int tri_state_find(const tri_state *state, const char *name)
{
    return state->slots[state_slot(state, name)] - 1;
}

int64_t tri_row_elements(const tri_row *row)
{
    int64_t elements = 1;
    for (int d = 0; d < row->n_dims; d++)
        elements *= row->shape[d];
    return elements;
}

tri_status tri_row_boxes(const tri_row *row, const tri_mesh *mesh, tri_piece_box out[TRI_MAX_BOXES],
                         int *n_out)
{
    tri_box box;
    TRI_TRY(tri_place_box(&row->place, mesh, tri_mesh_rank(mesh), row->n_dims, row->shape, &box));
    int64_t elements = tri_box_elements(&box);
    TRI_CHECK(row->count <= elements && row->begin <= elements - row->count, TRI_EBUG,
              "state row '%s': elements [%lld, %lld) are held of a local box of %lld", row->name,
              (long long)row->begin, (long long)(row->begin + row->count), (long long)elements);
    tri_box_cut(&box, row->begin, row->count, out, n_out);
    return TRI_OK;
}

/* Draw one box run by run: a run is contiguous in the global tensor. */
static void row_draw(const tri_row *row, const tri_piece_box *piece, tri_rng rng)
{
    const tri_box *box = &piece->box;
    int inner = row->n_dims - 1; /* dimensions below it are whole, so they belong to the run */
    int64_t run = box->count[inner];
    while (inner > 0 && box->count[inner] == row->shape[inner])
        run *= box->count[--inner];

    float *out = (float *)row->data + piece->offset;
    int64_t runs = tri_box_elements(box) / run;
    for (int64_t r = 0; r < runs; r++) {
        int64_t global = 0;
        int64_t rest = r;
        int64_t stride = 1;
        for (int d = row->n_dims - 1; d >= 0; d--) {
            int64_t i = 0;
            if (d < inner) {
                i = rest % box->count[d];
                rest /= box->count[d];
            }
            global += (box->start[d] + i) * stride;
            stride *= row->shape[d];
        }
        tri_rng_normal(rng, (uint64_t)global, run, 0.0f, row->init.std, out + r * run);
    }
}

tri_status tri_row_initialise(const tri_row *row, const tri_mesh *mesh, uint64_t seed)
{
    TRI_CHECK(row->dtype == TRI_F32, TRI_EINVAL,
              "state row '%s': initialisers fill fp32 rows, this one is %s", row->name,
              tri_dtype_name(row->dtype));
    if (row->count == 0) return TRI_OK;
    TRI_CHECK(row->data, TRI_EBUG, "state row '%s': initialised before it has memory", row->name);
    float *out = row->data;
    if (row->init.kind == TRI_INIT_ZERO) memset(out, 0, (size_t)row->count * sizeof *out);
    for (int64_t i = 0; row->init.kind == TRI_INIT_ONE && i < row->count; i++)
        out[i] = 1.0f;
    if (row->init.kind != TRI_INIT_NORMAL) return TRI_OK;

    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    TRI_TRY(tri_row_boxes(row, mesh, pieces, &n));
    tri_rng rng = {.seed = seed, .stream = tri_rng_stream_of(row->name), .purpose = TRI_RNG_INIT};
    for (int i = 0; i < n; i++)
        row_draw(row, &pieces[i], rng);
    return TRI_OK;
}
